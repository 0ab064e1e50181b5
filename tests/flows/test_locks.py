"""Two runs at once: of one request, and on one device."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.result.manifest import MANIFEST
from tests.servers.forked_commands import WarmCommand, WarmCommands

LIMIT_S = 120.0


def _wait_until(said: Callable[[], bool], *commands: WarmCommand) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not said():
        assert all(command.poll() is None for command in commands), [c.err for c in commands]
        assert time.monotonic() < deadline, [c.err for c in commands]
        time.sleep(0.01)


@pytest.fixture
def args(clip: Path, prompts_file: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """A command line that tracks 40 frames in two chunks to a folder."""
    return lambda name: [
        *("track", str(clip), "--prompts", str(prompts_file), "-o", str(tmp_path / name)),
        *("--model", "nano", "--image-size", "64", "--device", "cpu", "--no-report"),
        *("--stop", "40", "--chunk-frames", "25", "--overlap", "2"),
    ]


@pytest.mark.parametrize("plan", [[], ["--chunk-frames", "30"]], ids=["as it is", "cut elsewhere"])
def test_two_runs_of_one_request(
    warm: WarmCommands, args: Callable[[str], list[str]], plan: list[str], tmp_path: Path
) -> None:
    """One works; the other says that it waits, and then has the result without tracking, however
    it would have cut the video."""
    chunk = f"{tmp_path}/out/.longtake/runs/*/chunks/00000/.masks.parquet.*"
    worked = warm.start(args("out"), halt=chunk)
    worked.wait_for_halt()  # does not end before the other one has come
    waited = warm.start([*args("out"), *plan])
    said = "longtake: warning: another process is at this run: waiting"
    _wait_until(lambda: said in waited.err, waited)

    worked.kill(signal.SIGCONT)

    assert [command.wait() for command in (worked, waited)] == [0, 0], (worked.err, waited.err)
    assert "nothing to do" in waited.out
    assert "nothing to do" not in worked.out
    assert said not in worked.err
    assert len(list(tmp_path.glob("out/.longtake/runs/*/chunks/*/done.json"))) == 2


def test_one_run_on_a_device_at_a_time(
    warm: WarmCommands, args: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """Where a device has one place, the second run says that it waits and tracks nothing; when the
    first one is killed, the place is free at once, and it goes on."""
    places = {"LONGTAKE_RUNS_PER_DEVICE": "1"}
    chunk = f"{tmp_path}/first/.longtake/runs/*/chunks/00000/.masks.parquet.*"
    first = warm.start(args("first"), halt=chunk, **places)
    first.wait_for_halt()  # holds the place, and does not end meanwhile
    second = warm.start(args("second"), **places)
    _wait_until(lambda: "another run uses cpu: waiting" in second.err, second)
    assert not list((tmp_path / "second").glob(".longtake/runs/*/chunks/*"))

    first.kill(signal.SIGKILL)

    assert second.wait() == 0, second.err
    assert (tmp_path / "second" / MANIFEST).exists()
    assert not (tmp_path / "first" / MANIFEST).exists()
