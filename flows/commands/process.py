"""The end of a command's process."""

import _thread
import asyncio
import atexit
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from types import FrameType
from typing import Any, NoReturn

import psutil


class Terminated(BaseException):
    """SIGTERM came: the machine goes down, or somebody stops the command by `kill`."""


class StoppedForGood(BaseException):
    """Ctrl-C or SIGTERM, which is the cause, stopped a command that does not go on from there; the
    text says so. Not a `KeyboardInterrupt`: of these typer keeps no text."""


def raise_on_sigterm() -> None:
    """Have SIGTERM end this process as Ctrl-C does: by an exception, which cleans up on its way."""
    signal.signal(signal.SIGTERM, _raise_terminated)


def _raise_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def child_command(code: str, *args: str) -> list[str]:
    """The command line of a process of this Python that runs `code`, for which `sys` is there.

    Not `-m`: it looks in the folder that the person is in first, which may have flows of its own.
    """
    own = "import sys; sys.path[:] = [p for p in sys.path if p]; "
    return [sys.executable, "-c", own + code, *args]


class Ending:
    """The end of a command that runs until it is told to stop: soon, whatever is gone by then.

    What a command does on its way out, and Prefect for it, may ask servers that are not there any
    more, again and again, for minutes. It gets `GRACE_S`, or `RUNS_S` while runs that it has
    started save where they are. A second signal does not wait at all.
    """

    GRACE_S = 10.0
    """A listener waits half of it for messages; a server that is there is told in a second."""
    RUNS_S = 30.0
    """As long as Kubernetes gives, and Prefect itself."""

    def __init__(self) -> None:
        """Nothing is heard yet."""
        self._process = psutil.Process()
        self._is_told = False

    def tell(self, number: int) -> None:
        """A signal has come; for its handler. The second one ends the process."""
        if self._is_told:
            self._leave(number)
        self._is_told = True
        os.write(2, b"longtake: stopping; a second signal ends it at once\n")  # no buffer's lock
        # Not by threading.Thread: the main thread may be in the middle of starting one.
        _thread.start_new_thread(self._count, (number,))

    def _count(self, number: int) -> None:
        told = time.monotonic()
        while (waited := time.monotonic() - told) < self.RUNS_S:
            if waited > self.GRACE_S and not self._runs():
                break
            time.sleep(0.1)
        self._leave(number)

    def _leave(self, number: int) -> NoReturn:
        """End this process, and first what it has started: of that nothing is lost."""
        for run in self._runs():
            with contextlib.suppress(psutil.NoSuchProcess):
                run.kill()
        os._exit(128 + number)

    def _runs(self) -> list[psutil.Process]:
        """What it has started, and what these have started, as far as it still runs."""
        runs: list[psutil.Process] = []
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.status() != psutil.STATUS_ZOMBIE:
                    runs.append(child)
        return runs


def run_until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it ends, or until SIGTERM or SIGINT cancels it; for the main thread.

    From the signal on the process ends as `Ending` says, also after this has returned.
    """
    ending = Ending()

    async def cancel_when_told() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

        def stop(number: int, _frame: FrameType | None) -> None:
            ending.tell(number)
            loop.call_soon_threadsafe(task.cancel)

        # Not the loop's own signal handlers: they wait for whatever holds it up.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(cancel_when_told())


class ProcessEnd:
    """The way out of a command's process; made before anything that wants to be closed at exit.

    Threads end and exit functions run, and no more: while an interpreter is torn down, threads that
    C++ libraries have left now and then abort a process that has done all its work.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        atexit.register(self._leave)  # of all exit functions the last to run

    def _leave(self) -> None:
        if self._code is not None:
            logging.shutdown()
            _flush()
            os._exit(self._code)

    def quietly(self, code: int, *, verbose: bool) -> NoReturn:
        """Leave with `code`; what libraries still say while they are shut down is not for people.

        Prefect's client flushes events at exit, and complains at length when a run was stopped.

        Raises:
            SystemExit: Always.
        """
        heard = _flush()
        if not (verbose and heard):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        self._code = code
        sys.exit(code)


def _flush() -> bool:
    """Write what was printed; False if whoever read it has gone, as in `longtake models | head`."""
    heard = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            heard = False
    return heard
