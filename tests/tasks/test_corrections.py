"""Other prompts for a finished run: only what they touch is tracked again, to the same bits."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samcore.errors import LostWorkError
from samcore.machine.stopping import WorkStopped
from samcore.progress import ChunkProgress
from samcore.prompts.file import parse_prompts
from samcore.prompts.prompt import Prompt
from samcore.result.manifest import MASKS, Manifest, read_manifest
from samcore.run.correction import plan_correction
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import checkpoint_path
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.run.refs import ResultRef, RunRef
from tasks.track_chunk import finish_chunk

STOP, LENGTH, OVERLAP = 30, 8, 3
"""Chunks [0, 8) [5, 13) [10, 18) [15, 23) [20, 28) [25, 30)."""
BOXES = {1: [10, 10, 60, 60], 2: [60, 5, 120, 50], 3: [30, 40, 90, 90], 4: [70, 40, 120, 90]}
CLICK = {"points": [[80, 60, 1]]}

Objects = dict[int, list[dict[str, Any]]]


def begun(*obj_ids: int, frame: int = 0) -> Objects:
    return {obj_id: [{"frame": frame, "box": BOXES[obj_id]}] for obj_id in obj_ids}


def more(objects: Objects, obj_id: int, frame: int, **said: Any) -> Objects:
    """The same objects with one prompt more."""
    return {**objects, obj_id: [*objects[obj_id], {"frame": frame, **CLICK, **said}]}


def here(objects: Objects, obj_id: int, frame: int) -> Objects:
    return more(objects, obj_id, frame, from_here=True)


THREE = {**begun(1, 2), **begun(3, frame=4)}


@pytest.fixture(scope="module")
def asks(clip: Path) -> Callable[..., SegmentRequest]:
    def ask(objects: Objects, destination: Path, batch: int = 16, **options: Any) -> SegmentRequest:
        items = [{"id": obj_id, "prompts": prompts} for obj_id, prompts in objects.items()]
        return validate_request(
            source=str(clip),
            prompts=parse_prompts({"objects": items}),
            destination=str(destination),
            model="nano",
            image_size=64,
            report=False,
            force=True,
            **{
                "settings": {"device": "cpu", "object_batch": batch},
                "stop": STOP,
                "chunk_frames": LENGTH,
                "overlap": OVERLAP,
                **options,
            },
        )

    return ask


@pytest.fixture(scope="module")
def tracked(
    asks: Callable[..., SegmentRequest],
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """A result with its work folder, tracked from nothing; once for equal requests."""
    known: dict[str, Path] = {}

    def track(objects: Objects, batch: int = 16, **options: Any) -> Path:
        name = json.dumps([objects, batch, options])
        if name not in known:
            known[name] = tmp_path_factory.mktemp("tracked") / "out"
            segment(asks(objects, known[name], batch, **options))
        return known[name]

    return track


@pytest.fixture
def correct(
    asks: Callable[..., SegmentRequest],
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path: Path,
) -> Callable[..., Path]:
    """Track a copy of a result again, with other objects."""

    def correct_copy(result: Path, objects: Objects, batch: int = 16, **options: Any) -> Path:
        copy = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(result, copy)
        segment(asks(objects, copy, batch, **options))
        return copy

    return correct_copy


def work_of(result: Path) -> RunFolder:
    return RunFolder.for_key(result / ".longtake", read_manifest(result).request.work_key)


def assert_as_if_asked_so(result: Path, fresh: Path, *, states: bool = True) -> Manifest:
    """Masks to the byte, and the states that are handed on where anything was tracked."""
    assert (result / MASKS).read_bytes() == (fresh / MASKS).read_bytes()
    manifest = read_manifest(result)
    correction = manifest.correction
    assert correction is not None
    first = min(correction.tracked.values(), default=STOP)
    for chunk in manifest.request.chunks[:-1]:
        if states and first < chunk.stop:
            ours, theirs = (work_of(one).state_path(chunk.index) for one in (result, fresh))
            assert ours.read_bytes() == theirs.read_bytes(), chunk
    return manifest


CASES: dict[str, tuple[int, Objects, dict[int, int], tuple[int, ...]]] = {
    # batch, objects, from which frame on each is tracked, whose rows are all taken
    "from here": (16, here(THREE, 1, 14), {1: 14}, (2, 3)),
    "from here, in an overlap": (16, here(THREE, 1, 11), {1: 11}, (2, 3)),
    "from here, in chunk 0": (16, here(THREE, 2, 3), {2: 3}, (1, 3)),
    "two of them": (16, here(here(THREE, 3, 10), 1, 24), {1: 24, 3: 10}, (2,)),
    "for all frames": (16, more(THREE, 1, 14), {1: 0, 2: 0, 3: 0}, ()),
    "for all frames, alone": (1, more(THREE, 1, 14), {1: 0}, (2, 3)),
    "added": (16, THREE | begun(4, frame=20), {1: 20, 2: 20, 3: 20, 4: 20}, ()),
    "added, alone": (1, THREE | begun(4, frame=20), {4: 20}, (1, 2, 3)),
    "removed": (16, begun(1, 2), {1: 4, 2: 4}, ()),
    "removed, alone": (1, begun(1, 2), {}, (1, 2)),
    "from here, alone, and removed": (1, here(begun(1, 2), 1, 14), {1: 14}, (2,)),
}


@pytest.mark.parametrize("name", CASES)
def test_masks_are_those_of_a_run_that_was_asked_so(
    tracked: Callable[..., Path], correct: Callable[..., Path], name: str
) -> None:
    """Whatever changed, masks and states are, bit for bit, those of a run with the new prompts
    from the start; and no more is tracked than can be others."""
    batch, objects, first_frames, kept = CASES[name]
    before = tracked(THREE, batch)
    result = correct(before, objects, batch)

    manifest = assert_as_if_asked_so(result, tracked(objects, batch))
    assert manifest.correction is not None
    assert manifest.correction.tracked == first_frames
    assert manifest.correction.kept == kept
    finished = RunFolder.for_key(result / ".longtake", manifest.correction.work)
    for chunk in manifest.request.chunks:
        if (
            chunk.stop <= min(first_frames.values(), default=STOP)
            and not manifest.correction.removed
        ):
            old, new = (one.masks_path(chunk.index) for one in (finished, work_of(result)))
            assert new.samefile(old), "a chunk that stays is the finished run's own"


def test_a_correction_of_a_correction(
    tracked: Callable[..., Path], correct: Callable[..., Path]
) -> None:
    """Its states have all objects, so that others can be corrected from them, later or earlier."""
    once = here(THREE, 1, 14)
    later, earlier = here(once, 2, 22), here(here(once, 2, 22), 3, 7)
    first = correct(tracked(THREE), once)

    second = correct(first, later)
    manifest = assert_as_if_asked_so(second, tracked(later))
    assert manifest.correction is not None
    assert manifest.correction.tracked == {2: 22}
    third = correct(second, earlier)
    manifest = assert_as_if_asked_so(third, tracked(earlier))
    assert manifest.correction is not None
    assert manifest.correction.tracked == {3: 7}
    # A prompt that is taken back leaves the rest as it is, too.
    back = correct(second, once)
    assert (back / MASKS).read_bytes() == (first / MASKS).read_bytes()


def test_stopped_and_gone_on_with(
    asks: Callable[..., SegmentRequest],
    tracked: Callable[..., Path],
    track_chunks: Callable[..., RunRef],
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped after a chunk, then in the middle of one, a correction goes on from there; until it
    is published the old result is there, whole."""
    wanted, result = here(THREE, 1, 14), tmp_path / "out"
    shutil.copytree(tracked(THREE), result)
    before = (result / MASKS).read_bytes()
    request = asks(wanted, result)
    run = track_chunks(request, only=3)
    folder = RunFolder.from_ref(run)
    third = folder.done_path(2).stat().st_mtime_ns
    stop = threading.Event()
    at_frame = ChunkProgress.tracked

    def tracked_then_stopped(self: ChunkProgress, frame_idx: int, memory: Any) -> None:
        at_frame(self, frame_idx, memory)
        if frame_idx == 19:
            stop.set()

    with monkeypatch.context() as patch:
        patch.setattr(ChunkProgress, "tracked", tracked_then_stopped)
        with pytest.raises(WorkStopped):
            finish_chunk(run, 3, stop)
    assert checkpoint_path(folder, 3).exists()
    assert (result / MASKS).read_bytes() == before
    assert read_manifest(result).correction is None

    segment(request)

    assert folder.done_path(2).stat().st_mtime_ns == third
    assert_as_if_asked_so(result, tracked(wanted))


