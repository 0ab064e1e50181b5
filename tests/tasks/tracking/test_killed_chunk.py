"""A chunk whose process was killed is tracked again, one rung down the ladder."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.masks.table import table_digest
from samcore.run.attempts import lost_seconds
from samcore.run.folder import RunFolder
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.track_chunk import track_chunk


def test_a_chunk_killed_on_its_way_is_tracked_with_empty_caches(
    ask: Callable[..., SegmentRequest], prompts: dict[str, object], tmp_path: Path
) -> None:
    """SIGKILL in the middle of a chunk: the next attempt is the second one, says so in done.json,
    begins one rung down, and its masks are those of a run that nobody killed. What the first one
    took, up to its last sign of life, is counted as lost; made anew, so is the second one."""
    box = prompts["objects"][0]["prompts"][0]["box"]
    one = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]}
    request = ask(prompts=one, stop=14, chunk_frames=14, overlap=0, image_size=64)
    run = plan_run.fn(request)
    encode_prompts.fn(run)
    code = (
        "import os, signal, sys\n"
        "from samcore.masks.table import MaskWriter\n"
        "from tasks.run.refs import RunRef\n"
        "from tasks.track_chunk import track_chunk\n"
        "write = MaskWriter.write\n"
        "def until_killed(self, output, pts):\n"
        "    write(self, output, pts)\n"
        "    if output.frame_idx == 7:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "MaskWriter.write = until_killed\n"
        "track_chunk.fn(RunRef.model_validate_json(sys.argv[1]), 0)\n"
    )
    started = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code, run.model_dump_json()], check=False)
    lasted = time.monotonic() - started
    assert ended.returncode == -signal.SIGKILL
    mark = json.loads(RunFolder.from_ref(run).attempt_path(0).read_text())["record"]
    assert mark["host"] == platform.node()
    assert mark["pid"] != os.getpid()

    track_chunk.fn(run, 0)
    done = RunFolder.from_ref(run).finished_chunk(0)
    assert done.attempts == 2
    (step,) = done.degradations
    assert step == (
        f"frame 0: freed caches and tried again (attempt 1, process {mark['pid']} on "
        f"{mark['host']}, did not end: it was killed)"
    )
    calm = plan_run.fn(request.model_copy(update={"destination": str(tmp_path / "calm")}))
    encode_prompts.fn(calm)
    track_chunk.fn(calm, 0)
    digests = [table_digest(RunFolder.from_ref(r).masks_path(0)) for r in (run, calm)]
    assert digests[0] == digests[1]

    folder = RunFolder.from_ref(run)
    assert 0 < done.lost_seconds < lasted
    assert RunFolder.from_ref(calm).finished_chunk(0).lost_seconds == 0
    folder.discard_chunk(0)
    lost = lost_seconds(folder.attempt_path(0))
    assert lost == pytest.approx(done.lost_seconds + done.seconds, abs=0.01)
