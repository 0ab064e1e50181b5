"""Videos in buckets and on the web are read exactly, and no more of them than is wanted."""

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from samcore.disk.cache import DownloadCache
from samcore.disk.files import file_record
from samcore.errors import (
    InputError,
    MissingObjectError,
    TransientStorageError,
    VideoError,
)
from samcore.video import VideoSource, media, open_video
from samcore.video.decoder import find_ffmpeg
from tasks.fetch_chunks import fetch_chunks
from tasks.plan_run import plan_run
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.run.refs import RunRef
from tasks.settings import load_settings
from tasks.sources.opened import open_source
from tasks.sources.remote import BucketVideo, find_remote_video
from tasks.store.locations import HttpsLocation, S3Location
from tasks.store.object_store import ObjectStore
from tasks.track_chunk import track_chunk
from tests.servers.faults import SLOW_DOWN, Break, FaultProxy, Refuse, Request, Slow
from tests.servers.https import HttpsServer, WebPage
from tests.servers.swift import SwiftServer

NUM_FRAMES, MIDDLE = 156, 120


@pytest.fixture(scope="session")
def large_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 50 MB of noise, each frame a keyframe, its index at the end."""
    path = tmp_path_factory.mktemp("large") / "noise.mp4"
    # Ten pictures of noise, over and over: to encode each would take ten times as long.
    source = "color=gray:size=640x480:rate=24,noise=alls=100:allf=t"
    command = ("-f", "lavfi", "-i", source, "-frames:v", "12", "-c:v", "mjpeg", "-q:v", "2")
    short = path.with_name("short.mp4")
    for arguments in (
        (*command, str(short)),
        ("-stream_loop", "12", "-i", str(short), "-c", "copy", str(path)),
    ):
        subprocess.run([find_ffmpeg().path, "-v", "error", "-y", *arguments], check=True)
    return path


@pytest.fixture(scope="session")
def large(large_video: Path) -> VideoSource:
    """The same, opened from the disk."""
    return open_video(large_video, index_path=large_video.with_name("index.parquet"))


@pytest.fixture(scope="module")
def stored(swift: SwiftServer, large_video: Path) -> S3Location:
    """Where it is in a bucket."""
    location = S3Location(swift.make_bucket(), "videos/noise.mp4")
    with pytest.MonkeyPatch.context() as settings:
        for name, value in swift.environment().items():
            settings.setenv(name, value)
        ObjectStore().put_file(large_video, location, sha256=file_record(large_video).sha256)
    return location


@pytest.fixture
def streamed(
    stored: S3Location, faults: FaultProxy, tmp_path: Path, large_video: Path, large: VideoSource
) -> Callable[..., VideoSource]:
    """Open it where it is, without a copy; the index is here already."""

    def open_it(**options: int) -> VideoSource:
        store = ObjectStore()
        info = store.head(stored)
        assert info is not None
        cache = DownloadCache(tmp_path / "sources", max_bytes=1000)
        index_path = large_video.with_name("index.parquet")
        video = open_video(BucketVideo(info, store, cache, **options), index_path=index_path)
        faults.clear()
        return video

    return open_it


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ffmpeg give up a connection after a second, in place of half a minute."""
    monkeypatch.setitem(media._WEB, "reconnect_delay_max", 1)


def _check(video: VideoSource, truth: VideoSource, start: int, stop: int) -> None:
    with video.read(start, stop) as frames, truth.read(start, stop) as true_frames:
        for frame, true_frame in zip(frames, true_frames, strict=True):
            assert (frame.frame_idx, frame.pts) == (true_frame.frame_idx, true_frame.pts)
            assert np.array_equal(frame.image_rgb_hwc_u8, true_frame.image_rgb_hwc_u8)


