"""Chunks that are tracked while their video is scanned: the same masks, or none of them."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from samcore.beside import Beside
from samcore.disk.locks import locked
from samcore.masks.table import table_digest
from samcore.progress import TRACKING, Progress, listening
from samcore.prompts.file import PromptFile
from samcore.result.manifest import MASKS
from samcore.run.early import early_chunks, early_folder, frames_to_begin
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import find_partial_chunk
from samcore.video import ScanOfFile, open_video
from samcore.video.decoder import find_ffmpeg
from tasks.plan_run import plan_run
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef, RunRef
from tasks.settings import load_settings
from tests.held_scan import LIMIT_S, SMALL, HeldScan, held_scan

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]
TrackChunks = Callable[..., RunRef]

FRAMES = 90
"""Of all chunks together."""

pytestmark = pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="nothing tells what the header claims"
)


def _early_folders(request: SegmentRequest) -> list[Path]:
    return [*(request.work_path / "early").rglob("*")]


@pytest.fixture
def plain(ask: Ask, segment: Segment, tmp_path: Path) -> Callable[..., Path]:
    """The mask table of a request that nothing is tracked early of."""

    def table(**changes: object) -> Path:
        request = ask(**{**SMALL, **changes, "destination": str(tmp_path / "plain")})
        return Path(segment(request).destination) / MASKS

    return table


@pytest.mark.parametrize("handoff", ["memory", "mask"])
def test_early_chunks_are_the_runs(
    ask: Ask, segment: Segment, plain: Callable[..., Path], handoff: str
) -> None:
    """One chunk is done and the next one stopped when the scan ends; the run goes on from there,
    tracks each frame once, and its table is that of a run without, to the byte."""
    request = ask(**SMALL, handoff=handoff)
    with held_scan() as scan:
        run = plan_run.fn(request)
        folder = RunFolder.from_ref(run)
        assert scan.early >= 15
        assert early_chunks(folder) == 1
        assert folder.finished_chunk(0) is not None
        assert find_partial_chunk(folder, 1) is not None
        assert folder.video().duration_s == 66 / 24
        assert not _early_folders(request)

        result = segment(request)
        assert scan.tracked == FRAMES
    assert (Path(result.destination) / MASKS).read_bytes() == plain(handoff=handoff).read_bytes()


@pytest.fixture
def cut_clip(clip: Path, tmp_path: Path) -> Path:
    """The clip with an edit list that hides its first frames; the header counts them."""
    path = tmp_path / "cut.mp4"
    cut = ["-ss", "0.5", "-i", str(clip), "-c", "copy", str(path)]
    subprocess.run([find_ffmpeg().path, "-v", "error", "-nostdin", *cut], check=True)
    return path


@pytest.fixture
def short_clip(clip: Path, tmp_path: Path) -> Path:
    """The clip thirty times, without the end, which the header in front still claims.

    So long that no decoder is at its end while the scan is held.
    """
    whole, path = tmp_path / "whole.mp4", tmp_path / "short.mp4"
    repeat = ["-stream_loop", "29", "-i", str(clip), "-c", "copy", "-movflags", "+faststart"]
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", *repeat, str(whole)]
    subprocess.run(command, check=True)
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    return path


@pytest.mark.parametrize(("name", "stop"), [("cut_clip", None), ("short_clip", 31)])
def test_a_header_that_lies_costs_only_time(
    ask: Ask,
    segment: Segment,
    plain: Callable[..., Path],
    name: str,
    stop: int | None,
    request: pytest.FixtureRequest,
) -> None:
    """What was tracked of a video that is shorter than it says, or damaged at its end, is thrown
    away, and tracked as if it had never been."""
    changes = {"source": str(request.getfixturevalue(name)), "stop": stop}
    asked = ask(**SMALL, **changes)
    with held_scan(at=35, until=12) as scan:
        result = segment(asked)
    assert scan.early >= 12
    assert early_chunks(RunFolder(next((asked.work_path / "runs").iterdir()))) == 0
    assert not _early_folders(asked)
    masks = Path(result.destination) / MASKS
    assert masks.read_bytes() == plain(**changes).read_bytes()


def test_a_killed_process_leaves_its_early_work(
    ask: Ask, segment: Segment, plain: Callable[..., Path]
) -> None:
    """SIGKILL in the second chunk, while the scan goes on: the next process's early work goes on
    with that chunk, and the masks are those of a run that nobody killed."""
    request = ask(**SMALL)
    code = (
        "import os, signal, sys, threading\n"
        "from samcore.progress import TRACKING, listening\n"
        "from tasks.plan_run import plan_run\n"
        "from tasks.request.segment_request import SegmentRequest\n"
        "tracked = []\n"
        "def listen(progress):\n"
        "    if progress.what == TRACKING:\n"
        "        tracked.append(1)\n"
        "        if len(tracked) == 14:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "    elif progress.what == 'scanning the video' and progress.done == 45:\n"
        "        threading.Event().wait()\n"
        "with listening(listen):\n"
        "    plan_run.fn(SegmentRequest.model_validate_json(sys.argv[1]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, request.model_dump_json()],
        env={**os.environ, "LONGTAKE_EARLY_START_S": "0"},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert not (request.work_path / "runs").exists()
    assert _early_folders(request)

    with held_scan(until=8) as scan:
        result = segment(request)
        assert scan.early >= 8
        assert scan.tracked == FRAMES - 10
    with_masks = RunFolder(next((request.work_path / "runs").iterdir()))
    assert early_chunks(with_masks) >= 1
    masks = Path(result.destination) / MASKS
    assert table_digest(masks) == table_digest(plain())


def test_a_signal_keeps_early_work(ask: Ask, segment: Segment, plain: Callable[..., Path]) -> None:
    """Ctrl-C, while a chunk is tracked: its frames so far are kept for the next process."""
    request = ask(**SMALL)

    def interrupt(progress: Progress) -> None:
        if progress.what == TRACKING and scan.tracked == 4:
            os.kill(os.getpid(), signal.SIGINT)
            scan.may_go_on.set()

    with held_scan(at=64) as scan, listening(interrupt), pytest.raises(KeyboardInterrupt):
        plan_run.fn(request)
    before = scan.tracked
    assert before < 10

    with held_scan(at=64, until=8) as scan:
        result = segment(request)
        assert scan.tracked == FRAMES - before
    masks = Path(result.destination) / MASKS
    assert masks.read_bytes() == plain().read_bytes()


def test_another_process_is_left_alone(ask: Ask, cut_clip: Path) -> None:
    """Where somebody is at the early work of this run, nothing is tracked and nothing removed; when
    he is gone without taking it, it goes. That of another video stays."""
    request = ask(**SMALL)
    asked = ask(**SMALL, source=str(cut_clip))
    other = resolve_request(asked, cache_dir=load_settings().cache_dir)
    other.write_to(early_folder(other.folder))
    run = resolve_request(request, cache_dir=load_settings().cache_dir)
    early = early_folder(run.folder).path
    early.mkdir(parents=True)
    with locked(early / "lock"), held_scan(at=70) as scan:
        plan_run.fn(request.model_copy(update={"source": _copied(request.source)}))
        assert scan.tracked == 0
        assert early.exists()
    plan_run.fn(request)
    assert not early.exists()
    assert early_folder(other.folder).record() == other.record


def _copied(source: str) -> str:
    """The same video under another name: nobody has opened it yet."""
    return str(shutil.copy(source, Path(source).with_name("copied.mp4")))


class Asked(ScanOfFile):
    """Knows when more frames are asked for than there are."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.is_asked = threading.Event()
        self._asked_least = least

    def first_frames(self, least: int, *, stop: threading.Event) -> object:
        if least > self._asked_least:
            self.is_asked.set()
        return super().first_frames(least, stop=stop)