@pytest.mark.parametrize("lost", ["all", "states"])
def test_the_finished_run_may_vanish_meanwhile(
    asks: Callable[..., SegmentRequest],
    tracked: Callable[..., Path],
    track_chunks: Callable[..., RunRef],
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    lost: str,
) -> None:
    """A correction that was stopped, and then lacks the run that it takes from, or all states, is
    tracked whole: what it had done may lack objects that the rest needs."""
    wanted, result = here(THREE, 1, 14), tmp_path / "out"
    shutil.copytree(tracked(THREE), result)
    finished = work_of(result).path
    request = asks(wanted, result)
    if lost == "all":
        track_chunks(request, only=4)
        shutil.rmtree(finished)
    else:
        track_chunks(request, only=1)
        for state in result.rglob("chunks/*/state.safetensors"):
            state.unlink()
        # As the flow does: it goes on when work is lost.
        with pytest.raises(LostWorkError, match="lacks object 1; run again, and all is tracked"):
            segment(request)

    segment(request)

    said = "all is tracked again: the work folder of the finished run is gone" in caplog.text
    assert said == (lost == "all")
    assert read_manifest(result).correction is None
    assert (result / MASKS).read_bytes() == (tracked(wanted) / MASKS).read_bytes()


def test_without_states_the_object_is_tracked_from_its_beginning(
    tracked: Callable[..., Path], correct: Callable[..., Path]
) -> None:
    """--no-keep-states leaves no states; a correction then begins where the object does, and gives
    the same bits; the next one, too."""
    once = here(THREE, 1, 14)
    first = correct(tracked(THREE, keep_states=False), once)
    assert not list(work_of(tracked(THREE, keep_states=False)).path.rglob("*.safetensors"))

    manifest = assert_as_if_asked_so(first, tracked(once), states=False)
    assert manifest.correction is not None
    assert (manifest.correction.tracked, manifest.correction.kept) == ({1: 0}, (2, 3))
    twice = here(once, 3, 22)
    assert_as_if_asked_so(correct(first, twice), tracked(twice), states=False)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"handoff": "mask"}, "chunks of the hand-off mask leave no states"),
        ({"settings": {"device": "cpu", "retire_after": 5}}, "which objects retire depends on all"),
        ({}, "the work folder of the finished run is gone"),
        ({}, "the work folder of the finished run is not whole"),
    ],
)
def test_what_cannot_be_taken_is_tracked(
    tracked: Callable[..., Path],
    correct: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    options: dict[str, Any],
    why: str,
) -> None:
    """Where objects depend on each other, or the finished run's work is gone, all is tracked, which
    is said in one line."""
    wanted = more(THREE, 1, 9)
    before = tracked(THREE, **options, stop=14)
    if "work folder" in why:
        shutil.copytree(before, tmp_path / "changed")
        before = tmp_path / "changed"
        chunks = work_of(before).path / "chunks"
        shutil.rmtree(chunks.parent if "gone" in why else chunks / "00000")

    result = correct(before, wanted, **options, stop=14)

    assert [why in record.message for record in caplog.records if "again" in record.message] == [
        True
    ]
    assert read_manifest(result).correction is None
    fresh = tracked(wanted, **options, stop=14)
    assert (result / MASKS).read_bytes() == (fresh / MASKS).read_bytes()


def test_what_would_be_tracked_is_known_before(tracked: Callable[..., Path]) -> None:
    """A page can ask what other prompts would touch, with the numbers that a run then tells."""
    folder = work_of(tracked(THREE))
    prompts = [
        *folder.prompts(),
        Prompt(1, 14, points_xy_px=((80, 60),), point_labels=(1,), from_here=True),
    ]

    record = plan_correction(folder, prompts)

    assert (record.changed, record.kept, record.spreads_from) == ({1: 14}, (2, 3), None)
    assert (record.frames, record.object_frames) == (STOP - 10, STOP - 10)
