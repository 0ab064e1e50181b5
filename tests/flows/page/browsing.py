"""A page's server on a video or a result, and windows of a browser on it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.commands.open_page import what_to_open
from flows.page.server import PageServer, listen_on
from flows.page.session import PageSession, open_session
from tasks.settings import load_settings

WAIT_MS = 120_000


@contextlib.contextmanager
def served(
    place: Path, destination: Path | None = None, **fields: Any
) -> Iterator[tuple[str, PageSession]]:
    """Serve it as the command does; gives the address and the session."""
    settings = load_settings()
    where = None if destination is None else str(destination)
    opened = what_to_open(str(place), fields, where, settings)
    with (
        listen_on(0) as listening,
        open_session(opened.request, opened.folder, settings=settings) as session,
        PageServer(session, listening).running() as address,
    ):
        yield address, session


@contextlib.contextmanager
def window(
    browser: Any,
    address: str,
    *,
    width: int = 1280,
    height: int = 800,
    dark: bool = False,
    lost: bool = False,
) -> Iterator[Any]:
    """A window on a page; nothing may go wrong in it, unless it loses its server, and it asks
    nobody but that."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(WAIT_MS)
    try:
        page.goto(address)
        page.wait_for_selector("body[data-frame]")
        yield page
        assert (
            lost or [line for line in complaints if "409" not in line and "422" not in line] == []
        )
        own = address.partition("#")[0]
        assert [url for url in asked if not url.startswith((own, "blob:"))] == []
    finally:
        context.close()


def on_screen(page: Any, session: PageSession, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the video is in the window."""
    video = session.opening.known
    assert video is not None
    box = page.locator("#stage").bounding_box()
    scale = min(box["width"] / video.info.width, box["height"] / video.info.height)
    left = box["x"] + (box["width"] - scale * video.info.width) / 2
    top = box["y"] + (box["height"] - scale * video.info.height) / 2
    return left + x * scale, top + y * scale


def drag_box(page: Any, session: PageSession, box: tuple[float, float, float, float]) -> None:
    """Drag a box around something, in pixels of the video; it is saved afterwards."""
    before = page.get_attribute("body", "data-revision")
    page.mouse.move(*on_screen(page, session, box[0], box[1]))
    page.mouse.down()
    page.mouse.move(*on_screen(page, session, (box[0] + box[2]) / 2, box[3]))
    page.mouse.move(*on_screen(page, session, box[2], box[3]))
    page.mouse.up()
    page.wait_for_selector(f"body:not([data-revision='{before}'])")


def to_frame(page: Any, frame: int) -> None:
    """Go to a frame by its number."""
    page.fill("#number", str(frame))
    page.press("#number", "Enter")
    page.wait_for_selector(f"body[data-frame='{frame}']")


def pixels_of_result(page: Any, which: str = "now") -> dict[str, int]:
    """How many pixels of each object there are in the result's masks over the picture."""
    found: dict[str, int] = page.evaluate(
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
    return found
