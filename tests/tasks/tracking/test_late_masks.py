"""Objects that detectors find throughout a video: the same whatever the chunks and the stops."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samcore.detectors import file
from samcore.detectors.detector import Detection
from samcore.detectors.file import ListedDetections
from samcore.errors import InputError, LostWorkError
from samcore.machine.stopping import WorkStopped
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.rle import encode_masks
from samcore.masks.table import MaskReader
from samcore.result.manifest import read_manifest
from samcore.result.records import RunRecord
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import find_partial_chunk
from samcore.scenes import Scene
from samcore.video import Frame
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef, RunRef
from tasks.settings import load_settings
from tasks.track_chunk import track_chunk
from tasks.tracking.chunk_session import ChunkSession

Ask = Callable[..., SegmentRequest]
STOP = 40
ENTERS = 13
"""The frame on which the second shape is first detected."""


@pytest.fixture(scope="module")
def detections(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of what is true, the second shape only later; and for two frames of what is not."""
    listed = []
    for frame_idx in range(STOP):
        masks = dict(zip(("shape", "late"), scene.masks_nhw(frame_idx), strict=True))
        if frame_idx < ENTERS:
            del masks["late"]
        if frame_idx in (9, 10):
            masks["stain"] = np.zeros_like(masks["shape"])
            masks["stain"][:24, :24] = True
        for label, mask_hw in masks.items():
            if mask_hw.sum() > 60:
                (rle,) = encode_masks(mask_hw[None])
                mask = {"size": list(mask_hw.shape), "counts": rle.counts.decode()}
                listed.append({"frame": frame_idx, "mask": mask, "score": 0.9, "label": label})
    path = tmp_path_factory.mktemp("detections") / "found.json"
    path.write_text(json.dumps({"detections": listed}))
    return path


@pytest.fixture
def ask_one(ask: Ask, prompts: dict[str, object], detections: Path) -> Ask:
    """A request with one prompted object beside what is detected, at a small size."""
    first = prompts["objects"][0]
    one = {"objects": [{"id": 1, "label": "shape", "prompts": first["prompts"][:1]}]}
    automatic = {
        "detector": f"file:{detections}",
        "detect_every": 1,
        "association_options": {
            "hot_start": 6,
            "unmatched_frames": 3,
            "empty_is_unmatched": True,
        },
    }
    return lambda **changes: ask(
        **{"prompts": one, "automatic": automatic, "image_size": 64, "stop": STOP, **changes}
    )


def _tables(result: ResultRef) -> bytes:
    return (Path(result.destination) / "masks.parquet").read_bytes()


@pytest.mark.slow
def test_results_do_not_depend_on_the_chunks(
    ask_one: Ask, scene: Scene, segment: Callable[[SegmentRequest], ResultRef], tmp_path: Path
) -> None:
    """The same bytes are published, with overlaps that agree to the last bit: of the object that a
    person prompted, and of the one that enters later, with what the detector says of it. What was
    not there is no object."""
    results = [
        segment(
            ask_one(
                chunk_frames=frames,
                overlap=overlap,
                destination=str(tmp_path / name),
                image_size=128,
            )
        )
        for name, frames, overlap in (("whole", 100, 0), ("short", 7, 0), ("shared", 18, 4))
    ]
    assert results[2].seams_identical is True
    whole, *others = map(_tables, results)
    assert others == [whole, whole]
    lists = [(Path(one.destination) / "objects.json").read_text() for one in results]
    assert lists[1:] == [lists[0]] * 2

    person, late = json.loads(lists[0])["objects"]
    assert (person["id"], person["label"], person["source"]) == (1, "shape", "prompt")
    assert "score" not in person
    said = {name: late[name] for name in ("label", "source", "score", "first_frame")}
    assert said == {"label": "late", "source": "file", "score": 0.9, "first_frame": ENTERS}
    with MaskReader(Path(results[0].destination) / "masks.parquet") as reader:
        mask_hw = reader.masks(ENTERS + 9)[late["id"]]
    shape_hw = scene.masks_nhw(ENTERS + 9)[1]
    assert np.count_nonzero(mask_hw & shape_hw) > 0.5 * np.count_nonzero(mask_hw | shape_hw)
    manifest = read_manifest(Path(results[1].destination))
    assert all(chunk.stages["detect"] > 0 for chunk in manifest.chunks)


