"""Work that a signal ends at the next good moment, not in the middle of a step."""

import _thread
import contextlib
import contextvars
import logging
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_POLL_S = 0.2


class WorkStopped(Exception):
    """Raised by work that was asked to stop, once it has saved what it has.

    Only `run_stoppable` catches it, and raises in its place what came from outside.
    """


def run_stoppable(work: Callable[[threading.Event], _T]) -> _T:
    """Run `work(stop)` in a thread, while this one waits for its end and for signals.

    Ctrl-C, and the SIGTERM of an eviction or of a cancelled run, end a program by an exception
    that Python raises in the main thread, between any two of its instructions: in the middle of
    a frame's step, or between a frame's masks and its memory. Here it is raised while this thread
    waits, and the work is left whole: `stop` is set, the work ends at its next good moment, and
    then the exception goes on its way. A second signal does not wait for the work.

    Prefect finds out whether a run can be cancelled in good order by looking whether its own
    signal handler is still in place, so another handler is no way to do this.

    Args:
        work: Looks at `stop` now and then. Once it is set, it saves what it has and raises
            `WorkStopped`, or ends as usual if there is little left to do.

    Returns:
        What the work returns.

    Raises:
        BaseException: What the work raises, or what came from outside.
        MemoryError: The thread ended before the work began, for want of memory.
    """
    token = _Token()
    outcome: _Outcome[_T] = _Outcome(weakref.ref(token))
    stop = threading.Event()
    # With the run's context, so that the log and the progress know whose they are.
    context = contextvars.copy_context()
    try:
        # Not by threading.Thread: start() and join() wait for what is written in Python, and a
        # signal in between leaves that broken (bpo-45274). After a second signal the process does
        # not wait for such a thread.
        _thread.start_new_thread(context.run, (outcome.fill, work, stop, token))
        del token  # from here on only the thread has it
        outcome.wait()
    except BaseException:
        stop.set()
        if outcome.has_begun:
            _log.info("asked to stop: saving what there is")
            outcome.wait()
        raise
    return outcome.result()


class _Token:
    """A thread holds it for as long as it lives, and lets go of it even if no step of it runs."""


class _Outcome(Generic[_T]):
    """What a thread leaves behind."""

    def __init__(self, token: "weakref.ref[_Token]") -> None:
        self.has_begun = False
        self._token = token
        self._has_ended = False
        self._end: SimpleQueue[None] = SimpleQueue()  # written in C: signals leave it whole
        self._value: list[_T] = []
        self._error: BaseException | None = None

    def wait(self) -> None:
        """Wait for the end of the work; again, if a signal ended an earlier wait.

        Raises:
            MemoryError: The thread is gone, and could not even say so.
        """
        while True:
            # In this order: a thread says that the work has ended, and is gone after that.
            is_gone = self._token() is None
            if self._has_ended:
                return
            if is_gone:
                raise MemoryError("the thread that works ended before its first step")
            # A signal that comes just before a wait does not end it, but is there at the next one.
            with contextlib.suppress(Empty):
                self._end.get(timeout=_POLL_S)

    def fill(
        self, work: Callable[[threading.Event], _T], stop: threading.Event, _token: _Token
    ) -> None:
        """Do the work."""
        self.has_begun = True
        try:
            self._value.append(work(stop))
        except WorkStopped:
            _log.info("saved what there is; the next run goes on from there")
        except BaseException as error:
            if stop.is_set():
                # The log alone tells of it: what is raised is why the work was to stop.
                _log.warning("could not save what there is: %s", error)
            else:
                self._error = error
        finally:
            self._has_ended = True
            self._end.put(None)

    def result(self) -> _T:
        """What the work returned; raises what it raised."""
        error, self._error = self._error, None
        if error is None:
            return self._value.pop()
        try:
            raise error
        finally:
            # Else the error and this frame hold each other, and with them the tensors of the
            # frames that it came through, until the collector comes by.
            del error
