"""The runner `dask`: workers of a Dask cluster. The only place that imports Dask."""

import contextlib
from functools import partial
from typing import Any

from dask import annotate  # type: ignore[attr-defined]  # in no list of theirs
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker
from prefect_dask.task_runners import DaskTaskRunner

from tasks.runners.runner import UnitEngine


def make_engine(address: str | None, workers: int, *, on_gpu: bool) -> UnitEngine:
    """Workers of the cluster at `address`, or `workers` processes here, each with one unit at a
    time. Where a unit needs a GPU, a worker must have the resource GPU."""
    resources = {"GPU": 1} if on_gpu else {}
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {
            "cluster_kwargs": {
                "n_workers": workers,
                "threads_per_worker": 1,
                "processes": True,
                "dashboard_address": None,
                "memory_limit": 0,  # ours is flat, and theirs would pause a worker
                **({"resources": resources} if resources else {}),
            }
        }
    asking = partial(annotate, resources=resources) if resources else contextlib.nullcontext
    return UnitEngine(
        DaskTaskRunner(**options),
        asking=asking,
        is_lost=lambda error: isinstance(error, (KilledWorker, CommClosedError)),
    )
