"""A command that is told to stop saves where it is, and says so in one line."""

import contextlib
import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from samcore.result.manifest import MANIFEST, MASKS, SEAMS
from samcore.run.partial_chunk import PartialRecord
from tests.servers.forked_commands import WarmCommand, WarmCommands

LIMIT_S = 120.0
GRACE_S = 20.0
"""Less than anybody gives: 30 s on Kubernetes and from a Prefect worker, 120 s before an instance
of the spot market goes."""
STOPPED = "longtake: stopped; the same command goes on from here"


@pytest.fixture
def args(clip: Path, prompts_file: Path) -> Callable[[Path], list[str]]:
    """A command line that tracks 60 frames in two chunks to a folder."""
    return lambda destination: [
        *("track", str(clip), "--prompts", str(prompts_file), "-o", str(destination)),
        *("--model", "nano", "--image-size", "64", "--device", "cpu", "--no-report"),
        *("--stop", "60", "--chunk-frames", "40", "--overlap", "4"),
    ]


def _wait_for_chunk(destination: Path, command: WarmCommand) -> bool:
    """Wait until a chunk is being tracked; False if the command ends before."""
    deadline = time.monotonic() + LIMIT_S
    while not list(destination.glob(".longtake/runs/*/chunks/*/.masks.parquet.*")):
        if command.poll() is not None:
            return False
        assert time.monotonic() < deadline, command.err
        time.sleep(0.005)
    return True


def test_stopped_again_and_again(
    warm: WarmCommands, args: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """Five stops at moments of tracking, by SIGTERM and by Ctrl-C: each is one line, has its exit
    code and leaves no child, each run goes on at the frame where the one before was stopped, and
    the result has the very bytes of a run that nobody disturbed."""
    calm, destination = tmp_path / "calm", tmp_path / "stopped"
    command = warm.start(args(calm))
    assert command.wait() == 0, command.err

    chance = random.Random(7)
    reached: list[tuple[str, int]] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        command = warm.start(args(destination))
        if not _wait_for_chunk(destination, command):
            break
        command.compute(chance.uniform(0.0, 0.5))
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
            children = psutil.Process(command.pid).children()
        command.kill(number)
        told = time.time()
        code = command.wait()
        if code == 0:
            break
        assert code == (143 if number == signal.SIGTERM else 130), command.err
        assert command.err.splitlines()[-1] == STOPPED
        assert "Traceback" not in command.err
        assert not any(child.is_running() for child in children)
        assert not (destination / MANIFEST).exists()
        assert not list(destination.rglob("*.tmp"))
        for path in destination.glob(".longtake/runs/*/chunks/*/partial.json"):
            assert path.stat().st_mtime < told + GRACE_S
            record = PartialRecord.model_validate(json.loads(path.read_bytes())["record"])
            reached.append((path.parent.name, record.next_frame))
    assert reached == sorted(reached)
    assert len(set(reached)) >= 3, reached

    command = warm.start(args(destination))
    assert command.wait() == 0, command.err
    for name in (MASKS, SEAMS):
        assert (destination / name).read_bytes() == (calm / name).read_bytes()
    assert not list(destination.rglob("partial.*"))
