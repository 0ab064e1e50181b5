"""The ladder's order, and what an attempt that was killed tells the next one."""

import itertools
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import samcore.run.attempts
from samcore.disk.sealed import seal_record
from samcore.machine.rung import Rung
from samcore.models.registry import resolve_model
from samcore.run.attempts import attempting
from samcore.run.oom_ladder import OomLadder, describe_step, ladder_rungs


def _steps(base: Rung, **options: object) -> list[str]:
    model = resolve_model(
        "nano", cache_dir=Path(tempfile.gettempdir()) / "longtake-test", image_size=256
    )
    rungs = ladder_rungs(base, model, **options)
    assert rungs[0] == base
    return [describe_step(*pair) for pair in itertools.pairwise(rungs)]


def test_ladder_gives_up_in_this_order() -> None:
    """Caches, the encoder's batch, the objects' batch from their number on, the bank; and a
    smaller input only with permission, in sizes that the network takes."""
    base = Rung(encode_batch=8, object_batch=64, image_size=256)
    options = {"num_objects": 5, "device": "cuda:0"}
    steps = [
        "freed caches and tried again",
        "encode batch 8 -> 4",
        "encode batch 4 -> 2",
        "encode batch 2 -> 1",
        "object batch 64 -> 2",
        "object batch 2 -> 1",
        "memory bank moved to the CPU",
    ]

    assert _steps(base, **options, allow_quality_loss=False) == steps
    assert _steps(base, **options, allow_quality_loss=True) == [
        *steps,
        "image size 256 -> 192, masks are coarser from here",
        "image size 192 -> 128, masks are coarser from here",
        "image size 128 -> 96, masks are coarser from here",
        "image size 96 -> 64, masks are coarser from here",
    ]


def test_a_detector_does_less_with_the_encoder() -> None:
    """What detectors do at once is halved beside the encoder's batch, and on its own where that is
    one already."""
    base = Rung(encode_batch=2, object_batch=1, detect_batch=8, image_size=256)
    steps = _steps(base, num_objects=5, device="cpu", allow_quality_loss=False)
    assert steps == [
        "freed caches and tried again",
        "encode batch 2 -> 1, detect batch 8 -> 4",
        "detect batch 4 -> 2",
        "detect batch 2 -> 1",
    ]


def test_a_cpu_has_no_bank_to_move() -> None:
    """Where all memory is main memory, that rung is not there."""
    base = Rung(encode_batch=1, object_batch=1, image_size=256)

    steps = _steps(base, num_objects=3, device="cpu", allow_quality_loss=False)
    assert steps == ["freed caches and tried again"]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "attempt.json"


def _killed_attempt(mark: Path, *, rung: int) -> None:
    """Leave a mark as a process does that is killed by SIGKILL."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from samcore.run.attempts import attempting\n"
        "with attempting(Path(sys.argv[1]), last_rung=9) as attempt:\n"
        "    attempt.mark(int(sys.argv[2]))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(mark), str(rung)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert mark.exists()


def test_an_attempt_that_ends_leaves_no_mark(mark: Path) -> None:
    """Neither a clean end nor an exception is a kill."""
    with attempting(mark, last_rung=5) as attempt:
        assert mark.exists()
    with pytest.raises(KeyError), attempting(mark, last_rung=5):
        raise KeyError
    assert not mark.exists()
    assert (attempt.number, attempt.rung, attempt.found) == (1, 0, None)


def test_a_kill_leads_one_rung_down_and_an_operators_no_further(mark: Path) -> None:
    """After a kill -9 the next attempt begins on the first rung, where nothing changes but caches;
    so it does however often, as the kernel killed nobody for want of memory meanwhile."""
    if samcore.run.attempts._oom_kills() is None:
        pytest.skip("this kernel does not count the processes that it kills")
    for number in (2, 3):
        _killed_attempt(mark, rung=number - 2)
        with attempting(mark, last_rung=5) as attempt:
            assert attempt.rung == 1
            assert attempt.number == 2
            assert "was killed" in (attempt.found or "")


@pytest.mark.parametrize(
    "change",
    [{"oom_kills": -1}, {"oom_kills": None}, {"boot_id": "another"}, {"boot_id": None}],
    ids=["the kernel killed somebody", "no count", "another boot", "no boot id"],
)
def test_a_kill_that_may_be_for_memory_leads_further_down(mark: Path, change: dict) -> None:
    """Where it cannot be ruled out that memory was the reason, each kill leads one rung down, as
    far as there are rungs."""
    _killed_attempt(mark, rung=3)
    sealed = json.loads(mark.read_text())
    mark.write_bytes(seal_record({**sealed["record"], **change}, of=sealed["of"]))
    for last, wanted in ((9, 4), (3, 3)):
        content = mark.read_text()
        with attempting(mark, last_rung=last) as attempt:
            assert attempt.rung == wanted
        mark.write_text(content)


def test_attempt_mark_that_is_half_written_is_none(mark: Path) -> None:
    """A damaged mark does not stop the work."""
    mark.write_text('{"number": 1, "ru')
    with attempting(mark, last_rung=5) as attempt:
        assert attempt.rung == 0


def test_only_want_of_memory_leads_down(tmp_path: Path) -> None:
    """Other errors go straight through the ladder, at once and unchanged."""
    rung = Rung(encode_batch=2, object_batch=1, image_size=64)
    model = resolve_model("nano", cache_dir=tmp_path)
    ladder = OomLadder(rung, model, num_objects=1, device="cpu", allow_quality_loss=False)
    tries = []

    def work() -> None:
        tries.append(1)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        ladder.run_until_it_fits(work, frame_idx=lambda: 0)
    assert len(tries) == 1
