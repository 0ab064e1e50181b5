"""What a command shows on the terminal."""

import io
from types import SimpleNamespace

import pytest

from flows.commands import console
from samcore.progress import listening, reporter


def test_progress_lines_say_1_frame_and_20_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame is a frame, whether it is known how many there are or not."""
    monkeypatch.setattr(console, "_LINE_INTERVAL_S", 0.0)
    shown = io.StringIO()
    terminal = console.Terminal(shown)

    with listening(terminal.show):
        for total in (None, 20, 1):
            reporter("scanning the video", "frames")(1, total)
        reporter("downloading the video", "MB", scale=1_000_000)(1_000_000, None)
    terminal.wait("starting Prefect")

    assert shown.getvalue().splitlines() == [
        "scanning the video: 1 frame",
        "scanning the video: 1 of 20 frames",
        "scanning the video: 1 of 1 frame",
        "downloading the video: 1 MB",
        "starting Prefect",
    ]


class _Tty(io.StringIO):
    """A terminal, as far as it says so."""

    def isatty(self) -> bool:
        return True


def test_a_bar_for_each_of_two_steps_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both stay while both go on; a third one comes when one of them is done or silent."""
    terminal, now = console.Terminal(_Tty()), 100.0
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now))
    shown = []
    with terminal.live(), listening(terminal.show):
        scanning, tracking, other = (
            reporter(name, "frames") for name in ("scan", "track", "other")
        )
        for step, done in ((scanning, 1), (tracking, 1), (other, 1), (scanning, 3), (tracking, 2)):
            step(done, 3)
            shown.append([*terminal._shown])
        other(2, 3)
        shown.append([*terminal._shown])
        now += 60.0
        scanning(1, 3)
        shown.append([*terminal._shown])
    both = ["scan", "track"]
    assert shown == [["scan"], both, both, both, ["track"], ["track", "other"], ["scan"]]


def test_lines_tell_of_all_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where lines are printed now and then, a step with much news does not hide one with little."""
    shown = io.StringIO()
    terminal = console.Terminal(shown)
    is_time = False
    monkeypatch.setattr(terminal, "_may_print", lambda: is_time)

    with listening(terminal.show):
        terminal.wait("starting Prefect")
        reporter("tracking", "frames")(2, 100)
        reporter("reading", "MB")(5, 5)
        reporter("scanning", "frames")(10, 100)
        is_time = True
        reporter("scanning", "frames")(11, 100)

    assert shown.getvalue().splitlines() == [
        "tracking: 2 of 100 frames",
        "scanning: 11 of 100 frames",
    ]
