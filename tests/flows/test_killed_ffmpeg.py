"""A run whose ffmpegs are killed comes to the same end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.commands.run_local import _plan
from flows.segment_video import segment_video
from samcore.masks.table import table_digest
from samcore.video.decoder import find_ffmpeg
from tasks.request.segment_request import SegmentRequest
from tasks.settings import load_settings

_DIES_AT_FIRST = """#!/bin/bash
# The real one gives some frames; then this one dies as if it had been killed.
for kind in format=gray format=rgb24; do
  if [[ "$*" == *"$kind"* ]] && mkdir '{marks}/'"$kind-{tries}" 2>/dev/null; then
    '{ffmpeg}' "${{@:1:$#-1}}" -frames:v 7 pipe:1
    kill -9 $$
  fi
done
exec '{ffmpeg}' "$@"
"""


@pytest.mark.usefixtures("prefect_api")
def test_killed_ffmpegs_are_tried_again(
    ask: Callable[..., SegmentRequest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ffmpeg that scans dies in the command's check, then in the flow, then the one that reads
    for the prompts: the run ends with what an undisturbed one publishes."""
    prompts = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]}
    asked = {"prompts": prompts, "stop": 16, "chunk_frames": 10, "image_size": 64}
    undisturbed = segment_video(ask(**asked, destination=str(tmp_path / "calm")))
    request = ask(
        **asked,
        destination=str(tmp_path / "killed"),
        work_dir=str(tmp_path / "other"),
    )
    folder = tmp_path / "bin"
    folder.mkdir()
    real = find_ffmpeg().path
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    for tries in ("check", "flow"):
        script = _DIES_AT_FIRST.format(marks=tmp_path, ffmpeg=real, tries=tries)
        (folder / "ffmpeg").write_text(script)
        (folder / "ffmpeg").chmod(0o755)
        if tries == "check":
            assert _plan(request, load_settings(), None, lambda: None) == (None, None)
        else:
            killed = segment_video(request)

    assert (tmp_path / "format=gray-check").exists()
    assert (tmp_path / "format=gray-flow").exists()
    assert (tmp_path / "format=rgb24-flow").exists()
    tables = [Path(result.destination) / "masks.parquet" for result in (undisturbed, killed)]
    assert table_digest(tables[0]) == table_digest(tables[1])
