"""The runner `processes`: Prefect's own pool of processes on this machine."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import BrokenExecutor

from prefect.task_runners import ProcessPoolTaskRunner

from tasks.runners.runner import UnitEngine
from tasks.units.worker import stop_on_sigterm

_GRACE_S = 30.0
"""To save where a unit is, for a worker whose run is gone."""


def make_engine(address: str | None, workers: int, *, on_gpu: bool) -> UnitEngine:
    """A pool of `workers` processes. Each loads the model, and holds a place on the device."""
    return UnitEngine(
        ProcessPoolTaskRunner(max_workers=workers, initializer=prepare_worker),
        asking=contextlib.nullcontext,
        # One process that dies breaks the whole pool.
        is_lost=lambda error: isinstance(error, BrokenExecutor),
        stop=_stop,
    )


def prepare_worker() -> None:
    """Have a worker save where its unit is when it is told to stop, and end with its run."""
    stop_on_sigterm()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _stop() -> None:
    """Tell all workers, and wait for their ends: the pool does not count on losing them all."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    until = time.monotonic() + _GRACE_S
    for child in children:
        child.join(max(0.0, until - time.monotonic()))
        child.kill()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)
