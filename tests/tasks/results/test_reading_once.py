"""How often a run reads what it publishes, with all the outputs that there are."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import flows.segment_video as flow
import samcore.disk.files
import samcore.result.reader
from flows.cli import run as longtake
from flows.commands.lines import result_lines
from samcore.disk.files import hash_file
from samcore.exports import FORMATS
from samcore.run.folder import RunFolder
from samcore.video import VideoSource, opening
from tasks.add_output import add_output
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import find_result, open_result_store
from tasks.run.refs import ResultRef, RunRef
from tests.servers.faults import FaultProxy

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]

ALL = {
    "image_size": 64,
    "stop": 8,
    "chunk_frames": 6,
    "overlap": 2,
    "report": True,
    "formats": tuple(FORMATS.names),
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
}
"""Overlay, report and ten formats in two chunks."""


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often content was read to hash it, by its digest."""
    counts: Counter[str] = Counter()

    def count(path: Path) -> tuple[int, str]:
        size, sha256 = hash_file(path)
        counts[sha256] += 1
        return size, sha256

    for module in (samcore.disk.files, samcore.result.reader):
        monkeypatch.setattr(module, "hash_file", count)
    return counts


def _run_all(request: SegmentRequest, segment: Segment, monkeypatch: pytest.MonkeyPatch) -> RunRef:
    """What the flow does, in its order, without Prefect's engine."""
    monkeypatch.setattr(flow, "add_output", add_output.fn)
    for name in ("markdown", "table"):
        monkeypatch.setattr(f"tasks.results.artifacts.create_{name}_artifact", lambda **_: None)
    run = plan_run.fn(request)
    record = RunFolder.from_ref(run).record()
    result = find_result(run, record) or segment(request)
    result = flow._complete(run, request, result)
    list(result_lines(result, seconds=1.0))
    return run


def test_published_files_are_hashed_at_most_twice(
    ask: Ask, segment: Segment, monkeypatch: pytest.MonkeyPatch, hashed: Counter[str]
) -> None:
    """A run with overlay, report and ten formats reads each published file twice at most to hash
    it; so does the run after it, and `longtake export` of all formats."""
    request = ask(**ALL)

    run = _run_all(request, segment, monkeypatch)
    manifest = open_result_store(run).listed(run.key)
    assert manifest is not None
    files = {file.sha256: file.name for file in manifest.files}
    assert len(FORMATS.names) == 10
    assert {"overlay.mp4", "report.html", "masks.parquet", "seams.json"} < set(files.values())
    assert set(manifest.exports) == set(FORMATS.names) - {"overlay"}
    for action in (
        lambda: None,
        lambda: _run_all(request, segment, monkeypatch),
        lambda: _export_all(run),
    ):
        action()
        assert {files[sha256]: hashed[sha256] for sha256 in files if hashed[sha256] > 2} == {}
        hashed.clear()


def _export_all(run: RunRef) -> None:
    formats = [option for name in FORMATS.names for option in ("--format", name)]
    assert longtake(["export", run.destination, *formats]) == 0


def test_seams_are_compared_by_what_records_say(
    ask: Ask, track_chunks: Callable[..., RunRef], hashed: Counter[str]
) -> None:
    """To look a seam up reads no masks, whether its record is there or not; to plan the work reads
    those of each chunk that is done once."""
    folder = RunFolder.from_ref(track_chunks(ask(**ALL)))
    chunks = [folder.chunk_record(chunk.index) for chunk in folder.record().chunks]
    hashed.clear()
    assert folder.seam(1) is not None
    assert folder.seam(2) is None
    assert not hashed
    assert folder.plan_work(with_states=True) == []
    assert [hashed[chunk.masks.sha256] for chunk in chunks if chunk] == [1, 1]


def test_objects_of_a_result_are_looked_at_a_few_times(
    ask: Ask,
    segment: Segment,
    monkeypatch: pytest.MonkeyPatch,
    faults: FaultProxy,
    bucket: str,
    hashed: Counter[str],
) -> None:
    """In a bucket, too, no file is hashed more than twice, and how often the store is asked for
    one does not grow with the number of outputs."""
    faults.clear()

    run = _run_all(ask(**ALL, destination=f"s3://{bucket}/out"), segment, monkeypatch)

    asked = Counter(
        unquote(item.request.target.partition("?")[0])
        for item in faults.exchanges
        if item.request.method == "HEAD"
    )
    manifest = open_result_store(run).listed(run.key)
    assert manifest is not None
    assert max(hashed[file.sha256] for file in manifest.files) <= 2
    heads = {file.name: asked[f"/{bucket}/out/{file.name}"] for file in manifest.files}
    assert min(heads.values()) >= 2
    # Before and after the upload, after the manifest, and by outputs, artifacts and the last lines.
    assert {name: count for name, count in heads.items() if count > 6} == {}


def test_the_video_is_decoded_three_times(
    ask: Ask, segment: Segment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a run with overlay, report and ten formats the index, the tracking of the one chunk and
    all outputs together decode the video once each; besides, single frames are read."""
    scans: list[object] = []
    passes: list[tuple[int, int | None]] = []
    scan, read = opening.scan_video, VideoSource.read

    def count_scan(*args: Any, **options: Any) -> Any:
        scans.append(args)
        return scan(*args, **options)

    def count_read(
        self: VideoSource, start: int = 0, stop: int | None = None, **options: Any
    ) -> Any:
        if stop != start + 1:
            passes.append((start, stop))
        return read(self, start, stop, **options)

    monkeypatch.setattr(opening, "scan_video", count_scan)
    monkeypatch.setattr(VideoSource, "read", count_read)
    request = ask(**{**ALL, "chunk_frames": 8}, work_dir=str(tmp_path / "work"))

    run = _run_all(request, segment, monkeypatch)

    manifest = open_result_store(run).listed(run.key)
    assert manifest is not None
    assert {"overlay.mp4", "report.html"} < {file.name for file in manifest.files}
    assert len(scans) == 1
    assert passes == [(0, 8), (0, 8)]
