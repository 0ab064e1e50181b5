"""The video is opened while torch is imported."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flows.commands.run_local as run_local
from flows.cli import run as longtake
from flows.commands.early_scan import begin_to_open
from samcore.errors import InputError, StorageError, VideoError
from samcore.machine import device
from samcore.progress import Progress, listening
from samcore.run.early import early_chunks
from tasks.request.early_checks import READING, open_asked_video
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.settings import load_settings
from tasks.sources import opened as sources
from tests.held_scan import SMALL, held_scan

LIMIT_S = 120.0


class Scan:
    """Takes the place of the scan: it waits for leave, and fails then."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.count = 0

    def __call__(self, *_: object, **__: object) -> None:
        self.count += 1
        self.begun.set()
        self.may_end.wait(LIMIT_S)
        raise VideoError("the scan has failed")


class Server:
    """Takes the place of the embedded server."""

    def __init__(self, cache_dir: Path, *, linger_s: float) -> None:
        pass

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def url(self) -> str:
        raise StorageError("no server in this test")


@pytest.fixture
def scan(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scan]:
    """Of every video that is opened."""
    made = Scan()
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(run_local, "EmbeddedServer", Server)
    monkeypatch.setattr(sources, "open_video", made)
    yield made
    made.may_end.set()


@pytest.fixture
def track(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[[], tuple[int, str]]:
    """Run `longtake track`; its exit code, and what it says."""

    def run() -> tuple[int, str]:
        box = {"frame": 0, "box": [10, 10, 60, 60]}
        prompts = tmp_path / "prompts.json"
        prompts.write_text(json.dumps({"objects": [{"id": 1, "prompts": [box]}]}))
        out = str(tmp_path / "out")
        code = longtake(
            ["track", str(clip), "-o", out, "--prompts", str(prompts), "--model", "nano"]
        )
        return code, capfd.readouterr().err

    return run


Track = Callable[[], tuple[int, str]]


def test_the_scan_begins_before_the_device_is_chosen(
    scan: Scan, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To choose it needs torch, which takes seconds to import; what is wrong with the video is said
    as always, and the video is opened once."""
    choose = device.choose_compute

    def choose_later(*args: str) -> device.Compute:
        assert scan.begun.wait(LIMIT_S)
        scan.may_end.set()
        return choose(*args)

    monkeypatch.setattr(device, "choose_compute", choose_later)
    code, said = track()
    assert (code, scan.count) == (2, 1)
    assert "longtake: the scan has failed\n" in said


def test_a_scan_does_not_hold_up_another_error(
    scan: Scan, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that is not there is told while the scan of a long video still goes on."""

    def no_such_device(*_: str) -> device.Compute:
        raise InputError("no such device")

    monkeypatch.setattr(device, "choose_compute", no_such_device)
    code, said = track()
    assert code == 2
    assert "longtake: no such device\n" in said
    assert not scan.may_end.is_set()


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no header's claim without it")
def test_a_command_tracks_while_it_waits_for_the_scan(ask: Callable[..., SegmentRequest]) -> None:
    """What it tracks is in the folder of the run that it plans."""
    request = ask(**SMALL)
    with held_scan() as scan:
        opened = begin_to_open(request)
        run = resolve_request(request, cache_dir=load_settings().cache_dir, opened=opened)
        run.lay_out()
    assert scan.early >= 15
    assert early_chunks(run.folder) == 1
    assert run.folder.finished_chunk(0) is not None


@pytest.mark.parametrize("place", ["source", "destination"])
def test_a_bucket_is_asked_before_a_scan(ask: Callable[..., object], place: str) -> None:
    """Where it may have the index already, or another version of the video: nothing is begun."""
    assert begin_to_open(ask(**{place: "s3://bucket/there"})) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "is_told"), [(1_000_000, False), (120_000_000, True)])
def test_only_a_long_reading_shows(
    ask: Callable[..., SegmentRequest], tmp_path: Path, size: int, is_told: bool
) -> None:
    """A large file shows how far it is read; a small one is read in a moment, without a word."""
    path = tmp_path / "zeros.mp4"
    with path.open("wb") as file:
        file.truncate(size)
    told: list[Progress] = []

    with listening(told.append), pytest.raises(VideoError):
        open_asked_video(ask(source=str(path)))

    assert any(progress.what == READING for progress in told) == is_told
