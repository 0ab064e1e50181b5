"""What all writers are given: each frame with its rows and its time."""

import itertools
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from samcore import Result
from samcore.exports.source import ExportSource

NUM_FRAMES = 24


def slowing(frame):
    """Time stamps of a video whose frames last longer and longer, a tick at least."""
    return 7000 + frame + 400 * frame * frame


def timed(case, pts, *, shown):
    """The case's masklets in a video of those times, and the frames of which a table knows them."""
    last_s = (pts(NUM_FRAMES - 1) - pts(0)) * Fraction(1, 15360)
    rate = (NUM_FRAMES - 1) / last_s
    update = {
        "num_frames": NUM_FRAMES,
        "start_pts": pts(0),
        "avg_rate": rate,
        "duration_s": float(last_s + 1 / rate),
        "variable_rate": True,
    }
    masklets = replace(case.masklets, video=case.masklets.video.model_copy(update=update))
    return masklets, {frame: pts(frame) for frame in shown}


@pytest.fixture
def draw_on():
    """Make a function that draws an object on some frames, and has no rows on others."""

    def make(shown):
        return lambda frame: {1: np.ones((33, 47), bool)} if frame in shown else {}

    return make


@pytest.mark.parametrize(
    "shown",
    [{4, 5, 6, 12, 13}, {0, 23}, {9}, {2, 20}, set(), set(range(24))],
    ids=["gaps", "ends", "one", "within", "none", "all"],
)
@pytest.mark.parametrize("span", [(0, 24), (2, 22)], ids=["whole", "part"])
@pytest.mark.parametrize("pts", [slowing, lambda frame: 512 * frame], ids=["variable", "constant"])
def test_frames_without_rows_lie_between_those_with(make_case, draw_on, tmp_path, shown, span, pts):
    """Known times stay as they are; others ascend strictly between them, the video's first and
    last frame's among the known; one frame asked for alone has the same time."""
    start, stop = span
    shown = {frame for frame in shown if start <= frame < stop}
    case = make_case(tmp_path, draw=draw_on(shown), ids=(1,), start=start, stop=stop, pts=pts)
    masklets, known = timed(case, pts, shown=shown)

    found = {frame: time for frame, time, _ in masklets.timed_frames()}
    assert list(found) == list(range(start, stop))
    assert {frame: found[frame] for frame in known} == known
    ends = {0: pts(0), NUM_FRAMES - 1: pts(NUM_FRAMES - 1)}
    marks = sorted({**ends, **known, **found}.items())
    assert all(a[1] < b[1] for a, b in itertools.pairwise(marks))
    for left, right in itertools.pairwise(sorted({**ends, **known}.items())):
        for frame in range(max(left[0], start), min(right[0], stop)):
            share = Fraction(frame - left[0], right[0] - left[0])
            assert found[frame] == round(left[1] + share * (right[1] - left[1]))
    assert {frame: masklets.pts(frame) for frame in found} == found
    assert [rows for _, rows in masklets.frames()] == [rows for *_, rows in masklets.timed_frames()]


def test_a_result_tells_the_same_time_either_way(case, published, make_case, draw_on, tmp_path):
    """A frame without rows has one time, met on the way or asked for by its number."""
    result = Result(published)
    (tmp_path / "gaps").mkdir()
    gaps = make_case(tmp_path / "gaps", draw=draw_on({4, 9}), ids=(1, 7, 12, 40), pts=slowing)
    result.masklets, _ = timed(gaps, slowing, shown=())
    result.video = result.masklets.video
    times = [frame.time_s for frame in result]
    assert times == [result.frame(frame).time_s for frame in range(2, 14)]
    assert times[4 - 2] == pytest.approx((slowing(4) - slowing(0)) / 15360)
    assert times == sorted(times)


def test_a_long_gap_is_not_held(make_case, draw_on, tmp_path):
    """Frames without rows before the next one with rows take no memory."""

    def peak(stop):
        place = tmp_path / str(stop)
        place.mkdir()
        drawn = draw_on({0, stop - 1})
        masklets: ExportSource = make_case(place, draw=drawn, ids=(1,), start=0, stop=stop).masklets
        list(itertools.islice(masklets.timed_frames(), 3))
        tracemalloc.start()
        assert sum(1 for _ in masklets.timed_frames()) == stop
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(20_000) < peak(200) + 20_000


HINDI = "\u0939\u093f\u0928\u094d\u0926\u0940"


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("/videos/what? really.mp4", "video", "what_really"),
        ("who?/a.b.mp4", "video", "a.b"),
        ("/videos/frames?", "images", "frames"),
        ("https://host/clip.mp4?X-Signature=a/b.c", "video", "clip"),
        ("s3://bucket/clip.mp4", "video", "clip"),
        ("/videos/???.mp4", "video", "video"),
        (
            "/videos/cafe\u0301 \u0939\u093f\u0928\u094d\u0926\u0940.mp4",
            "video",
            "cafe\u0301_\u0939\u093f\u0928\u094d\u0926\u0940",
        ),
    ],
)
def test_the_sequence_is_named_after_the_video(case, source, kind, name):
    """A question mark is a letter in a file's name, and ends that in an address. Accents and vowel
    signs stay."""
    video = case.masklets.video.model_copy(update={"source": source, "kind": kind})
    assert replace(case.masklets, video=video).sequence == name
