"""What tests of runs and results on the page do in a window."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from flows.commands.open_page import what_to_open
from flows.page.server import PageServer, listen_on
from flows.page.session import open_session
from tasks.settings import load_settings
from tests.flows.page.conftest import Served, Window, open_window

WAIT_MS = 120_000
"""For a run."""


@contextlib.contextmanager
def opened(place: Path, destination: Path | None = None, **fields: Any) -> Iterator[Served]:
    """Serve a video or a result as the command does."""
    settings = load_settings()
    where = None if destination is None else str(destination)
    asked = what_to_open(str(place), fields, where, settings)
    with (
        listen_on(0) as listening,
        open_session(asked.request, asked.folder, settings=settings) as session,
        PageServer(session, listening).running() as address,
        httpx.Client() as client,
    ):
        yield Served(session, address, client)


@contextlib.contextmanager
def looking(
    browser: Any, served: Served, *, lost: bool = False, **options: Any
) -> Iterator[Window]:
    """A window on it, which knows all of the video; the page has not complained by the end, unless
    it lost its server."""
    with open_window(browser, served, **options) as window:
        window.page.set_default_timeout(WAIT_MS)
        window.page.goto(served.address)
        window.page.wait_for_selector("body[data-frame]")
        window.page.wait_for_function(
            """async () => (await import("/static/state.js")).state.video.finished"""
        )
        yield window
        assert lost or window.complaints == []
        assert all(url.startswith((served.url, "blob:" + served.url)) for url in window.requests)


def to_frame(window: Window, frame: int, *, shows: str = "") -> None:
    """Go to a frame by its number; `shows` is `result` or `before`, whose masks are waited for."""
    window.page.fill("#number", str(frame))
    window.page.press("#number", "Enter")
    window.see(frame)
    if shows:
        window.page.wait_for_selector(f"body[data-{shows}='{frame}']")


def pixels_of(window: Window, which: str = "now") -> dict[int, int]:
    """How many pixels of each object there are in the result's masks over the picture."""
    found = window.page.evaluate(
        """async (which) => {
            const { state } = await import("/static/state.js");
            const { indexN, present } = state.results[which];
            const counts = {};
            for (const place of indexN) {
                if (place) counts[present[place - 1]] = (counts[present[place - 1]] ?? 0) + 1;
            }
            return counts;
        }""",
        which,
    )
    return {int(obj_id): count for obj_id, count in found.items()}


def click_lane(window: Window, row: int, share: float) -> None:
    """Click into an object's lane, somewhere along the video."""
    box = window.page.locator("#lanes-canvas").bounding_box()
    names = 96
    x = box["x"] + names + (box["width"] - names) * share
    window.page.mouse.click(x, box["y"] + 12 + 22 * row + 10)
