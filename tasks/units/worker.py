"""A worker process that is told to stop: it saves where its unit is."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

_at_work = threading.Event()


class WorkerStopped(Exception):
    """The run was stopped, and with it its workers."""


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Within this a signal stops a unit, and not the process that waits for the next one."""
    _at_work.set()
    try:
        yield
    finally:
        _at_work.clear()


def stop_on_sigterm() -> None:
    """Have SIGTERM stop the unit that is at work, which is saved; for a worker's main thread.

    Ctrl-C at a terminal is for the run, which tells its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    if _at_work.is_set():
        # Not a BaseException: the pool's own thread, which passes it on, would die of that.
        raise WorkerStopped("told to stop")
    raise SystemExit(0)
