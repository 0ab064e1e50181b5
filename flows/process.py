"""The end of a command's process."""

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


def end_quietly(code: int, *, verbose: bool) -> None:
    """Leave with `code`; what libraries still say while they are shut down is not for people.

    Prefect's client flushes events at exit, and complains at length when a run was stopped.

    Raises:
        SystemExit: Always.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Whoever read it has gone, as in `longtake models | head -1`.
            verbose = False
    if not verbose:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    sys.exit(code)
