"""A worker process that is told to stop: it saves where its unit is, and ends."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_at_work = threading.Event()
_told = threading.Event()


class WorkerStopped(Exception):
    """The run was stopped, and with it its workers."""


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Within this SIGTERM has a unit saved first, before it ends the worker."""
    _at_work.set()
    try:
        yield
    finally:
        _at_work.clear()
        if _told.is_set():
            os._exit(0)


def stop_on_sigterm() -> None:
    """Have SIGTERM end this process once what it is at is saved; for a worker's main thread.

    Ctrl-C at a terminal is for the run, which tells its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    # A pool that loses one worker tells the others once more: they must not stop saving.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not _at_work.is_set():
        # Not by an exception: the pool would pass it on to the run, and wait for work again.
        os._exit(0)
    _told.set()
    raise WorkerStopped("told to stop")
