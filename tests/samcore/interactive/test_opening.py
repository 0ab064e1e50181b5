"""A video that is used while it is still scanned."""

import threading

import numpy as np
import pytest

from samcore.errors import InputError, VideoError
from samcore.interactive.opening import OpeningVideo
from samcore.video import first_frames, open_video


class _Held:
    """Opens a video; its scan stops at a frame until it is let go."""

    def __init__(self, path, at: int) -> None:
        self.path, self.at, self.go = path, at, threading.Event()

    def __call__(self, *, so_far):
        def hold(done: int, _: int | None) -> None:
            if done == self.at:
                self.go.wait(240)

        return open_video(self.path, so_far=so_far, on_progress=hold)


def test_the_first_frames_are_there_before_the_scan_ends(clip) -> None:
    """What is indexed can be read, and what is not yet is said; at the end all of it is there."""
    held = _Held(clip, at=20)
    opening, finished = OpeningVideo(held), threading.Event()
    opening.on_change = lambda one: finished.set() if one.finished else None
    opening.start()
    try:
        part = opening.having(19, wait_s=60)
        assert not opening.finished
        assert part.info.num_frames == 20
        early = part.frame(7).image_rgb_hwc_u8
        with pytest.raises(InputError, match="frame 20 is not indexed yet"):
            opening.having(20, wait_s=0)
    finally:
        held.go.set()
    assert finished.wait(60)  # what is known on the way to the end may have frame 30, too
    whole = opening.having(30, wait_s=0)

    assert np.array_equal(whole.frame(7).image_rgb_hwc_u8, early)
    with pytest.raises(InputError, match=f"frames 0 to {whole.info.num_frames - 1}"):
        opening.having(whole.info.num_frames, wait_s=60)


def test_what_is_no_video_is_said(tmp_path) -> None:
    """Who waits for a frame hears why there is none."""
    path = tmp_path / "text.mp4"
    path.write_text("not a video")
    changes: list[bool] = []
    opening = OpeningVideo(lambda *, so_far: open_video(path, so_far=so_far))
    opening.on_change = lambda one: changes.append(one.error is not None)
    opening.start()

    with pytest.raises(VideoError):
        opening.having(0, wait_s=60)
    assert isinstance(opening.error, VideoError)


def test_first_frames_are_those_of_the_whole_video(clip) -> None:
    """A glimpse gives the very frames, of a file of which the rest was not decoded."""
    glimpse = first_frames(clip, count=5)
    whole = open_video(clip)

    assert glimpse is not None
    assert len(glimpse.index) == 5
    assert np.array_equal(glimpse.index.checksum_n, whole.index.checksum_n[:5])
    assert np.array_equal(glimpse.frame(4).image_rgb_hwc_u8, whole.frame(4).image_rgb_hwc_u8)
    assert len(first_frames(clip, count=10_000).index) == whole.info.num_frames


def test_a_glimpse_comes_before_the_scan(clip) -> None:
    """While nothing is scanned yet, a glimpse gives the first frames."""
    held = _Held(clip, at=1)
    opening = OpeningVideo(held, glimpse=lambda: first_frames(clip, count=6))
    opening.start()
    try:
        assert opening.having(5, wait_s=60).info.num_frames == 6
    finally:
        held.go.set()
    assert opening.having(30, wait_s=60).info.num_frames > 6
