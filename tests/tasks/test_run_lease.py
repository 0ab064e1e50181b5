"""One machine at a time at a run whose result goes to a bucket."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tasks import run_lease
from tasks.locations import S3Location
from tasks.records import RunRef
from tasks.run_lease import LeaseLostError, leased
from tasks.storage import ObjectStore
from tests.servers.faults import UNAVAILABLE, FaultProxy

KEY = "0" * 32


@pytest.fixture
def run(bucket: str) -> RunRef:
    """A run whose result goes to a bucket."""
    return RunRef(folder="/nowhere", destination=f"s3://{bucket}/out", key=KEY, video="a.mp4")


@pytest.fixture
def place(bucket: str) -> S3Location:
    """Where its lease is."""
    return S3Location(bucket, f"out/.longtake/runs/{KEY}/lease.json")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats in tenths of a second."""
    monkeypatch.setattr(run_lease, "BEAT_S", 0.1)
    monkeypatch.setattr(run_lease, "EXPIRES_S", 1.5)
    monkeypatch.setattr(run_lease, "_POLL_S", 0.1)


@pytest.fixture
def elsewhere(place: S3Location) -> Callable[..., None]:
    """Put a beat there as another machine does."""

    def put(**changes: object) -> None:
        beat = {"machine": "gpu-7/boot", "pid": 1, "process_began": 1.0, "holder": "b", "number": 0}
        beat |= changes
        ObjectStore().put_bytes(place, json.dumps(beat).encode())

    return put


@pytest.fixture
def others_beats(elsewhere: Callable[..., None]) -> Iterator[threading.Event]:
    """Another machine that holds the lease until the event is set, and then dies."""
    died = threading.Event()
    elsewhere()

    def beat() -> None:
        number = 0
        while not died.wait(0.1):
            number += 1
            elsewhere(number=number)

    thread = threading.Thread(target=beat)
    thread.start()
    yield died
    died.set()
    thread.join()


def _not_told(name: str) -> None:
    pytest.fail(f"it waited for {name}")


def test_it_leaves_nothing(run: RunRef, place: S3Location) -> None:
    """Held within the block, with new beats all the time; nothing is left of it afterwards."""
    store = ObjectStore()
    with leased(run, on_wait=_not_told) as check:
        first = store.head(place)
        time.sleep(0.6)
        later = store.head(place)
        check()
    assert first is not None
    assert later is not None
    assert first.etag != later.etag
    assert store.head(place) is None


def test_another_machine_is_waited_for(run: RunRef, others_beats: threading.Event) -> None:
    """As long as it beats, however long that takes; who it is is told once. When its beats end, the
    run is taken over."""
    told: list[str] = []
    threading.Timer(2.5, others_beats.set).start()
    started = time.monotonic()

    with leased(run, on_wait=told.append) as check:
        took = time.monotonic() - started
        time.sleep(0.5)
        check()

    assert told == ["gpu-7"]
    assert took > 2.5 + 1.0


def test_a_dead_process_of_this_machine_is_not_waited_for(run: RunRef, place: S3Location) -> None:
    """Nor is one with the number of a process that began later."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    machine = run_lease._machine()
    for pid, began in ((dead.pid, 1.0), (1, 1.0)):
        beat = {"machine": machine, "pid": pid, "process_began": began}
        beat |= {"holder": "b", "number": 0}
        ObjectStore().put_bytes(place, json.dumps(beat).encode())
        with leased(run, on_wait=_not_told):
            pass


def test_nonsense_is_nobodys(run: RunRef, place: S3Location) -> None:
    """What is no lease does not keep anybody from work."""
    ObjectStore().put_bytes(place, b"{}")
    with leased(run, on_wait=_not_told) as check:
        check()


def test_who_was_taken_for_dead_stops(
    run: RunRef, place: S3Location, elsewhere: Callable[..., None]
) -> None:
    """A machine whose run another one has taken over is told, and leaves that one's lease alone."""
    with leased(run, on_wait=_not_told) as check:
        for number in range(5):  # one may fall between this one's look and its own beat
            elsewhere(number=number)
            time.sleep(0.25)
        with pytest.raises(LeaseLostError, match="another machine has gone on"):
            check()
    assert b"gpu-7" in ObjectStore().get_bytes(place, limit=4096)


def test_a_beat_whose_answer_was_lost_is_ones_own(run: RunRef, place: S3Location) -> None:
    """The store has a beat that this machine does not know of, though it wrote it: it goes on."""
    store = ObjectStore()
    with leased(run, on_wait=_not_told) as check:
        beat = json.loads(store.get_bytes(place, limit=4096))
        store.put_bytes(place, json.dumps(beat | {"number": beat["number"] + 1000}).encode())
        time.sleep(0.6)
        check()
        assert json.loads(store.get_bytes(place, limit=4096))["number"] < 1000
    assert store.head(place) is None


def test_a_store_that_is_away_for_a_while_ends_no_wait(
    run: RunRef, others_beats: threading.Event, faults: FaultProxy
) -> None:
    """Who waits goes on waiting; and does not take a holder for dead whose beats it could not
    see."""
    others_beats.set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_lease, "EXPIRES_S", 0.5)
        faults.inject(*[UNAVAILABLE] * 12)
        with leased(run, on_wait=lambda _: None) as check:
            check()
    assert faults.num_faults == 12


def test_only_one_of_many_has_it(run: RunRef) -> None:
    """Many at once: one after the other is in the block, and never two."""
    inside, most, entered = 0, 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most, entered
        with leased(run, on_wait=lambda _: None):
            with lock:
                inside += 1
                entered += 1
                most = max(most, inside)
            time.sleep(0.1)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, entered) == (1, 5)


def test_a_folder_needs_none(run: RunRef, tmp_path: object) -> None:
    """There the lock on the run's folder does."""
    with leased(run.model_copy(update={"destination": str(tmp_path)}), on_wait=_not_told) as check:
        check()
