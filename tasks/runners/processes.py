"""The runner `processes`: Prefect's own pool of processes on this machine."""

import contextlib
from concurrent.futures import BrokenExecutor

from prefect.task_runners import ProcessPoolTaskRunner

from tasks.runners.runner import UnitEngine


def make_engine(address: str | None, workers: int, *, on_gpu: bool) -> UnitEngine:
    """A pool of `workers` processes. Each loads the model, and holds a place on the device."""
    return UnitEngine(
        ProcessPoolTaskRunner(max_workers=workers),
        asking=contextlib.nullcontext,
        # One process that dies breaks the whole pool.
        is_lost=lambda error: isinstance(error, BrokenExecutor),
    )
