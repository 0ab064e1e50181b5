"""A benchmark of a small model, run once."""

import contextlib
from collections.abc import Iterator

import pytest

from samcore.machine.device import choose_compute
from samcore.models.registry import resolve_model
from samcore.speed import bench, timing
from samcore.speed.bench import Bench, Wanted
from samcore.speed.record import BenchRecord

OBJECTS = (1, 3)
NEVER_TOO_LONG = 1e4
"""Seconds for a measurement: all are made, however busy the machine is."""


@contextlib.contextmanager
def little_work() -> Iterator[None]:
    """Small frames, and few runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "FRAME_HEIGHT", 96)
        patch.setattr(bench, "FRAME_WIDTH", 128)
        patch.setattr(timing, "MOST_RUNS", 2)
        patch.setattr(timing, "_PROBE_S", 0.01)
        yield


@pytest.fixture(scope="session")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Wanted:
    """`nano` at 64 px."""
    spec = resolve_model("nano", image_size=64, cache_dir=tmp_path_factory.mktemp("cache"))
    return Wanted(spec, choose_compute("cpu", "float32"))


@pytest.fixture(scope="session")
def measured(wanted: Wanted) -> BenchRecord:
    """What was measured of it, whatever else the machine did."""
    made = Bench([wanted], objects=OBJECTS, seconds=NEVER_TOO_LONG)
    with little_work():
        made.run()
        return made.record()
