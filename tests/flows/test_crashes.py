"""Nothing is lost, and nothing done twice, wherever in a run its process is killed."""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samcore.result.manifest import MANIFEST, MASKS, SEAMS
from tests.servers.finished_chunks import Finished
from tests.servers.forked_commands import WarmCommands

KILLS = 20
SEED = 20_261_121


@pytest.fixture
def args(clip: Path, prompts: dict[str, Any], tmp_path: Path) -> Callable[[Path], list[str]]:
    """A command line that tracks two objects through 22 frames in five chunks to a folder."""
    objects = [{**item, "prompts": item["prompts"][:1]} for item in prompts["objects"]]
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"objects": objects}))
    return lambda destination: [
        *("track", str(clip), "--prompts", str(file), "-o", str(destination)),
        *("--model", "nano", "--image-size", "64", "--device", "cpu", "--no-report"),
        *("--stop", "22", "--chunk-frames", "6", "--overlap", "2"),
    ]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_twenty_moments(
    warm: WarmCommands, args: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """SIGKILL at twenty moments of a run and its re-runs: no finished chunk is tracked again, what
    is published is whole at any time, and its bytes are those of a run that nobody disturbed."""
    calm = tmp_path / "calm"
    command = warm.start(args(calm))
    whole_s = command.compute(float("inf"))
    assert command.wait() == 0, command.err
    wanted = {name: (calm / name).read_bytes() for name in (MASKS, SEAMS)}

    chance = random.Random(SEED)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        destination = tmp_path / f"run-{runs}"
        finished = Finished(destination)
        code: int | None = None
        while code != 0:
            command = warm.start(args(destination))
            if kills < KILLS:
                command.compute(chance.uniform(0.0, 0.8) * whole_s)
                time.sleep(chance.uniform(0.0, 0.05))
                command.kill(signal.SIGKILL)
            code = command.wait()
            assert code in (0, -signal.SIGKILL), command.err
            kills += code != 0
            finished.look()
            if (destination / MANIFEST).exists():
                for name, content in wanted.items():
                    assert (destination / name).read_bytes() == content
        assert len(finished) == 5
        assert not list(destination.rglob("*.tmp"))
    assert runs < KILLS
