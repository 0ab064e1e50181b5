"""Nothing is lost, and nothing done twice, whenever the process ends."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.result.manifest import MANIFEST, MASKS, SEAMS
from tests.servers.forked_commands import WarmCommands

START_LIMIT_S = 120


def _without_progress(err: str) -> list[str]:
    """What a command said, but for the lines that only say how far it is."""
    progress = ("clip.mp4: frame", "scanning the video", "starting Prefect")
    return [line for line in err.splitlines() if not line.startswith(progress)]


@pytest.fixture
def track_args(clip: Path, prompts_file: Path) -> Callable[[Path], list[str]]:
    """A command line that tracks 40 frames in five chunks to a folder."""
    return lambda destination: [
        *("track", str(clip), "--prompts", str(prompts_file), "-o", str(destination)),
        *("--model", "nano", "--image-size", "64", "--device", "cpu", "--no-report"),
        *("--stop", "40", "--chunk-frames", "10", "--overlap", "2"),
    ]


def test_killed_run_goes_on_at_its_chunk(
    warm: WarmCommands, track_args: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """SIGKILL in the middle of chunk 2: the next run leaves chunks 0 and 1 alone, tracks the rest,
    and publishes the very bytes of a run that nobody disturbed. A third run tracks nothing, and
    needs no server."""
    destination = tmp_path / "killed"
    chunk = f"{destination}/.longtake/runs/*/chunks/00002/.masks.parquet.*.tmp"
    command = warm.start(track_args(destination), halt=chunk)
    command.wait_for_halt()
    command.kill(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    (run,) = destination.glob(".longtake/runs/*")
    done = sorted(run.glob("chunks/*/done.json"))
    assert [path.parent.name for path in done] == ["00000", "00001"]
    before = [path.stat().st_mtime_ns for path in done]
    assert not (destination / MANIFEST).exists()

    command = warm.start(track_args(destination))
    assert command.wait() == 0, command.err
    assert "frame 1 of 40" not in command.err
    assert [path.stat().st_mtime_ns for path in done] == before
    assert not list(run.rglob("*.tmp"))

    calm = tmp_path / "calm"
    command = warm.start(track_args(calm))
    assert command.wait() == 0, command.err
    for name in (MASKS, SEAMS):
        assert (destination / name).read_bytes() == (calm / name).read_bytes()

    published = (calm / MANIFEST).stat().st_mtime_ns
    process = subprocess.run(
        [sys.executable, "-m", "flows.cli", *track_args(calm)],
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
    )
    assert process.returncode == 0, process.stderr
    assert "nothing to do" in process.stdout
    assert (calm / MANIFEST).stat().st_mtime_ns == published


def test_ctrl_c_is_one_line(
    warm: WarmCommands, track_args: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """SIGINT while frames are tracked: exit code 130, one line, nothing half published."""
    chunk = f"{tmp_path}/.longtake/runs/*/chunks/00001/.masks*"
    command = warm.start(track_args(tmp_path), halt=chunk)
    command.wait_for_halt()
    command.kill(signal.SIGINT)
    command.kill(signal.SIGCONT)

    assert command.wait() == 130, command.err
    said = _without_progress(command.err)
    assert said == ["longtake: stopped; the same command goes on from here"]
    assert not command.out
    assert not (tmp_path / MANIFEST).exists()
    assert not list(tmp_path.rglob(".masks*"))


def test_full_disk_is_one_line(
    warm: WarmCommands, track_args: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """When a file can grow no more in the middle of a run: exit code 2, one line that names the
    file, no retry; and with room again the run goes on."""
    command = warm.start(track_args(tmp_path))
    resource.prlimit(command.pid, resource.RLIMIT_FSIZE, (12_000, 12_000))
    assert command.wait() == 2, command.err
    (line,) = _without_progress(command.err)
    assert line.startswith(f"longtake: cannot write {tmp_path}")
    assert "full" in line
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / MANIFEST).exists()

    command = warm.start(track_args(tmp_path))
    assert command.wait() == 0, command.err
    assert (tmp_path / MANIFEST).exists()
