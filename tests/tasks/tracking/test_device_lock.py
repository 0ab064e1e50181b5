"""A device has so many places, and no more runs."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from samcore.errors import InputError
from tasks.tracking.device_lock import using_device


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where places are, in a cache of this test's own."""
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path))
    return tmp_path / "locks"


@contextlib.contextmanager
def _in_a_thread() -> Iterator[threading.Event]:
    """Take a place elsewhere; the event is set once it is taken, and frees it when cleared."""
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with using_device("cpu"):
            taken.set()
            free.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield taken
    finally:
        free.set()
        thread.join()


@pytest.mark.parametrize("places", [1, 2])
def test_a_full_device_is_waited_for(
    locks: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, places: int
) -> None:
    """As many runs as a device has places go on; one more waits, says so once, and goes on when a
    place is free."""
    monkeypatch.setenv("LONGTAKE_RUNS_PER_DEVICE", str(places))
    with contextlib.ExitStack() as others:
        for _ in range(places):
            assert others.enter_context(_in_a_thread()).wait(60)
        assert not caplog.records
        with _in_a_thread() as taken:
            assert not taken.wait(0.6)
            others.close()
            assert taken.wait(60)
    assert [record.getMessage() for record in caplog.records] == [
        "another run uses cpu: waiting",
    ]
    assert len(list(locks.iterdir())) == places


def test_a_wait_ends_when_the_place_is_not_wanted_any_more(
    locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says so gets none, also before he waits."""
    monkeypatch.setenv("LONGTAKE_RUNS_PER_DEVICE", "1")
    unless = threading.Event()
    with using_device("cpu", unless=unless) as has_place:
        assert has_place
        threading.Timer(0.3, unless.set).start()
        with using_device("cpu", unless=unless) as has_place:
            assert not has_place


@pytest.mark.parametrize("places", ["", "0"])
def test_a_cpu_has_places_for_all(
    locks: Path, monkeypatch: pytest.MonkeyPatch, places: str
) -> None:
    """Runs on a CPU do not wait for each other, unless they are told to."""
    monkeypatch.setenv("LONGTAKE_RUNS_PER_DEVICE", places)
    with using_device("cpu"), using_device("cpu"):
        assert not locks.exists()


@pytest.mark.parametrize("text", ["one", "-1", "1.5"])
def test_a_number_of_places_is_checked(
    locks: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """What is not a whole number is an error that names the variable and what it holds."""
    monkeypatch.setenv("LONGTAKE_RUNS_PER_DEVICE", text)
    with pytest.raises(InputError, match=f"LONGTAKE_RUNS_PER_DEVICE .* got '{text}'"):
        using_device("cpu").__enter__()


def test_waiting_can_be_ended(locks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal ends the wait at once, and the place stays with its holder."""
    monkeypatch.setenv("LONGTAKE_RUNS_PER_DEVICE", "1")

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, end)
    try:
        with _in_a_thread() as taken:
            assert taken.wait(60)
            started = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                using_device("cpu").__enter__()
            assert time.monotonic() - started < 30
    finally:
        signal.signal(signal.SIGALRM, before)
    with using_device("cpu"):  # free again
        pass
