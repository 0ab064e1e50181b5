"""How large a request may be: each limit is a setting, and a refusal names it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samcore.errors import InputError
from samcore.limits import Limits
from samcore.video import open_video
from samcore.video.decoder import find_ffmpeg
from tasks.request.prompt_source import read_prompts
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.settings import load_settings
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

Ask = Callable[..., SegmentRequest]

FROM_NOTHING = ("-v", "error", "-f", "lavfi", "-i")


def _resolve(request: SegmentRequest) -> object:
    return resolve_request(request, cache_dir=load_settings().cache_dir)


@pytest.mark.parametrize(
    ("setting", "limit", "words"),
    [
        ("LONGTAKE_MAX_VIDEO_BYTES", 1000, ["clip.mp4", "bytes", "1,000"]),
        ("LONGTAKE_MAX_FRAMES", 65, ["clip.mp4", "66 frames", "65"]),
        ("LONGTAKE_MAX_PIXELS", 128 * 96 - 1, ["clip.mp4", "128 x 96", "12,287"]),
        ("LONGTAKE_MAX_OBJECTS", 1, ["2 objects", "limit is 1."]),
    ],
)
def test_a_request_above_a_limit_is_refused(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, setting: str, limit: int, words: list[str]
) -> None:
    """One line says what there is, the limit, and the setting that raises it; at the limit it is
    taken."""
    monkeypatch.setenv(setting, str(limit))
    with pytest.raises(InputError) as caught:
        _resolve(ask())
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in [*words, setting]), message
    monkeypatch.setenv(setting, str(limit + 1) if limit > 1000 or limit == 65 else "10000000")
    _resolve(ask())


def _clicks(count: int) -> list[list[int]]:
    return [[20, 20 + place % 50, 1] for place in range(count)]


@pytest.mark.parametrize(
    "prompts",
    [
        [{"frame": 0, "points": _clicks(6)}],
        [{"frame": 0, "points": _clicks(3)}, {"time": 0.0, "points": _clicks(3)}],
    ],
    ids=["one entry", "two entries of one frame"],
)
@pytest.mark.parametrize("way", ["typed in", "file"])
def test_points_of_one_object_on_one_frame_count_together(
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    prompts: list[dict[str, object]],
    way: str,
) -> None:
    """The model's time grows with their square; several frames and objects may have as many."""
    spec: object = {"objects": [{"id": 3, "prompts": prompts}]}
    if way == "file":
        path = tmp_path / "prompts.json"
        path.write_text(json.dumps(spec))
        spec = str(path)
    monkeypatch.setenv("LONGTAKE_MAX_POINTS", "5")
    with pytest.raises(InputError, match=r"object 3.* 6 points; the limit is 5.*_MAX_POINTS"):
        _resolve(ask(prompts=spec))
    monkeypatch.setenv("LONGTAKE_MAX_POINTS", "6")
    _resolve(ask(prompts=spec))


def test_too_many_points_are_refused_before_anything_is_opened(ask: Ask, tmp_path: Path) -> None:
    """A hundred thousand would never end; the limit that nobody set holds, too."""
    many = {"objects": [{"id": 3, "prompts": [{"frame": 0, "points": _clicks(100_000)}]}]}
    with pytest.raises(InputError, match=r"100,000 points; the limit is 1,000"):
        _resolve(ask(prompts=many, source=str(tmp_path / "missing.mp4")))


def test_objects_that_are_to_be_found_count_too(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than may be tracked are refused before any is looked for."""
    monkeypatch.setenv("LONGTAKE_MAX_OBJECTS", "5")
    with pytest.raises(InputError, match=r"6 objects; .*LONGTAKE_MAX_OBJECTS"):
        _resolve(ask(prompts=None, automatic={"max_objects": 6}))


def test_a_limit_is_held_against_what_is_known_already(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A video whose index is there from before is refused as well."""
    clip = Path(ask().source)
    index = tmp_path / "index.parquet"
    open_video(clip, index_path=index)
    for limits in (Limits(max_frames=65), Limits(max_pixels=100), Limits(max_video_bytes=10)):
        with pytest.raises(InputError, match="LONGTAKE_MAX_"):
            open_video(clip, index_path=index, limits=limits)
    open_video(clip, index_path=index, limits=Limits(max_frames=66, max_pixels=128 * 96))


def test_counting_stops_at_the_limit(tmp_path: Path) -> None:
    """A small file with frames for hours is given up at the limit, not at its end."""
    path = tmp_path / "long.mkv"
    subprocess.run(
        [find_ffmpeg().path, *FROM_NOTHING, "color=s=16x16:r=25:d=400", path], check=True
    )
    seen: list[int] = []
    with pytest.raises(InputError, match="101 frames or more; the limit is 100"):
        open_video(path, limits=Limits(max_frames=100), on_progress=lambda n, _: seen.append(n))
    assert max(seen) == 100


@pytest.mark.parametrize("codec", ["mpeg4", "ffv1", "mjpeg", "rawvideo"])
def test_a_huge_picture_is_refused_before_there_is_memory_for_it(
    codec: str, tmp_path: Path
) -> None:
    """ffmpeg itself is told the limit; what it says then is our refusal, for every decoder."""
    path = tmp_path / "wide.mkv"
    subprocess.run(
        [
            *(find_ffmpeg().path, *FROM_NOTHING, "testsrc2=s=640x360:d=0.2"),
            *("-pix_fmt", "yuvj420p" if codec == "mjpeg" else "yuv420p", "-c:v", codec, path),
        ],
        check=True,
    )
    with pytest.raises(InputError, match="640 x 360, 230,400 pixels; the limit is 230,399"):
        open_video(path, limits=Limits(max_pixels=640 * 360 - 1))
    assert open_video(path, limits=Limits(max_pixels=640 * 368)).info.width == 640


def test_a_folder_of_images_has_limits(tmp_path: Path) -> None:
    """Their number, their bytes and the size that each claims count; a picture is measured before
    it is decoded, also a later one."""
    for number in range(3):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
    open_video(tmp_path, limits=Limits(max_frames=3, max_pixels=64))
    with pytest.raises(InputError, match="3 frames; the limit is 2"):
        open_video(tmp_path, limits=Limits(max_frames=2))
    with pytest.raises(InputError, match="LONGTAKE_MAX_VIDEO_BYTES"):
        open_video(tmp_path, limits=Limits(max_video_bytes=100))
    # Ninety kilobytes of file, eighty megabytes of pixels.
    Image.new("L", (9_000, 9_000)).save(tmp_path / "2.png")
    with pytest.raises(InputError, match=r"2\.png.*9000 x 9000"):
        open_video(tmp_path)


def test_prompts_are_limited_wherever_they_lie(
    ask: Ask, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A prompts file that is too large, on the disk or in a bucket, is not even parsed."""
    text = b'{"objects": [' + b" " * 2000 + b"]}"
    (tmp_path / "prompts.json").write_bytes(text)
    location = S3Location(bucket, "prompts.json")
    ObjectStore().put_bytes(location, text)
    monkeypatch.setenv("LONGTAKE_MAX_PROMPTS_BYTES", "1000")
    for prompts in (str(tmp_path / "prompts.json"), location.uri):
        with pytest.raises(InputError, match=r"the limit is 1,000.*LONGTAKE_MAX_PROMPTS_BYTES"):
            read_prompts(ask(prompts=prompts), load_settings().limits)


def test_a_setting_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that cannot be read is an error, not no limit."""
    monkeypatch.setenv("LONGTAKE_MAX_FRAMES", "many")
    with pytest.raises(InputError, match="LONGTAKE_MAX_FRAMES"):
        load_settings()