def test_a_chunk_fetches_a_fraction(
    stored: S3Location,
    bucket: str,
    faults: FaultProxy,
    large_video: Path,
    track_chunks: Callable[..., RunRef],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that tracks one chunk in the middle of a video of 50 MB, which its cache cannot
    hold, fetches what the chunk weighs and what is on its way through the sockets. So it needs the
    index that another worker made."""
    monkeypatch.setenv("LONGTAKE_SOURCE_CACHE_BYTES", "0")
    request = validate_request(
        source=stored.uri,
        destination=f"s3://{bucket}/out",
        prompts={"objects": [{"id": 1, "prompts": [{"frame": 118, "box": [10, 10, 90, 90]}]}]},
        model="nano",
        settings={"device": "cpu"},
        start=118,
        stop=126,
        chunk_frames=5,
        overlap=2,
    )
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "first"))
    track_chunks(request, only=1)

    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "second"))
    faults.clear()
    run = plan_run.fn(request)
    assert fetch_chunks.fn(run) == 1
    track_chunk.fn(run, 1)

    time.sleep(0.2)  # what is on its way still counts
    read = [item for item in faults.exchanges if "noise.mp4" in item.request.target]
    served = sum(item.served for item in read)
    size = large_video.stat().st_size
    assert size > 40e6
    assert size * 5 / NUM_FRAMES < served < 0.4 * size
    assert not list(tmp_path.rglob("*.mp4"))


def test_connections_that_break_change_nothing(
    streamed: Callable[..., VideoSource], faults: FaultProxy, large: VideoSource
) -> None:
    """Resets in mid-body, refusals and slowness: the same frames."""
    video = streamed()
    assert faults.served == 0
    faults.inject(
        SLOW_DOWN,
        Break("answer", after=1_000_000),
        None,
        Break("answer", after=3_000_000),
        Slow(0.005),
    )
    _check(video, large, MIDDLE, MIDDLE + 25)
    assert faults.num_faults >= 3


def test_expired_address_is_made_anew(
    impatient: None, streamed: Callable[..., VideoSource], faults: FaultProxy, large: VideoSource
) -> None:
    """When the store takes a signed address no more in mid-decode, decoding goes on by another."""
    video = streamed(url_lasts_s=100)
    refused = Refuse(403, "AccessDenied")
    first: list[str] = []

    def expire(request: Request) -> Refuse | Break | None:
        first[:] = first or [request.target]
        if request.target != first[0]:
            return None
        # The connection of the first address breaks once it has brought something.
        seen = sum(item.request.target == first[0] for item in faults.exchanges)
        if seen == 3:
            time.sleep(1.1)  # so that the next address, made then, has another signature
        return Break("answer", after=2_500_000) if seen == 3 else refused if seen > 3 else None

    faults.set_rule(expire)
    with video.read(MIDDLE, MIDDLE + 25) as frames, large.read(MIDDLE, MIDDLE + 25) as truth:
        for frame, true_frame in zip(frames, truth, strict=True):
            assert np.array_equal(frame.image_rgb_hwc_u8, true_frame.image_rgb_hwc_u8)
    assert len({exchange.request.target for exchange in faults.exchanges}) > 1


def test_changed_object_is_said(
    bucket: str, swift: SwiftServer, clip: Path, tmp_path: Path
) -> None:
    """A video that is replaced while it is read is an error that says so, never other frames."""
    location = S3Location(bucket, "clip.mp4")
    body = clip.read_bytes()
    swift.client().put_object(Bucket=bucket, Key=location.key, Body=body)
    store = ObjectStore()
    info = store.head(location)
    assert info is not None
    cache = DownloadCache(tmp_path / "sources", max_bytes=1000)
    video = open_video(BucketVideo(info, store, cache))
    video.frame(40)
    swift.client().put_object(Bucket=bucket, Key=location.key, Body=body[:-1] + b"?")
    with pytest.raises(VideoError, match="changed while it was read"):
        video.frame(40)


def test_store_that_goes_away_is_transient(
    impatient: None,
    streamed: Callable[..., VideoSource],
    faults: FaultProxy,
    caplog: pytest.LogCaptureFixture,
    stored: S3Location,
) -> None:
    """A connection that cannot be had is worth another try, and no signature is told to anyone."""
    caplog.set_level(logging.DEBUG, "samcore")
    caplog.set_level(logging.DEBUG, "tasks")
    video = streamed()
    refused = Refuse(403, "AccessDenied")
    faults.set_rule(lambda request: refused if "Signature" in request.target else None)
    with pytest.raises(TransientStorageError, match="broke off at frame 120") as caught:
        video.frame(MIDDLE)
    with pytest.raises(TransientStorageError, match="broke off at frame 0") as scanned:
        open_video(video.file)  # a scan that sees the first half only must not count
    for text in (str(caught.value), str(scanned.value), caplog.text):
        assert "Signature" not in text
        assert "X-Amz" not in text


@pytest.mark.parametrize("cache_bytes", [0, 10**9], ids=["streamed", "copied"])
def test_identity_is_that_of_the_content(
    bucket: str,
    swift: SwiftServer,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache_bytes: int,
) -> None:
    """Streamed or copied, a stored video is the same one, in any bucket; and if the store knows its
    SHA-256, the same as a file on the disk. Its index is all that is needed to open it again."""
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LONGTAKE_SOURCE_CACHE_BYTES", str(cache_bytes))
    here = open_video(clip)
    ours, theirs = S3Location(bucket, "ours.mp4"), S3Location(swift.make_bucket(), "a/theirs.mp4")
    ObjectStore().put_file(clip, ours, sha256=file_record(clip).sha256)
    for location in (theirs, S3Location(bucket, "theirs.mp4")):
        swift.client().put_object(Bucket=location.bucket, Key=location.key, Body=clip.read_bytes())
    video = open_source(ours, tmp_path / "work")
    assert video.info == here.info.model_copy(update={"source": ours.uri})
    assert np.array_equal(video.frame(33).image_rgb_hwc_u8, here.frame(33).image_rgb_hwc_u8)

    other = open_source(theirs, tmp_path / "work")
    assert other.info.digest.startswith("etag:")
    again = open_source(S3Location(bucket, "theirs.mp4"), tmp_path / "work")
    assert again.info.digest == other.info.digest
    copies = list((tmp_path / "cache").rglob("*.mp4"))
    assert len(copies) == (2 if cache_bytes else 0)  # the last was opened, and not a byte read


@pytest.fixture
def web(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    """A web server with the clip."""
    with HttpsServer(tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "cache"))
        server.pages["/clip.mp4"] = WebPage(clip.read_bytes(), {"ETag": '"one"'})
        yield server


@pytest.mark.parametrize("cache_bytes", [0, 10**9], ids=["streamed", "copied"])
def test_video_on_the_web(
    web: HttpsServer,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache_bytes: int,
) -> None:
    """A web address gives the frames of the file; its query, which may be a secret, is in no
    record; and when the file changes, that is said."""
    monkeypatch.setenv("LONGTAKE_SOURCE_CACHE_BYTES", str(cache_bytes))
    web.pages["/moved.mp4"] = WebPage(
        headers={"Location": f"{web.url}/clip.mp4?Signature=made"}, status=302
    )
    here = open_video(clip)
    place = HttpsLocation(f"{web.url}/moved.mp4?token=secret")
    video = open_source(place, tmp_path / "work")
    assert video.info.source == f"{web.url}/moved.mp4"
    assert np.array_equal(video.frame(33).image_rgb_hwc_u8, here.frame(33).image_rgb_hwc_u8)
    # A task that knows the record of the run only.
    assert open_source(video.info.source, tmp_path / "work") is video
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"secret" in content for content in written)

    web.pages["/clip.mp4"].headers["ETag"] = '"two"'
    if not cache_bytes:
        with pytest.raises(VideoError, match="changed while it was read"):
            video.frame(33)
    assert open_source(place, tmp_path / "work").info.digest != video.info.digest


def test_what_cannot_be_read(web: HttpsServer, bucket: str, tmp_path: Path) -> None:
    """What is not there, is a folder, or cannot be told from a changed one is refused in one line,
    as is a server whose certificate nobody vouches for."""
    web.pages["/live"] = WebPage(b"x" * 100)
    for place, error, said in (
        (S3Location(bucket, "none.mp4"), VideoError, "no video at s3://"),
        (S3Location(bucket, "frames/"), InputError, "one video"),
        (HttpsLocation(f"{web.url}/none.mp4"), MissingObjectError, "no such file"),
        (HttpsLocation(f"{web.url}/live"), InputError, "ETag or date"),
    ):
        with pytest.raises(error, match=said):
            find_remote_video(place, credentials=None, on_fetch=None)


@pytest.mark.parametrize("cache_bytes", [0, 10**9], ids=["streamed", "copied"])
def test_a_video_above_the_limit_is_refused_before_it_is_read(
    ask: Callable[..., SegmentRequest],
    web: HttpsServer,
    bucket: str,
    clip: Path,
    faults: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    cache_bytes: int,
) -> None:
    """One line says how large it is, the limit and the setting; a bucket has served no byte of it
    then, and a web server the one that it is asked for to hear the size. At the limit it is
    taken."""
    monkeypatch.setenv("LONGTAKE_SOURCE_CACHE_BYTES", str(cache_bytes))
    location = S3Location(bucket, "videos/clip.mp4")
    ObjectStore().put_file(clip, location, sha256=file_record(clip).sha256)
    size = clip.stat().st_size
    cache_dir = load_settings().cache_dir
    monkeypatch.setenv("LONGTAKE_MAX_VIDEO_BYTES", str(size - 1))

    def served() -> int:
        read = [item for item in faults.exchanges if "clip.mp4" in item.request.target]
        return sum(item.served for item in read)

    for source in (location.uri, f"{web.url}/clip.mp4"):
        faults.clear()
        web.served = 0
        with pytest.raises(InputError) as caught:
            resolve_request(ask(source=source), cache_dir=cache_dir)
        message = str(caught.value)
        assert "\n" not in message
        assert f"{source!r} has {size:,} bytes; the limit is {size - 1:,}." in message
        assert "LONGTAKE_MAX_VIDEO_BYTES" in message
        assert served() == 0
        assert web.served <= 1
        assert not list(cache_dir.rglob("*.mp4*"))

    monkeypatch.setenv("LONGTAKE_MAX_VIDEO_BYTES", str(size))
    faults.clear()
    assert (
        resolve_request(ask(source=location.uri), cache_dir=cache_dir).video.info.num_frames == 66
    )
    assert served() > 0


def test_ffmpeg_checks_certificates(
    impatient: None, web: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video is not read from a server that anybody could have put in between."""
    monkeypatch.setenv("LONGTAKE_SOURCE_CACHE_BYTES", "0")
    file = find_remote_video(HttpsLocation(f"{web.url}/clip.mp4"), credentials=None, on_fetch=None)
    (tmp_path / "other").mkdir()
    with HttpsServer(tmp_path / "other") as other, file.media() as given:
        stranger = dict(given.options)
        stranger["ca_file"] = str(other.certificate)
        command = [find_ffmpeg().path, "-v", "error"]
        for name, value in stranger.items():
            command += [f"-{name}", str(value)]
        done = subprocess.run(
            [*command, "-i", given.address, "-f", "null", "-"], capture_output=True, check=False
        )
    assert done.returncode != 0
    assert b"certificate" in done.stderr.lower()
