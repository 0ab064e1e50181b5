"""Work that is done while this thread does something else."""

import contextvars
import threading
from collections.abc import Callable
from types import TracebackType

Work = Callable[[Callable[[], None]], None]
"""Gets something to call now and then, which raises when it is to stop."""


class _StoppedError(BaseException):
    """The work is to stop."""


class Beside:
    """Does its work in a thread while the block runs, and waits for it at the block's end.

    A context manager. The work runs in the context of who began it, as logs of a run want it. If
    the block ends by an exception, as a signal's, the work is told to stop.
    """

    def __init__(self, work: Work) -> None:
        """Nothing runs before the block is entered."""
        self._work = work
        self._may_go_on = True
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="beside", daemon=True
        )

    def __enter__(self) -> "Beside":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._may_go_on = error is None
        try:
            self._thread.join()
        except BaseException:  # a signal, while this waits; a second one waits for nothing
            if self._may_go_on:
                self._may_go_on = False
                self._thread.join()
            raise
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._work(self._check)
        except _StoppedError:
            pass
        except BaseException as error:
            self._error = error

    def _check(self) -> None:
        if not self._may_go_on:
            raise _StoppedError