@dataclass
class Begun:
    """What `frames_to_begin` says while a scan is held at frame 30."""

    is_asked: bool
    frames: int | None


def _begin(clip: Path, stop: int | None, *, begins: bool = True, **prompt: float) -> Begun:
    spec = {"objects": [{"id": 1, "prompts": [{**prompt, "box": [1, 1, 9, 9]}]}]}
    so_far, has_begun = Asked(30), threading.Event()

    def hold(done: int, _total: int | None) -> None:
        if done == 30:
            while not (so_far.is_asked.wait(0.01) or has_begun.is_set()):
                pass
        if done == 60 and begins:
            assert has_begun.wait(LIMIT_S)

    def scan(check: Callable[[], None]) -> None:
        with so_far.scanning(check):
            open_video(clip, on_progress=hold, so_far=so_far)

    with Beside(scan):
        video = frames_to_begin(
            so_far,
            start=0,
            stop=stop,
            chunk_frames=10,
            moments=PromptFile.model_validate(spec).moments,
            least_s=0,
            most=100,
        )
        has_begun.set()
    return Begun(so_far.is_asked.is_set(), None if video is None else len(video.index))


@pytest.mark.parametrize("prompt", [{"frame": 40}, {"time": 40 / 24}], ids=["frame", "time"])
def test_prompts_ahead_are_waited_for(clip: Path, prompt: dict[str, float]) -> None:
    """Tracking begins when the scan is past the last prompt."""
    begun = _begin(clip, None, **prompt)
    assert begun.is_asked
    assert begun.frames is not None
    assert 40 < begun.frames < 66


@pytest.mark.parametrize(
    ("stop", "prompt", "begins"),
    [(None, 5, True), (20, 5, True), (19, 5, False), (None, 65, False), (None, 99, False)],
    ids=["near", "two chunks", "less than two", "last frame", "no such frame"],
)
def test_what_is_worth_an_early_start(
    clip: Path, stop: int | None, prompt: int, begins: bool
) -> None:
    """Two chunks or more to track, and prompts that are scanned before the end."""
    assert (_begin(clip, stop, begins=begins, frame=prompt).frames is not None) is begins


def test_a_scan_that_ends_soon_is_waited_for(ask: Ask) -> None:
    """By default nothing is tracked early of a video that is scanned in a moment."""
    scan = HeldScan(at=70)
    with listening(scan):
        plan_run.fn(ask(**SMALL))
    assert scan.tracked == 0


def test_backward_waits_for_the_scan(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes backward, if only by its prompts, counts frames from the end: nothing begins early,
    while the same forward does."""
    begun: list[int] = []
    monkeypatch.setattr(
        "tasks.request.early_start.frames_to_begin", lambda *_, start, **__: begun.append(start)
    )
    (one,) = SMALL["prompts"]["objects"]

    plan_run.fn(ask(**SMALL, direction="both"))
    plan_run.fn(ask(**{**SMALL, "prompts": {"objects": [{**one, "direction": "backward"}]}}))
    assert begun == []
    plan_run.fn(ask(**SMALL))
    assert begun == [0]
