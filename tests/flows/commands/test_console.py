"""What a command shows on the terminal."""

import io

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
