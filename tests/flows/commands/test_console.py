"""What a command shows on the terminal."""

import io

import pytest

from flows.commands import console


def test_numbers_and_their_things_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame is a frame, whether it is known how many there are or not."""
    monkeypatch.setattr(console, "_LINE_INTERVAL_S", 0.0)
    shown = io.StringIO()
    terminal = console.Terminal(shown)

    terminal.scan(1, None)
    terminal.scan(1, 20)
    terminal.scan(1, 1)
    terminal.fetch(1_000_000, None)
    terminal.wait("starting Prefect")

    assert shown.getvalue().splitlines() == [
        "scanning the video: 1 frame",
        "scanning the video: 1 of 20 frames",
        "scanning the video: 1 of 1 frame",
        "downloading the video: 1 MB",
        "starting Prefect",
    ]
