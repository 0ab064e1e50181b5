"""The end of a command's process."""

import atexit
import logging
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """SIGTERM came: the machine goes down, or somebody stops the command by `kill`."""


def raise_on_sigterm() -> None:
    """Have SIGTERM end this process as Ctrl-C does: by an exception, which cleans up on its way."""
    signal.signal(signal.SIGTERM, _raise_terminated)


def _raise_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


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
