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


def test_one_bar_for_steps_that_go_on_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar of a step stays while it goes on; that of the other one comes when it is done."""
    terminal, now = console.Terminal(_Tty()), 100.0
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now))
    shown = []
    with terminal.live(), listening(terminal.show):
        drawing, writing = reporter("drawing", "frames"), reporter("writing", "frames")
        for step, done in ((drawing, 1), (writing, 1), (drawing, 2), (writing, 2), (drawing, 3)):
            step(done, 3)
            shown.append(terminal._shown)
        writing(2, 3)
        shown.append(terminal._shown)
        now += 60.0
        drawing(1, 3)
        shown.append(terminal._shown)
    assert shown == [*["drawing"] * 5, "writing", "drawing"]
