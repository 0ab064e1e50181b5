"""Pictures of frames for a screen."""

import threading

import cv2
import numpy as np
import pytest

from samcore.errors import InputError
from samcore.interactive.opening import OpeningVideo
from samcore.interactive.pictures import PictureServer, fitting_width
from samcore.video import open_video


@pytest.fixture
def served(clip):
    """A server of the clip's pictures."""
    opening = OpeningVideo(lambda *, so_far: open_video(clip, so_far=so_far))
    finished = threading.Event()
    opening.on_change = lambda one: finished.set() if one.finished else None
    opening.start()
    assert finished.wait(60)
    pictures = PictureServer(opening)
    yield pictures
    pictures.close()
    opening.close()


def test_each_number_gives_its_own_frame(served, clip) -> None:
    """Forward, backward, far and again: the picture is that of the exact frame, with its time."""
    video = open_video(clip)
    for frame_idx in (0, 1, 2, 30, 29, 28, 3, 47, 0):
        picture = served.picture(frame_idx, width=128)
        shown = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        frame = video.frame(frame_idx).image_rgb_hwc_u8
        others = [video.frame(other).image_rgb_hwc_u8 for other in (frame_idx + 5, 20)]
        near = np.abs(shown.astype(int) - frame).mean()
        assert picture.frame_idx == frame_idx
        assert picture.time_s == float(video.time_s(frame_idx))
        assert all(near < np.abs(shown.astype(int) - other).mean() for other in others[:1])
        assert near < 6


def test_frames_behind_the_one_that_is_shown_are_made_ahead(served) -> None:
    """Who steps on finds the next frames made, at the size of the window."""
    served.picture(10, width=64)
    for frame_idx in range(11, 20):
        assert served.picture(frame_idx, width=64).frame_idx == frame_idx
    assert served.seeks == 1


def test_the_way_back_is_decoded_once(served) -> None:
    """Stepping back does not begin to decode anew at each step."""
    served.picture(40, width=64)
    for frame_idx in range(39, 28, -1):
        served.picture(frame_idx, width=64)
    assert served.seeks == 2


def test_pictures_are_never_larger_than_the_video(served) -> None:
    """A small video is not enlarged, and a wide window of a wide video gets one of a few sizes."""
    picture = served.picture(0, width=1900)
    assert cv2.imdecode(np.frombuffer(picture.data, np.uint8), 1).shape[:2] == (96, 128)
    assert fitting_width(700, 1920) == 960
    assert fitting_width(700, 800) == 800
    assert fitting_width(4000, 1920) == 1920


def test_what_is_not_there_is_said(served) -> None:
    """A frame past the end is refused, and the next one is served."""
    with pytest.raises(InputError, match="no frame 9999"):
        served.picture(9999, width=64)
    assert served.picture(1, width=64).frame_idx == 1


@pytest.mark.parametrize("cache_bytes", [1, 20_000])
def test_memory_is_bounded(clip, cache_bytes: int) -> None:
    """However many frames were looked at, so many bytes are kept at most; and a picture that
    somebody waits for is kept for them, however little room there is."""
    opening = OpeningVideo(lambda *, so_far: open_video(clip, so_far=so_far))
    opening.start()
    pictures = PictureServer(opening, cache_bytes=cache_bytes)
    try:
        for frame_idx in range(0, 40, 3):
            size = len(pictures.picture(frame_idx, width=128).data)
            # Beyond it the picture just given and the one just made, which are of about one size.
            assert pictures.kept_bytes <= cache_bytes + 3 * size
    finally:
        pictures.close()
        opening.close()
