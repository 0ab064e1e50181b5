"""Real footage, where it lies beside the checkout; it is not part of the project."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest

from samcore.masks.table import MaskReader
from samcore.video import open_video
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef

VIDEOS = Path(__file__).parents[3] / "shared" / "videos"

pytestmark = pytest.mark.skipif(
    not VIDEOS.is_dir(), reason="the folder shared/videos does not lie beside this checkout"
)


@pytest.mark.parametrize("name", ["bedroom.mp4", "dog.mp4", "juggle.mp4"])
def test_frames_are_those_of_a_full_decode(name: str) -> None:
    """Wherever reading begins, a camera's video gives the very frames of one pass."""
    video = open_video(VIDEOS / name)
    with video.read() as frames:
        whole = [sha256(frame.image_rgb_hwc_u8).digest() for frame in frames]

    assert len(whole) == video.info.num_frames
    for start in (1, 59, video.info.num_frames - 2):
        stop = min(start + 3, video.info.num_frames)
        with video.read(start, stop) as frames:
            part = [sha256(frame.image_rgb_hwc_u8).digest() for frame in frames]
        assert part == whole[start:stop]


def test_a_real_video_in_chunks_equals_one_pass(
    ask: Callable[..., SegmentRequest],
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """720p footage with sound: masks at the video's size, the same bytes however it was cut."""
    dog = np.zeros((720, 1280), dtype=np.uint8)
    cv2.ellipse(dog, (580, 440), (110, 70), 0, 0, 360, 255, thickness=-1)
    cv2.imwrite(str(tmp_path / "dog.png"), dog)
    monkeypatch.chdir(tmp_path)
    prompts = {"objects": [{"id": 3, "prompts": [{"frame": 20, "mask": "dog.png"}]}]}
    published = []
    for chunk_frames in (13, 40):
        destination = tmp_path / str(chunk_frames)
        segment(
            ask(
                source=str(VIDEOS / "dog.mp4"),
                prompts=prompts,
                destination=str(destination),
                chunk_frames=chunk_frames,
                overlap=4,
                start=20,
                stop=60,
            )
        )
        published.append(destination / "masks.parquet")

    assert published[0].read_bytes() == published[1].read_bytes()
    with MaskReader(published[0]) as reader:
        assert reader.frames == (20, 60)
        assert (reader.width, reader.height) == (1280, 720)
        given, found = dog > 0, reader.masks(20)[3]
    assert (given & found).sum() > 0.9 * (given | found).sum()
