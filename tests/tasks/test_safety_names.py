"""Names that strangers choose lead nowhere: not out of the run's folder, nor out of the prefix."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from samcore.errors import InputError, SegmentationError
from samcore.scenes import Scene
from tasks.request.prompt_source import read_prompts
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef
from tasks.settings import load_settings
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

Ask = Callable[..., SegmentRequest]
NASTY = [
    "../x",
    "../../../../../../tmp/x",
    "/etc/x",
    "a/../../x",
    "..",
    ".",
    "a\0b",
    "x" * 5000,
    "~root/x",
    "C:\\x",
    "%2e%2e/x",
    "file:///etc/x",
    "s3://other/x",
    "$(touch x)",
]


def _tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "my" $(touch x); `clip` | &\n\ttwo lines.mp4',
        "..mp4",
        "-i.mp4",
        "%d%05d.mp4",
        "فيديو 视频 🎬.mp4",
        "x" * 240 + ".mp4",
    ],
)
def test_a_video_may_have_any_name(
    name: str,
    clip: Path,
    ask: Ask,
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path: Path,
) -> None:
    """Whatever the video and its objects are called, the result's files have their own names and
    nothing appears anywhere else."""
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / name).write_bytes(clip.read_bytes())
    box = {"frame": 0, "box": [10, 10, 60, 60]}
    objects = [{"id": 2**31 - 1, "label": "../../x; $(touch x)", "prompts": [box]}]
    segment(
        ask(
            source=str(videos / name),
            prompts={"objects": objects},
            destination=str(tmp_path / "out"),
            stop=4,
        )
    )
    assert {path.name for path in tmp_path.iterdir()} == {"videos", "out"}
    assert _tree(videos) == {name}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".longtake",
        "manifest.json",
        "masks.parquet",
        "objects.json",
        "seams.json",
    }


@pytest.mark.parametrize("name", NASTY)
def test_a_mask_is_read_from_beside_its_prompts_only(
    name: str, ask: Ask, tmp_path: Path, scene: Scene
) -> None:
    """A prompts file that somebody sent cannot have other files of this machine read."""
    folder = tmp_path / "sent" / "deep"
    folder.mkdir(parents=True)
    for beside in (tmp_path / "x", tmp_path / "sent" / "x"):
        beside.write_bytes(cv2.imencode(".png", np.full((96, 128), 255, np.uint8))[1].tobytes())
    entry = {"frame": 0, "mask": name}
    path = folder / "prompts.json"
    path.write_text(json.dumps({"objects": [{"id": 1, "prompts": [entry]}]}))
    with pytest.raises(SegmentationError) as caught:
        resolve_request(ask(prompts=str(path)), cache_dir=load_settings().cache_dir)
    assert "mask" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_prompts_and_masks_in_a_bucket(ask: Ask, bucket: str, scene: Scene) -> None:
    """A prompts file in a bucket is read, with the masks that lie beside it."""
    mask_hw = scene.masks_nhw(0)[0]
    store = ObjectStore()
    png = cv2.imencode(".png", mask_hw.astype(np.uint8) * 255)[1].tobytes()
    store.put_bytes(S3Location(bucket, "videos/masks/dog 1.png"), png)
    entry = {"frame": 0, "mask": "masks/dog 1.png"}
    prompts = S3Location(bucket, "videos/clip.prompts.json")
    spec = {"objects": [{"id": 1, "prompts": [entry]}]}
    store.put_bytes(prompts, json.dumps(spec).encode())

    run = resolve_request(ask(prompts=prompts.uri), cache_dir=load_settings().cache_dir)

    (prompt,) = run.prompts
    assert prompt.mask_hw is not None
    assert np.array_equal(prompt.mask_hw, mask_hw)
    store.put_bytes(prompts, b'{"objects": [{"id": 1}]}')
    with pytest.raises(InputError, match=r"clip\.prompts\.json: object 1: prompts is missing"):
        read_prompts(ask(prompts=prompts.uri), load_settings().limits)
    with pytest.raises(InputError, match=r"there is no prompts file s3://.*/nothing\.json"):
        read_prompts(ask(prompts=f"s3://{bucket}/nothing.json"), load_settings().limits)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\0b", "$(touch x)"])
def test_a_name_in_a_bucket_leads_to_no_other_place(
    name: str, ask: Ask, bucket: str, tmp_path: Path
) -> None:
    """A mask that prompts in a bucket name is looked for below their prefix, and written below
    the folder for work, or refused; nothing is written anywhere else."""
    store = ObjectStore()
    store.put_bytes(S3Location(bucket, "x"), b"a secret of another prefix")
    prompts = S3Location(bucket, "sent/prompts.json")
    spec = {"objects": [{"id": 1, "prompts": [{"frame": 0, "mask": name}]}]}
    store.put_bytes(prompts, json.dumps(spec).encode())
    request = ask(prompts=prompts.uri)
    before = _tree(tmp_path)
    with pytest.raises(SegmentationError) as caught:
        read_prompts(request, load_settings().limits)
    assert "\n" not in str(caught.value)
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("name", NASTY)
def test_a_place_is_below_its_prefix_or_none(name: str) -> None:
    """Joined to a prefix, a name stays below it, or is refused."""
    prefix = S3Location("bucket", "results/run")
    key = "results/run/refused"
    with contextlib.suppress(InputError):
        key = prefix.join(name).key
    assert key.startswith("results/run/")
    assert ".." not in key.split("/")
