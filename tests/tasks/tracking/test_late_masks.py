"""Masks that come late do not depend on the chunks either, nor on where a chunk was stopped."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tasks.encode_prompts
import tasks.tracking.chunk_session
from samcore.detectors.detector import Detection
from samcore.identities.config import AssociationConfig
from samcore.machine.stopping import WorkStopped
from samcore.run.folder import RunFolder
from samcore.scenes import Scene
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef
from tasks.track_chunk import track_chunk
from tasks.tracking.chunk_session import ChunkSession
from tasks.tracking.open_run import open_run

Ask = Callable[..., SegmentRequest]
STOP = 40
ASSOCIATION = AssociationConfig(hot_start=6, unmatched_frames=3)


@pytest.fixture(autouse=True)
def _detecting(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in which a scripted detector sees what is true, and for two frames what is not."""
    found = {}
    for frame_idx in range(STOP):
        masks = [mask_hw for mask_hw in scene.masks_nhw(frame_idx) if mask_hw.sum() > 60]
        if frame_idx in (9, 10):
            masks.append(np.zeros_like(masks[0]))
            masks[-1][:24, :24] = True
        found[frame_idx] = [
            Detection(score=0.9, picture_hw=mask_hw.shape, mask_hw=mask_hw, label="shape")
            for mask_hw in masks
        ]

    def opened(*args: object, **options: object) -> object:
        return replace(open_run(*args, **options), association=ASSOCIATION, detections=found)

    monkeypatch.setattr(tasks.encode_prompts, "open_run", opened)
    monkeypatch.setattr(tasks.tracking.chunk_session, "open_run", opened)


@pytest.fixture
def ask_one(ask: Ask, prompts: dict[str, object]) -> Ask:
    """A request with one prompted object, at a small size."""
    first = prompts["objects"][0]
    one = {"objects": [{"id": 1, "prompts": first["prompts"][:1]}]}
    return lambda **changes: ask(prompts=one, image_size=64, stop=STOP, **changes)


def _tables(result: ResultRef) -> bytes:
    return (Path(result.destination) / "masks.parquet").read_bytes()


@pytest.mark.slow
def test_tables_do_not_depend_on_the_chunks(
    ask_one: Ask, segment: Callable[[SegmentRequest], ResultRef], tmp_path: Path
) -> None:
    """The same bytes are published, with overlaps that agree to the last bit."""
    results = [
        segment(ask_one(chunk_frames=frames, overlap=overlap, destination=str(tmp_path / name)))
        for name, frames, overlap in (("whole", 100, 0), ("short", 7, 0), ("shared", 18, 4))
    ]
    assert results[2].seams_identical is True
    whole, *others = map(_tables, results)
    assert others == [whole, whole]


def test_a_chunk_that_was_stopped_goes_on(
    ask_one: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stopped after each few frames, and past its own end where only late masks are waited for:
    its table is that of a chunk that was not."""
    tables = []
    for often in (False, True):
        run = plan_run.fn(
            ask_one(chunk_frames=16, overlap=2, destination=str(tmp_path / f"{often}"))
        )
        encode_prompts.fn(run)
        if often:
            _stop_often(monkeypatch)
        stops = 0
        while RunFolder.from_ref(run).finished_chunk(1) is None:
            try:
                track_chunk.fn(run, 0)
                track_chunk.fn(run, 1)
            except WorkStopped:
                stops += 1
        assert bool(stops) is often
        folder = RunFolder.from_ref(run)
        tables.append([folder.masks_path(index).read_bytes() for index in (0, 1)])
    assert stops >= 6
    assert tables[0] == tables[1]


def _stop_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fifth row that is written, or passed over, is the last one before a stop."""
    settle = ChunkSession._settle
    settled = 0
    monkeypatch.setattr("tasks.track_chunk.run_stoppable", lambda work: work(threading.Event()))

    def settle_and_stop(self: ChunkSession, writer: object) -> None:
        nonlocal settled
        settle(self, writer)
        settled += 1
        if settled % 5 == 0:
            self._stop.set()

    monkeypatch.setattr(ChunkSession, "_settle", settle_and_stop)
