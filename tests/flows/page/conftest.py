"""A server of the page on the clip, and a window on it."""

import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from flows.page.guard import TOKEN_HEADER
from flows.page.server import PageServer, listen_on
from flows.page.session import PageSession, open_session
from samcore.errors import InputError
from tasks.request.segment_request import validate_request
from tasks.settings import load_settings

LONG_MS = 120_000
"""For what a busy machine may take."""


@dataclass
class Served:
    """A page that is served."""

    session: PageSession
    address: str
    client: httpx.Client
    """Has the token."""

    @property
    def url(self) -> str:
        """Without the token."""
        return self.address.partition("#")[0]

    @property
    def token(self) -> str:
        return self.address.partition("#")[2]

    @property
    def prompts(self) -> dict[str, object]:
        """The saved prompts file."""
        path = self.session.project.prompts_path
        return json.loads(path.read_text()) if path.exists() else {"objects": []}

    def edit(self, kind: str, **values: object) -> httpx.Response:
        """Make an edit as another window does."""
        edit = {"kind": kind, **values}
        revision = self.session.project.revision
        return self.client.post("/api/edit", json={"edit": edit, "revision": revision})


@contextlib.contextmanager
def serving(source: Path, folder: Path, **values: object) -> Iterator[Served]:
    """Serve a video with the embedded model."""
    request = validate_request(
        source=str(source),
        destination=str(folder),
        automatic={"max_objects": 1},
        model="nano",
        settings={"device": "cpu"},
        **values,
    )
    with (
        listen_on(0) as listening,
        open_session(request, folder, settings=load_settings()) as session,
        PageServer(session, listening).running() as address,
    ):
        url, _, token = address.partition("#")
        with httpx.Client(base_url=url, headers={TOKEN_HEADER: token}, timeout=120) as client:
            yield Served(session, address, client)


@pytest.fixture(scope="module")
def served(clip, tmp_path_factory) -> Iterator[Served]:
    """One server for the tests of a module; it knows all of the video."""
    with serving(clip, tmp_path_factory.mktemp("page") / "clip.longtake") as one:
        # Of a frame that is not there this is said once the scan has ended.
        with pytest.raises(InputError, match="the video has frames 0 to"):
            one.session.opening.having(10**6, wait_s=LONG_MS / 1000)
        yield one


@pytest.fixture
def fresh(served: Served) -> Served:
    """The server, without objects."""
    for item in served.session.project.objects:
        served.edit("remove_object", id=item.id)
    return served


class Window:
    """A window of a browser on a page, and a person's hand in it."""

    def __init__(self, page, served: Served) -> None:
        self.page = page
        self.page.set_default_timeout(LONG_MS)
        self.served = served
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self) -> "Window":
        """Go there and wait for the first picture and the model."""
        self.page.goto(self.served.address)
        self.page.wait_for_selector("#model[data-state=ready]", timeout=LONG_MS)
        return self.see(0)

    def see(self, frame: int) -> "Window":
        """Wait until this frame is on the screen."""
        self.page.wait_for_selector(f'body[data-frame="{frame}"]', timeout=LONG_MS)
        return self

    def saved(self, revision: int) -> "Window":
        """Wait until the window knows this revision."""
        self.page.wait_for_selector(f'body[data-revision="{revision}"]', timeout=LONG_MS)
        return self

    def masked(self, *ids: int) -> "Window":
        """Wait until the masks of these objects, and of no others, are on the screen."""
        said = " ".join(map(str, ids))
        self.page.wait_for_selector(f'body[data-masks="{said}"]', timeout=LONG_MS)
        return self

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the video is in the window."""
        box = self.page.locator("#stage").bounding_box()
        info = self.served.session.opening.known.info
        scale = min(box["width"] / info.width, box["height"] / info.height)
        left = box["x"] + (box["width"] - info.width * scale) / 2
        top = box["y"] + (box["height"] - info.height * scale) / 2
        return left + x * scale, top + y * scale

    def click(self, x: float, y: float, **options: object) -> None:
        """Click on a pixel of the video."""
        self.page.mouse.click(*self.at(x, y), **options)

    def drag(self, *places: tuple[float, float]) -> None:
        """Press, move through these pixels of the video, and let go."""
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=4)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def canvas(self, which: str) -> np.ndarray:
        """What a canvas of the stage shows of the video, H x W x 4 at the video's size (BGRA)."""
        url = self.page.evaluate(
            "which => new Promise(done => requestAnimationFrame(() => "
            "done(document.querySelector(which).toDataURL())))",
            which,
        )
        data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
        shown = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        box = self.page.locator("#stage").bounding_box()
        ratio = shown.shape[1] / box["width"]
        info = self.served.session.opening.known.info
        left, top = (v for v in self.at(0, 0))
        right, bottom = (v for v in self.at(info.width, info.height))
        rows = slice(round((top - box["y"]) * ratio), round((bottom - box["y"]) * ratio))
        columns = slice(round((left - box["x"]) * ratio), round((right - box["x"]) * ratio))
        return cv2.resize(
            shown[rows, columns], (info.width, info.height), interpolation=cv2.INTER_AREA
        )


@pytest.fixture
def window(chromium, fresh: Served) -> Iterator[Window]:
    """A window of 1280 x 800; the page has not complained by the end."""
    with open_window(chromium, fresh) as opened:
        yield opened.open()
        assert not opened.complaints
        assert all(url.startswith((fresh.url, "blob:" + fresh.url)) for url in opened.requests)


@contextlib.contextmanager
def open_window(chromium, served: Served, **options: object) -> Iterator[Window]:
    """A window; not at the address yet."""
    options = {"viewport": {"width": 1280, "height": 800}, **options}
    context = chromium.new_context(**options)
    try:
        yield Window(context.new_page(), served)
    finally:
        context.close()
