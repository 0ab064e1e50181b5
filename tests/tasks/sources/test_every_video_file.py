"""What every `VideoFile` promises, wherever its bytes lie.

To put another place under this suite, write a class like those below, and add it to `PLACES`.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from samcore.disk.files import file_record
from samcore.errors import SegmentationError
from samcore.scenes import Scene
from samcore.video import VideoFile, VideoSource, VideoWriter, open_video, source_digest
from samcore.video.media import LocalFile
from tasks.sources.remote import find_remote_video
from tasks.store.locations import HttpsLocation, S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.https import HttpsServer, WebPage
from tests.servers.swift import SwiftServer

SECRET = "made-up-secret"


class Place(Protocol):
    """Somewhere a video can lie."""

    def put(self, video: Path) -> None:
        """Put a video there, in place of the one before."""

    def open(self) -> VideoFile:
        """What is there now."""


class OnDisk:
    """A file of this machine."""

    def __init__(self, folder: Path, swift: SwiftServer, web: HttpsServer) -> None:
        self._path = folder / "clip.mp4"

    def put(self, video: Path) -> None:
        self._path.unlink(missing_ok=True)
        self._path.write_bytes(video.read_bytes())

    def open(self) -> VideoFile:
        size = self._path.stat().st_size
        return LocalFile("clip.mp4", self._path, size_bytes=size, digest=source_digest(self._path))


class InBucket:
    """An object of a bucket."""

    def __init__(self, folder: Path, swift: SwiftServer, web: HttpsServer) -> None:
        self._location = S3Location(swift.make_bucket(), "videos/clip.mp4")

    def put(self, video: Path) -> None:
        ObjectStore().put_file(video, self._location, sha256=file_record(video).sha256)

    def open(self) -> VideoFile:
        return find_remote_video(self._location, credentials=None, on_fetch=None)


class OnWeb:
    """A page of a web server."""

    def __init__(self, folder: Path, swift: SwiftServer, web: HttpsServer) -> None:
        self._web = web

    def put(self, video: Path) -> None:
        tag = f'"{file_record(video).sha256}"'
        self._web.pages["/clip.mp4"] = WebPage(video.read_bytes(), {"ETag": tag})

    def open(self) -> VideoFile:
        place = HttpsLocation(f"{self._web.url}/clip.mp4?token={SECRET}")
        return find_remote_video(place, credentials=None, on_fetch=None)


COPIED, STREAMED = 10**9, 0
PLACES = [
    pytest.param((OnDisk, COPIED), id="disk"),
    pytest.param((InBucket, COPIED), id="bucket, copied"),
    pytest.param((InBucket, STREAMED), id="bucket, streamed"),
    pytest.param((OnWeb, COPIED), id="web, copied"),
    pytest.param((OnWeb, STREAMED), id="web, streamed"),
]
"""Every place, and how many bytes the cache of copies holds."""


@contextmanager
def web_server(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    with HttpsServer(folder) as server:
        patch.setenv("SSL_CERT_FILE", str(server.certificate))
        yield server


@pytest.fixture(params=PLACES)
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    swift: SwiftServer,
    bucket: str,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """A place with the clip."""
    make: Callable[[Path, SwiftServer, HttpsServer], Place]
    make, cache_bytes = request.param
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LONGTAKE_SOURCE_CACHE_BYTES", str(cache_bytes))
    with web_server(tmp_path, monkeypatch) as web:
        made = make(tmp_path, swift, web)
        made.put(clip)
        yield made


@pytest.fixture(scope="session")
def other_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another scene of the same size and length."""
    scene = Scene(4, num_frames=66, height=96, width=128, num_objects=2)
    path = tmp_path_factory.mktemp("other") / "clip.mp4"
    with VideoWriter(path, width=scene.width, height=scene.height, rate=Fraction(24)) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
    return path


@pytest.fixture(scope="session")
def truth(clip: Path) -> VideoSource:
    """The clip, opened from the disk."""
    return open_video(clip)


def same_frames(video: VideoSource, truth: VideoSource, start: int, stop: int) -> bool:
    with video.read(start, stop) as frames, truth.read(start, stop) as true_frames:
        return all(
            np.array_equal(one.image_rgb_hwc_u8, other.image_rgb_hwc_u8)
            for one, other in zip(frames, true_frames, strict=True)
        )


def test_video_file_says_what_it_is(place: Place, clip: Path, other_clip: Path) -> None:
    """Its name has no secret in it, its size is that of the content, and its digest belongs to the
    content: the same again, and another one for another content."""
    file = place.open()
    assert file.name.endswith("clip.mp4")
    assert SECRET not in file.name
    assert file.size_bytes == clip.stat().st_size
    assert re.fullmatch(r"(sha256|etag):[0-9a-f]{64}", file.digest)
    assert place.open().digest == file.digest

    place.put(other_clip)
    assert place.open().digest != file.digest


def test_video_file_gives_the_frames(place: Place, truth: VideoSource, tmp_path: Path) -> None:
    """All frames are those of the file on a disk, also when they are read from the middle on, and
    again; what a decoder is given to read is in no text."""
    video = open_video(place.open(), index_path=tmp_path / "index.parquet")
    assert video.info.num_frames == truth.info.num_frames
    assert same_frames(video, truth, 0, truth.info.num_frames)
    assert same_frames(video, truth, 40, 50)
    assert same_frames(video, truth, 20, 30)


def test_video_file_serves_several_decoders(place: Place) -> None:
    """Each decoder asks for its own medium, also while another one reads; none is told in a log."""
    file = place.open()
    with ExitStack() as stack:
        media = [stack.enter_context(file.media()) for _ in range(3)]
        for one in media:
            assert one.address not in repr(one)
            assert one.options["protocol_whitelist"]
    with file.media() as again:
        assert again.is_remote == media[0].is_remote


def test_video_file_is_one_content(
    place: Place, truth: VideoSource, other_clip: Path, tmp_path: Path
) -> None:
    """When another content takes its place, that can be told; nobody gets a frame of the other
    content as one of this: what is read is an error, or the content as it was."""
    file = place.open()
    assert not file.changed()
    video = open_video(file, index_path=tmp_path / "index.parquet")

    place.put(other_clip)

    assert file.changed()
    said = ""
    try:
        assert same_frames(video, truth, 30, 40)
    except SegmentationError as error:
        said = str(error)
    assert "\n" not in said
    assert SECRET not in said
