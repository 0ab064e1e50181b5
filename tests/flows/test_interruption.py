"""Nothing is lost, and nothing done twice, whenever the process ends."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tasks.manifest import MANIFEST, MASKS, SEAMS

START_LIMIT_S = 120


def _command(
    api: str, args: Sequence[str], *, max_file_bytes: int | None = None
) -> subprocess.Popen[str]:
    def limit() -> None:
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if max_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *args],
        env={**os.environ, "PREFECT_API_URL": api},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=limit,
    )


def _wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not found():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it came to nothing: {process.communicate()}")
        time.sleep(0.005)


def _without_progress(err: str) -> list[str]:
    """What a command said, but for the lines that only say how far it is."""
    progress = ("clip.mp4: frame", "scanning the video", "starting Prefect")
    return [line for line in err.splitlines() if not line.startswith(progress)]


@pytest.fixture
def track_args(clip: Path, prompts_file: Path) -> Callable[[Path], list[str]]:
    """A command line that tracks 40 frames in five chunks to a folder."""
    return lambda destination: [
        *("track", str(clip), "--prompts", str(prompts_file), "-o", str(destination)),
        *("--model", "nano", "--device", "cpu"),
        *("--stop", "40", "--chunk-frames", "10", "--overlap", "2"),
    ]


def test_killed_run_goes_on_at_its_chunk(
    prefect_api: str, track_args: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """SIGKILL in the middle of chunk 2: the next run leaves chunks 0 and 1 alone, tracks the rest,
    and publishes the very bytes of a run that nobody disturbed. A third run tracks nothing."""
    destination = tmp_path / "killed"
    process = _command(prefect_api, track_args(destination))
    try:
        _wait_for(
            lambda: list(destination.glob(".longtake/runs/*/chunks/00002/.masks.parquet.*.tmp")),
            process,
        )
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    (run,) = destination.glob(".longtake/runs/*")
    done = sorted(run.glob("chunks/*/done.json"))
    assert [path.parent.name for path in done] == ["00000", "00001"]
    before = [path.stat().st_mtime_ns for path in done]
    assert not (destination / MANIFEST).exists()

    process = _command(prefect_api, track_args(destination))
    out, err = process.communicate(timeout=START_LIMIT_S)
    assert process.returncode == 0, err
    assert "frame 1 of 40" not in err
    assert [path.stat().st_mtime_ns for path in done] == before
    assert not list(run.rglob("*.tmp"))

    calm = tmp_path / "calm"
    process = _command(prefect_api, track_args(calm))
    out, err = process.communicate(timeout=START_LIMIT_S)
    assert process.returncode == 0, err
    for name in (MASKS, SEAMS):
        assert (destination / name).read_bytes() == (calm / name).read_bytes()

    published = (calm / MANIFEST).stat().st_mtime_ns
    process = _command("http://127.0.0.1:9/api", track_args(calm))  # no server, and none needed
    out, err = process.communicate(timeout=START_LIMIT_S)
    assert process.returncode == 0, err
    assert "nothing to do" in out
    assert (calm / MANIFEST).stat().st_mtime_ns == published


def test_ctrl_c_is_one_line(
    prefect_api: str, track_args: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """SIGINT while frames are tracked: exit code 130, one line, nothing half published."""
    process = _command(prefect_api, track_args(tmp_path))
    _wait_for(lambda: list(tmp_path.glob(".longtake/runs/*/chunks/00001/.masks*")), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert _without_progress(err) == ["longtake: stopped; the same command goes on from here"]
    assert not out
    assert not (tmp_path / MANIFEST).exists()
    assert not list(tmp_path.rglob(".masks*"))


def test_full_disk_is_one_line(
    prefect_api: str, track_args: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """When a file can grow no more in the middle of a run: exit code 2, one line that names the
    file, no retry; and with room again the run goes on."""
    process = _command(prefect_api, track_args(tmp_path), max_file_bytes=12_000)
    _, err = process.communicate(timeout=START_LIMIT_S)
    assert process.returncode == 2, err
    (line,) = _without_progress(err)
    assert line.startswith(f"longtake: cannot write {tmp_path}")
    assert "full" in line
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / MANIFEST).exists()

    process = _command(prefect_api, track_args(tmp_path))
    _, err = process.communicate(timeout=START_LIMIT_S)
    assert process.returncode == 0, err
    assert (tmp_path / MANIFEST).exists()
