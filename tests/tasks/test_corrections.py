"""Other prompts for a finished run: only what they touch is tracked again, to the same bits."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samcore.prompts.file import parse_prompts
from samcore.result.manifest import MASKS, Manifest, read_manifest
from samcore.run.folder import RunFolder
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.run.refs import ResultRef

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
            settings={"device": "cpu", "object_batch": batch},
            report=False,
            force=True,
            **{"stop": STOP, "chunk_frames": LENGTH, "overlap": OVERLAP, **options},
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
    for chunk in manifest.request.chunks:
        if chunk.stop <= min(first_frames.values(), default=STOP) and batch == 16:
            old, new = (work_of(one).masks_path(chunk.index) for one in (result, result))
            assert old.stat().st_nlink == 2, "a chunk that stays is the finished run's own"
            assert new.samefile(old)