def test_how_objects_are_found_is_in_the_key(
    ask_one: Ask, detections: Path, tmp_path: Path
) -> None:
    """Whatever changes what is found, or what becomes of it, is another result: another file, other
    frames, other constants. The same file elsewhere is the same. Objects retire unless something
    else is asked."""

    def record(**changes: object) -> RunRecord:
        found = {"detector": f"file:{detections}", "detect_every": 2, **changes}
        request = ask_one(automatic=found)
        return resolve_request(request, cache_dir=load_settings().cache_dir).record

    first = record()
    assert first.settings.retire_after == 60
    other, moved = tmp_path / "other.json", tmp_path / "moved.json"
    moved.write_text(detections.read_text())
    other.write_text(detections.read_text().replace("0.9", "0.8"))
    assert record(detector=f"file:{moved}").result_key == first.result_key
    changes = [
        {"detector": f"file:{other}"},
        {"more_detectors": ["motion"]},
        {"detect_every": 3},
        {"detect_every": "cuts"},
        {"labels": ["late"]},
        {"max_objects": 3},
        {"reanchor_every": 0},
        {"association_options": {"hot_start": 20}},
    ]
    keys = {record(**change).result_key for change in changes}
    assert len(keys | {first.result_key}) == len(changes) + 1
    plain = first.model_copy(update={"detection": None})
    assert plain.result_key not in keys
    assert record(detect_every="cuts").detection.cuts == (0,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"handoff": "mask"}, "detect_every wants the hand-off memory, which carries"),
        ({"settings": {"device": "cpu", "encode_every": 2}}, "detect_every wants encode_every 1"),
    ],
)
def test_what_cannot_go_together_is_refused_at_once(
    ask_one: Ask, changes: dict[str, object], said: str
) -> None:
    """By one line, before anything is read."""
    with pytest.raises(InputError, match=said) as caught:
        ask_one(**changes)
    assert "\n" not in str(caught.value)


def test_prompts_leave_room_for_what_is_found(ask_one: Ask, detections: Path) -> None:
    """Where prompted objects are as many as there may be, nothing could be found."""
    full = {"detector": f"file:{detections}", "detect_every": 1, "max_objects": 1}
    with pytest.raises(InputError, match="max_objects: 1 at once leave no room"):
        resolve_request(ask_one(automatic=full), cache_dir=load_settings().cache_dir)


def _short_of_memory(*failing: int) -> type[ListedDetections]:
    """A detector of which these calls, from 1, run out of memory."""
    calls = itertools.count(1)

    class ShortOfMemory(ListedDetections):
        def detect(self, *args: Any, **options: Any) -> list[list[Detection]]:
            if next(calls) in failing:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().detect(*args, **options)

    return ShortOfMemory


def test_a_detector_that_runs_out_of_memory_is_made_anew(
    ask_one: Ask, track_chunks: Callable[..., RunRef], detections: Path, tmp_path: Path
) -> None:
    """It goes down the ladder with the tracker, on the frame where it was: rows are the same, and
    the chunk says what was given up. Where the file that it reads is another one by then, one line
    says so, and the run is planned anew."""
    tables, steps = [], []
    for failing in ((), (3, 4)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file, "ListedDetections", _short_of_memory(*failing))
            request = ask_one(
                prompts=None, stop=16, chunk_frames=16, destination=str(tmp_path / f"{failing}")
            )
            folder = RunFolder.from_ref(track_chunks(request))
        tables.append(folder.masks_path(0).read_bytes())
        steps.append(folder.chunk_record(0).degradations)
    assert tables[0] == tables[1]
    assert steps[0] == ()
    assert [step.partition(" (")[0] for step in steps[1]] == [
        "frame 2: freed caches and tried again",
        "frame 2: object batch 16 -> 5",
    ]

    moved = tmp_path / "moved.json"
    moved.write_text(detections.read_text())
    found = {"detector": f"file:{moved}", "detect_every": 1}
    run = plan_run.fn(ask_one(automatic=found, destination=str(tmp_path / "moved")))
    encode_prompts.fn(run)
    moved.write_text(detections.read_text().replace("0.9", "0.8"))
    with pytest.raises(LostWorkError, match="not what it was when this run was planned"):
        track_chunk.fn(run, 0)


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


def test_a_stop_does_not_wait_for_masks_that_come_late(
    ask_one: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks come 20 frames late, and a stop in the third frame leaves a checkpoint after it."""
    found = {**ask_one().automatic.model_dump(), "association_options": {"hot_start": 21}}
    run = plan_run.fn(ask_one(automatic=found, chunk_frames=40))
    encode_prompts.fn(run)
    monkeypatch.setattr("tasks.track_chunk.run_stoppable", lambda work: work(threading.Event()))
    outputs = ChunkSession._outputs

    def stop_on_the_way(self: ChunkSession, frames: Iterator[Frame]) -> Iterator[FrameMasks]:
        def seen() -> Iterator[Frame]:
            for frame in frames:
                if frame.frame_idx == 2:
                    self._stop.set()
                yield frame

        return outputs(self, seen())

    monkeypatch.setattr(ChunkSession, "_outputs", stop_on_the_way)
    with pytest.raises(WorkStopped):
        track_chunk.fn(run, 0)

    partial = find_partial_chunk(RunFolder.from_ref(run), 0)
    assert partial is not None
    assert partial.record.next_frame == 3


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
