"""The memory log is one series over all attempts of a run, and never the end of one."""

import csv
import json
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from samcore.errors import InputError, StorageError
from samcore.machine.meters import MemoryMeter
from samcore.run.folder import RunFolder
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import RunRef

MIB = 2**20


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_series(
    ask: Callable[..., SegmentRequest],
    prompts: dict[str, object],
    track_chunks: Callable[..., RunRef],
    tmp_path: Path,
) -> None:
    """Each chunk has a line at its first and its last frame at least; times do not go back, and
    all of it can be read by any reader of CSV."""
    path = tmp_path / "logs" / "memory.csv"
    box = prompts["objects"][0]["prompts"][0]["box"]
    request = ask(
        prompts={"objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]},
        stop=14,
        chunk_frames=8,
        overlap=2,
        image_size=64,
        memory_log=str(path),
    )
    run = track_chunks(request)

    rows = _rows(path)
    at = [(int(row["chunk"]), int(row["frame"])) for row in rows]
    assert {(0, 0), (0, 7), (1, 6), (1, 13)} <= set(at)
    assert at == sorted(at)
    times = [datetime.fromisoformat(row["time"]) for row in rows]
    assert times == sorted(times)
    assert all(int(row["rss_bytes"]) > 50e6 for row in rows)
    assert {row["run"] for row in rows} == {run.key}


def test_a_chunk_tells_its_peak(
    ask: Callable[..., SegmentRequest],
    prompts: dict[str, object],
    track_chunks: Callable[..., RunRef],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """What a chunk's record has as its peak is no less than what the process was seen to use in
    it and no more than the process ever used; the log line gives the same number."""
    box = prompts["objects"][0]["prompts"][0]["box"]
    path = tmp_path / "memory.csv"
    request = ask(
        prompts={"objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]},
        stop=14,
        chunk_frames=8,
        overlap=2,
        image_size=64,
        memory_log=str(path),
    )
    with caplog.at_level(logging.INFO, logger="tasks.track_chunk"), MemoryMeter() as meter:
        run = track_chunks(request)
    most = meter.snapshot().peak_rss_bytes

    for index, start, stop in ((0, 0, 8), (1, 6, 14)):
        path_of_record = RunFolder.from_ref(run).chunk_path(index) / "done.json"
        done = json.loads(path_of_record.read_text())["record"]
        peak = done["peak_rss_bytes"]
        seen = [int(row["rss_bytes"]) for row in _rows(path) if row["chunk"] == str(index)]
        assert 50e6 < max(seen) <= peak
        assert peak <= most + MIB  # the kernel's counters are some pages apart
        told = f"chunk {index}, frames [{start}, {stop}): "
        (line,) = [text for text in caplog.messages if text.startswith(told)]
        assert f" frames/s, at most {peak / 1e9:.2f} GB of memory" in line


def test_a_log_that_cannot_be_is_refused_at_once(
    ask: Callable[..., SegmentRequest], tmp_path: Path
) -> None:
    """A folder in place of a file, or one that cannot be made, is said before any work."""
    with pytest.raises(InputError, match="name a file"):
        plan_run.fn(ask(memory_log=str(tmp_path)))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        plan_run.fn(ask(memory_log=str(tmp_path / "file" / "memory.csv")))
