"""Each ffmpeg that a machine may have, a page in a browser, and a disk that fills up."""

import contextlib
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from samcore.video.decoder import find_ffmpeg

FullDisk = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def opened(chromium, tmp_path):
    """Open a page; what it complained of and asked for is noted."""
    contexts = []

    def show(page_text, *, width=1200, dark=False, touch=False):
        path = tmp_path / "page.html"
        path.write_text(page_text)
        context = chromium.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            has_touch=touch,
            is_mobile=touch,
        )
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-drawn]", timeout=60_000)
        return page

    yield show
    for context in contexts:
        context.close()


@pytest.fixture
def bundled_ffmpeg(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without ffmpeg on its PATH, so that imageio-ffmpeg's is used."""
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty-path")))


_FFMPEGS = ["ffmpeg of imageio-ffmpeg"]
if shutil.which("ffmpeg") is not None:
    _FFMPEGS.insert(0, "ffmpeg on the PATH")


@pytest.fixture(params=_FFMPEGS)
def each_ffmpeg(request: pytest.FixtureRequest) -> None:
    """Every ffmpeg of this machine: the one that the environment brings, and the PATH's if any."""
    if request.param == "ffmpeg of imageio-ffmpeg":
        request.getfixturevalue("bundled_ffmpeg")


@pytest.fixture
def full_disk(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> FullDisk:
    """Within the block no file may become larger than so many bytes; who writes more gets an error
    of the system, as on a full disk. So does ffmpeg, which such a limit would kill otherwise."""

    @contextlib.contextmanager
    def fill_up(size: int) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("bin")
        (folder / "ffmpeg").write_text(
            f"#!/bin/sh\ntrap '' XFSZ\nexec '{find_ffmpeg().path}' \"$@\"\n"
        )
        (folder / "ffmpeg").chmod(0o755)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with monkeypatch.context() as changed:
            changed.setenv("PATH", str(folder), prepend=":")
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                signal.signal(signal.SIGXFSZ, before)

    return fill_up
