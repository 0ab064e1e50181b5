"""Runs through the tasks' own functions, without Prefect's engine; and made-up results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from samcore.chunks.plan import Chunk
from samcore.config import TrackSettings
from samcore.disk.files import file_record
from samcore.models.registry import resolve_model
from samcore.result.manifest import Manifest
from samcore.result.published import Peaks, Timings
from samcore.result.records import RunRecord
from samcore.run.backward import backward_pass
from samcore.run.folder import RunFolder
from samcore.video import VideoInfo
from tasks.check_seam import check_seam
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.publish_part import publish_part
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef, RunRef, backward_ref
from tasks.track_chunk import track_chunk
from tasks.tracking.taken import take_finished

TrackChunks = Callable[[SegmentRequest], RunRef]


def _track_chunks(request: SegmentRequest, *, only: int | None = None) -> RunRef:
    run = plan_run.fn(request)
    folder = RunFolder.from_ref(run)
    _track_pass(run, folder, request, only)
    if (mirror := backward_pass(folder)) is not None:
        _track_pass(backward_ref(run, mirror), mirror, request, only)
    return run


def _track_pass(run: RunRef, folder: RunFolder, request: SegmentRequest, only: int | None) -> None:
    correction = take_finished(run)
    if folder.record().handoff == "memory":
        todo = folder.plan_work(with_states=True)
        if 0 in todo or (todo and correction):
            encode_prompts.fn(run)
    for chunk in folder.record().chunks[:only]:
        track_chunk.fn(run, chunk.index)
        publish_part.fn(run, chunk.index)
        if chunk.index:
            check_seam.fn(run, request, chunk.index)


@pytest.fixture(scope="session")
def track_chunks() -> Callable[..., RunRef]:
    """Track all chunks of a request, or the first `only` ones."""
    return _track_chunks


@pytest.fixture(scope="session")
def segment() -> Callable[[SegmentRequest], ResultRef]:
    """Track and publish."""
    return lambda request: publish.fn(_track_chunks(request), request)


FILES = ("masks.parquet", "seams.json")


@dataclass(frozen=True)
class Made:
    """A result that was made up: publishing does not look into the files."""

    files: Mapping[str, Path]
    manifest: Manifest


VIDEO = VideoInfo(
    source="/video.mp4",
    kind="video",
    width=64,
    height=48,
    num_frames=10,
    time_base=Fraction(1, 24),
    avg_rate=Fraction(24),
    start_pts=0,
    duration_s=10 / 24,
    codec="h264",
    container="mov,mp4,m4a,3gp,3g2,mj2",
    header_num_frames=10,
    header_duration_s=10 / 24,
    rotation_deg=0,
    variable_rate=False,
    size_bytes=1000,
    digest="sha256:" + "0" * 64,
    damaged=None,
)


@pytest.fixture
def make_result(tmp_path: Path) -> Callable[..., Made]:
    """Make up a result; another seed has other files and another key."""

    def make_up(seed: int, *, names: tuple[str, ...] = FILES) -> Made:
        folder = tmp_path / f"made-{seed}"
        folder.mkdir(exist_ok=True)
        files = {name: folder / name for name in names}
        for name, path in files.items():
            path.write_bytes(f"{name} of {seed}\n".encode() * 50)
        request = RunRecord(
            source="/video.mp4",
            source_digest="sha256:" + "0" * 64,
            objects=(),
            prompts_digest=str(seed),
            model=resolve_model("random-tiny", cache_dir=tmp_path),
            settings=TrackSettings(device="cpu", dtype="float32"),
            start=0,
            stop=10,
            chunks=(Chunk(0, 0, 10),),
            handoff="memory",
        )
        manifest = Manifest(
            key=request.result_key,
            request=request,
            video=VIDEO,
            frames=10,
            files=tuple(file_record(path) for path in files.values()),
            seam_agreement=None,
            seams_identical=None,
            chunks=(),
            timings=Timings(prompt_pass=0.0, tracking=0.0),
            peaks=Peaks(rss_bytes=1, vram_bytes=None),
            versions={},
            finished_at="2026-11-21T12:00:00+00:00",
        )
        return Made(files, manifest)

    return make_up
