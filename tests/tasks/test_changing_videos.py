"""A video whose size changes and whose clock starts again, from the request to the result."""

import json
import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.commands.lines import video_lines
from samcore.errors import InputError
from samcore.masks.table import MaskReader, table_digest
from samcore.report.of_manifest import report_facts
from samcore.result.manifest import MASKS, Manifest
from samcore.result.records import RunRecord
from samcore.run.folder import RunFolder
from samcore.video.decoder import find_ffmpeg
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef

Ask = Callable[..., SegmentRequest]


@pytest.fixture(scope="module")
def grows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 frames of 80x48, then 12 of 160x96 whose clock starts again."""
    folder = tmp_path_factory.mktemp("grows")
    for name, size, frames in (("a.ts", "80x48", 8), ("b.ts", "160x96", 12)):
        command = [find_ffmpeg().path, "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}"]
        command += ["-frames:v", str(frames), "-c:v", "libx264", "-pix_fmt", "yuv420p"]
        subprocess.run([*command, str(folder / name)], check=True)
    path = folder / "grows.ts"
    path.write_bytes((folder / "a.ts").read_bytes() + (folder / "b.ts").read_bytes())
    return path


def _box(*box: int) -> dict[str, object]:
    return {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": list(box)}]}]}


def test_a_video_that_changes_is_tracked_and_told(
    ask: Ask,
    grows: Path,
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Prompts are in pixels of the largest size also on a smaller frame; masks do not depend on
    chunks across the change; probe, run, manifest and report facts say where it is."""
    asked = {"source": str(grows), "prompts": _box(90, 10, 150, 80), "image_size": 64}
    with caplog.at_level(logging.WARNING):
        plan_run.fn(ask(**asked))
    chunked = segment(
        ask(**asked, chunk_frames=6, overlap=2, destination=str(tmp_path / "chunked"))
    )
    whole = segment(ask(**asked, chunk_frames=100, overlap=0, destination=str(tmp_path / "whole")))

    tables = [Path(result.destination) / MASKS for result in (chunked, whole)]
    assert table_digest(tables[0]) == table_digest(tables[1])
    with MaskReader(tables[0]) as reader:
        assert (reader.width, reader.height) == (160, 96)
        times = [rows[0].pts for _, rows in reader.frames_iter()]
    assert times == [times[0] + 3600 * i for i in range(20)]
    manifest = Manifest.model_validate_json(
        (Path(chunked.destination) / "manifest.json").read_bytes()
    )
    found = [(it.frame, it.width, it.height) for it in manifest.video.size_changes]
    assert found == [(0, 80, 48), (8, 160, 96)]
    assert manifest.video.clock_restarts == (8,)
    lines = "\n".join(video_lines(manifest.video))
    told = report_facts(manifest, ()).remarks
    for text in (caplog.text, lines, "\n".join(told)):
        assert "160 x 96 from frame 8" in text
        assert "clock starts again at frame 8" in text


def test_a_prompt_outside_the_largest_size_is_refused(ask: Ask, grows: Path) -> None:
    """The limit that is named is that of the largest size."""
    with pytest.raises(InputError, match="160"):
        plan_run.fn(ask(source=str(grows), prompts=_box(90, 10, 400, 80)))


def test_only_such_videos_have_another_key(ask: Ask, grows: Path) -> None:
    """A result of an earlier version, with squeezed pictures or wrong times, is not taken for this
    one; those of all other videos are."""
    run = plan_run.fn(ask(source=str(grows), prompts=_box(10, 10, 60, 40)))
    record = RunFolder.from_ref(run).record()
    before = json.loads(record.model_dump_json()) | {"source_reading": None}

    assert record.result_key == run.key
    assert RunRecord.model_validate(before).result_key != record.result_key
    plain = plan_run.fn(ask())
    assert RunFolder.from_ref(plain).record().source_reading is None
