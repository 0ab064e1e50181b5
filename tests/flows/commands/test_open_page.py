"""What `longtake open` is asked to show."""

from pathlib import Path

import pytest

from flows.commands.open_page import what_to_open
from samcore.errors import InputError, SegmentationError
from samcore.interactive.opening import OpeningVideo
from tasks.request.early_checks import open_asked_video
from tasks.settings import load_settings
from tasks.store.locations import S3Location
from tasks.store.object_store import shared_store
from tests.samcore.streams.watching import pictures, plan_of, published, watch


def opened(place: str | None, destination: str | None = None, **fields: object):
    """What is meant by these options."""
    given = {"settings": {}, "model": "nano", **fields}
    return what_to_open(place, given, destination, load_settings())


def test_prompts_lie_beside_the_video(clip, tmp_path, monkeypatch) -> None:
    """Whatever folder the command is run in, the same video finds the same prompts; -o is another
    place."""
    monkeypatch.chdir(tmp_path)
    found = opened(str(clip))
    monkeypatch.chdir(clip.parent)

    assert opened(clip.name).folder == found.folder == Path(f"{clip}.longtake")
    assert found.request.source_place == clip
    assert found.request.destination_place == found.folder
    assert opened(str(clip), str(tmp_path / "p")).folder == tmp_path / "p"


def test_without_an_argument_it_is_the_demo(tmp_path, monkeypatch) -> None:
    """The demo's video is made once, and shown with the embedded model."""
    monkeypatch.chdir(tmp_path)
    found = opened(None, model=None)
    made = Path("demo/scene.mp4").stat().st_mtime_ns
    again = opened(None, model=None)

    assert found.request.source_place == tmp_path / "demo/scene.mp4"
    assert found.request.model == again.request.model == "nano"
    assert Path("demo/scene.mp4").stat().st_mtime_ns == made


def test_a_video_in_a_bucket(bucket, clip, tmp_path, monkeypatch) -> None:
    """Its frames are those of the object; its prompts lie in the present folder."""
    monkeypatch.chdir(tmp_path)
    shared_store(None).put_bytes(S3Location(bucket, "in/clip.mp4"), clip.read_bytes())
    found = opened(f"s3://{bucket}/in/clip.mp4")
    opening = OpeningVideo(lambda *, so_far: open_asked_video(found.request, so_far=so_far))
    opening.start()

    assert found.folder == tmp_path / "clip.mp4.longtake"
    assert opening.having(65, wait_s=60).frame(65).image_rgb_hwc_u8.shape == (96, 128, 3)


@pytest.mark.parametrize(
    ("place", "destination", "fields", "said"),
    [
        ("missing.mp4", None, {}, "missing.mp4"),
        ("ftp://example.org/v.mp4", None, {}, "ftp"),
        ("CLIP", "https://example.org/out", {}, "cannot be written to"),
        ("CLIP", "CLIP", {}, "choose another folder with -o"),
        ("CLIP", None, {"settings": {"device": "tpu"}}, "device"),
    ],
)
def test_what_is_wrong_is_said(clip, place, destination, fields, said) -> None:
    """One line, before anything is served."""
    place, destination = (text and text.replace("CLIP", str(clip)) for text in (place, destination))
    with pytest.raises(SegmentationError, match=said) as error:
        opened(place, destination, **fields)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, InputError | OSError)


def test_a_result_of_a_stream_shows_no_frames(tmp_path) -> None:
    """They are not kept, and the line says what there is instead."""
    watch(plan_of(tmp_path), pictures(2))
    (result, *_) = published(tmp_path)
    with pytest.raises(InputError, match=r"is of a stream .* whose frames are not kept"):
        opened(str(result.path))
