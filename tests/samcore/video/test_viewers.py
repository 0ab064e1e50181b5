"""One pass over a video for several viewers."""

import contextlib
import contextvars
import threading
from types import SimpleNamespace

import pytest

from samcore.errors import SegmentationError, StorageError, VideoError
from samcore.failures import Failures
from samcore.video.viewers import show_frames


class Film:
    """A video of numbered frames, of which one may be unreadable."""

    def __init__(self, broken=None):
        self.passes = 0
        self.read_frames = 0
        self._broken = broken

    @contextlib.contextmanager
    def read(self, start, stop):
        self.passes += 1
        yield self._frames(start, stop)

    def _frames(self, start, stop):
        for number in range(start, stop):
            if number == self._broken:
                raise VideoError("a frame cannot be read")
            self.read_frames += 1
            yield SimpleNamespace(frame_idx=number)


class Log:
    """A viewer that notes what it was shown and how it ended, and may fail anywhere."""

    def __init__(self, fails_at=None, error=None):
        self._fails_at, self._error = fails_at, error or StorageError(f"fails at {fails_at}")
        self.frames = []
        self.end = "never begun"

    def __enter__(self):
        self._may_fail("begin")
        return self._show

    def __exit__(self, kind, error, trace):
        self.end = "whole" if kind is None else kind.__name__
        if kind is None:
            self._may_fail("end")

    def _show(self, frame):
        self._may_fail(frame.frame_idx)
        self.frames.append(frame.frame_idx)

    def _may_fail(self, place):
        if place == self._fails_at:
            raise self._error


def test_all_viewers_see_every_frame_of_one_pass():
    """Each is shown all frames in order and is left without an error; progress is told once a
    frame, and the video is read once."""
    film, logs, told = Film(), [Log(), Log(), Log()], []
    failures = Failures()

    show_frames(film, 3, 9, logs, failures, on_progress=lambda *step: told.append(step))

    failures.say()
    assert film.passes == 1
    assert told == [(done, 6) for done in range(1, 7)]
    for log in logs:
        assert (log.frames, log.end) == (list(range(3, 9)), "whole")


@pytest.mark.parametrize(
    ("place", "seen", "end"),
    [
        ("begin", 0, "never begun"),
        (0, 0, "StorageError"),
        (4, 4, "StorageError"),
        ("end", 6, "whole"),
    ],
)
def test_a_viewer_that_fails_leaves_the_others(place, seen, end):
    """Wherever it fails: the others see the whole video, and its error is raised at the end."""
    failing, before, after = Log(place), Log(), Log()
    failures = Failures()

    show_frames(Film(), 0, 6, [before, failing, after], failures)

    assert (failing.frames, failing.end) == (list(range(seen)), end)
    for log in (before, after):
        assert (log.frames, log.end) == (list(range(6)), "whole")
    with pytest.raises(StorageError, match=f"fails at {place}"):
        failures.say()


def test_a_frame_that_cannot_be_read_ends_all():
    """All viewers hear of it and leave nothing; it is said once."""
    logs = [Log(), Log(2), Log()]
    failures = Failures()

    show_frames(Film(broken=4), 0, 6, logs, failures)

    assert [log.end for log in logs] == ["VideoError", "StorageError", "VideoError"]
    with pytest.raises(SegmentationError, match=r"^fails at 2; a frame cannot be read$"):
        failures.say()


def test_nobody_left_ends_the_pass():
    """No frame is read that nobody sees."""
    film = Film(broken=5)
    failures = Failures()
    show_frames(film, 0, 6, [Log("begin")], failures)
    assert film.passes == 0
    show_frames(film, 0, 6, [Log(0), Log(1)], failures)
    assert film.passes == 1
    with pytest.raises(SegmentationError, match=r"^fails at begin; fails at 0; fails at 1$"):
        failures.say()


def test_a_signal_leaves_no_viewer_open():
    """What is no error of a viewer, such as Ctrl-C, ends all of them at once."""
    logs = [Log(), Log(2, KeyboardInterrupt()), Log()]
    with pytest.raises(KeyboardInterrupt):
        show_frames(Film(), 0, 6, logs, Failures())
    assert [log.end for log in logs] == ["KeyboardInterrupt"] * 3


LIMIT_S = 60.0


class Meeting:
    """A viewer that goes on only when others are at the same place."""

    def __init__(self, barrier):
        self._barrier = barrier

    def __enter__(self):
        self._barrier.wait(LIMIT_S)
        return self._show

    def __exit__(self, *_):
        self._barrier.wait(LIMIT_S)

    def _show(self, frame):
        self._barrier.wait(LIMIT_S)


def test_viewers_run_side_by_side():
    """None waits for another one to begin, to draw a frame, or to end what it makes."""
    barrier = threading.Barrier(3)
    failures = Failures()

    show_frames(Film(), 0, 4, [Meeting(barrier) for _ in range(3)], failures)

    failures.say()


def test_a_quick_viewer_waits_for_a_slow_one():
    """Few frames are held, however slow a viewer is."""
    film, may_go_on = Film(), threading.Event()
    most = 5  # one is drawn, two wait, one is about to be given, and the quick one has seen it
    seen = []

    @contextlib.contextmanager
    def slow():
        def show(frame):
            assert may_go_on.wait(LIMIT_S)

        yield show

    @contextlib.contextmanager
    def quick():
        def show(frame):
            seen.append(frame.frame_idx)
            if len(seen) == 3:  # the slow one is at the first frame
                assert film.read_frames <= most
                may_go_on.set()

        yield show

    failures = Failures()
    show_frames(film, 0, 100, [slow(), quick()], failures)

    failures.say()
    assert seen == list(range(100))


def test_a_viewer_knows_what_it_is_for():
    """It runs in the context of who shows the frames, as logs of a run want it."""
    asked = contextvars.ContextVar("asked", default="nobody")
    found = []

    @contextlib.contextmanager
    def viewer():
        found.append(asked.get())
        yield lambda frame: found.append(asked.get())

    asked.set("run 1")
    show_frames(Film(), 0, 1, [viewer()], Failures())

    assert found == ["run 1", "run 1"]
