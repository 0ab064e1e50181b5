"""Scene cuts by ffmpeg's own filter."""

import numpy as np
import pytest

from samcore.errors import VideoError
from samcore.video import Frame
from samcore.video.cuts import CutFinder


def find_cuts(frames):
    """Show all frames; the cuts between them."""
    with CutFinder() as finder:
        for frame in frames:
            finder.show(frame)
    return finder.cuts


def frames(levels, *, first=0, height=90, width=160):
    for place, level in enumerate(levels):
        image = np.full((height, width, 3), level, np.uint8)
        image[:8, place % width] = 90
        yield Frame(first + place, place, image)


@pytest.mark.parametrize("size", [(90, 160), (20, 500), (400, 40), (1080, 1920)])
def test_cuts_are_numbered_as_the_frames_are(size):
    """A cut is the first frame of the new scene, counted from where the frames begin; any size."""
    levels = [30] * 12 + [200] * 9 + [60] * 9
    found = list(find_cuts(frames(levels, first=1000, height=size[0], width=size[1])))

    assert [cut.frame for cut in found] == [1012, 1021]
    assert all(10 <= cut.score <= 100 for cut in found)


def test_slow_changes_are_no_cuts():
    """A fade is none, nor is a still picture, nor a single frame, nor no frame at all."""
    assert list(find_cuts(frames(range(20, 220, 5)))) == []
    assert list(find_cuts(frames([50] * 20))) == []
    assert list(find_cuts(frames([50]))) == []
    assert list(find_cuts(frames([]))) == []


def test_an_error_of_the_caller_ends_ffmpeg():
    """The block's own error comes out, and no process stays behind."""
    with pytest.raises(KeyError), CutFinder() as finder:  # noqa: PT012
        finder.show(next(frames([1])))
        process = finder._process
        raise KeyError
    assert process is not None
    assert process.poll() is not None


def test_a_dead_ffmpeg_is_an_error():
    """When the filter's process is killed, that is said, and not taken for a video without cuts."""
    with pytest.raises(VideoError, match="cuts"), CutFinder() as finder:  # noqa: PT012
        for place, frame in enumerate(frames([1] * 2000)):
            finder.show(frame)
            if place == 3 and finder._process is not None:
                finder._process.kill()
                finder._process.wait()
