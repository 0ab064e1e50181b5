"""The command as a newcomer runs it: no environment, no server, an empty home."""

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import psutil
import pytest

from samcore.video import open_video

CPU_SECONDS = 120
"""Two cores for the minute that `longtake demo --help` promises. How long one waits depends on
what else the machine does; this does not."""


def _cpu_of_children() -> float:
    """CPU seconds of all processes that were waited for, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _two_cores() -> Iterator[None]:
    """What is started in the block has two cores, where the system can be told so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.slow
def test_demo_on_a_bare_machine(tmp_path: Path) -> None:
    """The demo makes, tracks and shows its video within a minute's work of two cores, and leaves
    no process behind where the server is not to wait for the next command."""
    home, out = tmp_path / "home", tmp_path / "demo"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LONGTAKE_SERVER_LINGER_S": "0",
    }
    before = _cpu_of_children()

    with _two_cores():
        ended = subprocess.run(
            [sys.executable, "-m", "flows.cli", "demo", "-o", str(out)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    assert ended.returncode == 0, ended.stderr
    assert 1 < _cpu_of_children() - before < CPU_SECONDS
    assert "masks of 2 objects on 96 frames" in ended.stdout
    assert "identical to the last bit" in ended.stdout
    # Progress, and nothing of Prefect's.
    progress = re.compile(
        r"scene\.mp4: frame |scanning the video|starting Prefect|"
        r"[a-z, ]+: \d+ of \d+ (?:steps|frames)$"
    )
    assert [line for line in ended.stderr.splitlines() if not progress.match(line)] == []
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seams_identical"] is True
    assert len(manifest["chunks"]) == 4
    assert open_video(out / "overlay.mp4").info.num_frames == 96
    assert cv2.imread(str(out / "frames.png")).shape == (480, 640, 3)
    # Quality, printed and real: both shapes are followed, the one that leaves is found again.
    js = [float(j) for j in re.findall(r"mean J ([\d.]+)", ended.stdout)]
    assert len(js) == 2
    assert min(js) > 0.75
    assert re.search(r"absent on 28, and said so on 2\d", ended.stdout)
    servers = [
        process.info["pid"]
        for process in psutil.process_iter(["pid", "cmdline"])
        if str(home) in " ".join(process.info["cmdline"] or ())
    ]
    assert not servers
