"""What a person may get wrong is said at once, in one line, by the same code as the flow's."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from samcore.errors import InputError, ModelError, SegmentationError, StorageError, VideoError
from samcore.progress import listening
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.settings import load_settings

Ask = Callable[..., SegmentRequest]


def _object(**prompt: object) -> dict[str, object]:
    return {"objects": [{"id": 3, "prompts": [{"frame": 0, **prompt}]}]}


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"source": "missing.mp4"}, VideoError, "missing.mp4"),
        ({"prompts": _object(box=[10, 10, 500, 60])}, InputError, "object 3"),
        ({"prompts": _object(points=[[200, 5, 1]])}, InputError, "points"),
        ({"prompts": _object(points=[[20, 5, 0]])}, InputError, "label 1"),
        ({"prompts": _object(frame=99, box=[1, 1, 9, 9])}, InputError, "at most 65"),
        ({"prompts": _object(mask="missing.png")}, InputError, "missing.png"),
        ({"prompts": "missing.json"}, InputError, "missing.json"),
        ({"model": "sam3-huge"}, ModelError, "sam2.1-tiny"),
        ({"checkpoint": "missing.pt"}, ModelError, "missing.pt"),
        ({"image_size": 100}, InputError, "100"),
        ({"settings": {"device": "cuda:7"}}, InputError, "cuda:7"),
        ({"stop": 67}, InputError, "66"),
        ({"start": 30, "stop": 20}, InputError, "start < stop"),
        ({"overlap": 20}, InputError, "overlap"),
        ({"destination": "/proc/out"}, StorageError, "/proc/out"),
        ({"work_dir": "/proc/work"}, StorageError, "/proc/work"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_mistakes_are_one_line(
    ask: Ask, change: dict[str, object], kind: type[SegmentationError], says: str
) -> None:
    """Each kind of mistake is an error of its own kind, one line that says what was wrong."""
    with pytest.raises(kind) as caught:
        resolve_request(ask(**change), cache_dir=load_settings().cache_dir)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"source": "ftp://host/video.mp4"}, "ftp: is not known"),
        ({"destination": "https://host/out"}, "cannot be written to"),
        ({"chunk_frame": 20}, "chunk_frame"),
        ({"chunk_frames": 0}, "chunk_frames"),
        ({"handoff": "telepathy"}, "handoff"),
        ({"min_agreement": 1.5}, "min_agreement"),
        ({"settings": {"device": "abacus"}}, "settings.device"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_impossible_values_name_their_field(ask: Ask, change: dict[str, object], says: str) -> None:
    """A value that no video could make right is refused before anything is opened."""
    with pytest.raises(InputError, match=says) as caught:
        ask(**change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("policy", ["sam2-stride", "samurai", "dam", "sam3"])
def test_a_policy_that_the_model_cannot_have_is_refused_before_the_scan(
    ask: Ask, policy: str
) -> None:
    """More memories a step than the model was trained with: said when the request is planned."""
    options = {"memory_policy": policy, "memory_policy_options": {"num_maskmem": 8}}
    scanned: list[int] = []
    with (
        listening(lambda progress: scanned.append(progress.done)),
        pytest.raises(InputError, match=r"num_maskmem: wanted 2 to 7, .*; got 8"),
    ):
        resolve_request(
            ask(settings={"device": "cpu", **options}), cache_dir=load_settings().cache_dir
        )
    assert not scanned


def test_unwritable_destination_is_said_before_the_scan(ask: Ask, tmp_path: Path) -> None:
    """A file where the folder should be is found before minutes go into the video."""
    blocked = tmp_path / "file"
    blocked.touch()
    scanned: list[int] = []
    with (
        listening(lambda progress: scanned.append(progress.done)),
        pytest.raises(StorageError, match="file"),
    ):
        resolve_request(ask(destination=str(blocked / "out")), cache_dir=load_settings().cache_dir)
    assert not scanned


def test_masks_of_a_file_stay_beside_it(ask: Ask, clip: Path, tmp_path: Path) -> None:
    """Prompts from a file may name masks beside it only; a person's own options may name any."""
    mask = np.zeros((96, 128), np.uint8)
    mask[20:60, 30:80] = 255
    inside, outside = tmp_path / "in" / "m.png", tmp_path / "m.png"
    inside.parent.mkdir()
    for path in (inside, outside):
        cv2.imwrite(str(path), mask)
    listed = inside.parent / "prompts.json"
    cache = load_settings().cache_dir

    listed.write_text('{"objects": [{"id": 1, "prompts": [{"frame": 0, "mask": "m.png"}]}]}')
    run = resolve_request(ask(prompts=str(listed)), cache_dir=cache)
    assert run.prompts[0].mask_hw is not None
    assert run.prompts[0].mask_hw.sum() == 40 * 50

    listed.write_text('{"objects": [{"id": 1, "prompts": [{"frame": 0, "mask": "../m.png"}]}]}')
    with pytest.raises(InputError, match="outside"):
        resolve_request(ask(prompts=str(listed)), cache_dir=cache)
    resolve_request(ask(prompts=str(listed), any_mask_path=True), cache_dir=cache)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True),
        ({"keep_states": False}, False),
        ({"direction": "both"}, False),
        ({"every": 2}, False),
    ],
    ids=str,
)
def test_states_stay_only_where_a_correction_begins_from_them(
    ask: Ask, change: dict[str, object], kept: bool
) -> None:
    """A run that a correction tracks whole keeps none for it, and does not say that it does."""
    one = {"prompts": _object(frame=10, box=[10, 10, 60, 60])}
    run = resolve_request(ask(**one, **change), cache_dir=load_settings().cache_dir)
    assert run.ref.keep_states == kept


def test_request_survives_json(ask: Ask) -> None:
    """What a server stores of a request is the request."""
    request = ask()
    assert SegmentRequest.model_validate_json(request.model_dump_json()) == request
    assert validate_request(**request.model_dump(mode="json")) == request
