"""The runner `ray`: workers of a Ray cluster. The only place that imports Ray."""

import logging
from functools import partial
from typing import Any

from prefect_ray import RayTaskRunner
from prefect_ray.context import remote_options
from ray.exceptions import RayError, RayTaskError

from tasks.runners.runner import UnitEngine

_RETRIES = 3
"""How often Ray does a unit again whose worker died."""


def make_engine(address: str | None, workers: int, *, on_gpu: bool) -> UnitEngine:
    """Workers of the cluster at `address`, or `workers` processes here; a unit takes one CPU, or
    one GPU, of those that the cluster has."""
    # Its greetings are not for our terminal.
    here: dict[str, Any] = {"logging_level": logging.ERROR}
    if address is None:
        here |= {"num_cpus": workers, "include_dashboard": False, "log_to_driver": False}
    needs = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
    return UnitEngine(
        RayTaskRunner(address=address, init_kwargs=here),
        asking=partial(remote_options, max_retries=_RETRIES, **needs),
        is_lost=lambda error: isinstance(error, RayError) and not isinstance(error, RayTaskError),
    )
