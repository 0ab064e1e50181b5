"""Automatic prompts in a run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samcore.errors import InputError
from samcore.masks.table import MaskReader
from samcore.scenes import Scene
from tasks.find_objects import find_objects
from tasks.records import ResultRef
from tasks.request import SegmentRequest
from tasks.resolve import resolve_request
from tasks.settings import load_settings

Ask = Callable[..., SegmentRequest]
FEW = {"points_per_side": 10}


def _resolve(request: SegmentRequest) -> tuple[str, list[np.ndarray]]:
    run = resolve_request(request, cache_dir=load_settings().cache_dir)
    return run.record.key, [p.mask_hw for p in run.prompts if p.mask_hw is not None]


def test_what_is_found_is_tracked(
    ask: Ask, scene: Scene, segment: Callable[[SegmentRequest], ResultRef]
) -> None:
    """A request without prompts tracks the shapes that the first frame shows, and follows them."""
    request = ask(prompts=None, automatic=FEW, stop=24)
    assert find_objects.fn(request) == 2
    result = segment(request)

    assert result.objects == 2
    with MaskReader(Path(result.destination) / "masks.parquet") as reader:
        for frame in (0, 23):
            masks = reader.masks(frame)
            assert set(masks) == {1, 2}
            for shape_hw in scene.masks_nhw(frame):
                best = max(
                    np.count_nonzero(shape_hw & found_hw) / np.count_nonzero(shape_hw | found_hw)
                    for found_hw in masks.values()
                )
                assert best > 0.6, frame


def test_a_run_that_goes_on_has_the_same_objects(ask: Ask, tmp_path: Path) -> None:
    """What was found is kept: the model is not asked again, and the run's key stays. Elsewhere it
    is found again, with the same key; another number of objects is another run."""
    request = ask(prompts=None, automatic=FEW, stop=20)
    key, masks = _resolve(request)
    (record,) = (request.work_path / "found").iterdir()
    written = record.stat().st_mtime_ns

    assert _resolve(request)[0] == key
    assert record.stat().st_mtime_ns == written
    record.write_bytes(record.read_bytes()[:50])
    assert _resolve(request)[0] == key

    elsewhere = ask(prompts=None, automatic=FEW, stop=20, work_dir=str(tmp_path / "other"))
    again = _resolve(elsewhere)
    assert again[0] == key
    assert all(np.array_equal(a, b) for a, b in zip(masks, again[1], strict=True))
    assert _resolve(ask(prompts=None, automatic={**FEW, "max_objects": 1}, stop=20))[0] != key


@pytest.mark.parametrize(
    ("automatic", "words"),
    [
        ({"frame": 40}, ["automatic.frame", "5 to 19", "got 40"]),
        ({"frame": 4}, ["automatic.frame", "5 to 19", "got 4"]),
        ({**FEW, "min_predicted_iou": 1.0}, ["no objects found on frame 5"]),
    ],
)
def test_what_cannot_be_found_is_one_line(
    ask: Ask, automatic: dict[str, object], words: list[str]
) -> None:
    """A frame that is not tracked, or nothing to see on it: told before anything is tracked."""
    request = ask(prompts=None, automatic=automatic, start=5, stop=20)
    with pytest.raises(InputError) as caught:
        _resolve(request)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_frame_can_be_chosen(ask: Ask) -> None:
    """Objects that are found on a later frame begin there."""
    run = resolve_request(
        ask(prompts=None, automatic={**FEW, "frame": 12}, start=5, stop=20),
        cache_dir=load_settings().cache_dir,
    )
    assert {frame for item in run.record.objects for frame in item.prompted_frames} == {12}
