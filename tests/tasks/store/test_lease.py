"""One machine at a time at a run whose result goes to a bucket."""

import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.errors import TransientStorageError
from samcore.run.folder import RunFolder
from tasks.run.refs import RunRef
from tasks.store import lease as run_lease
from tasks.store.lease import LeaseLostError, claimed, lease_key, leased
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.faults import UNAVAILABLE, FaultProxy

ROOT = Path(__file__).parents[3]
KEY = "0" * 32
LIMIT_S = 60.0


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
    """Beats in tenths of a second. What nobody takes over by silence lasts: a busy machine may be
    silent for long."""
    monkeypatch.setattr(run_lease, "BEAT_S", 0.1)
    monkeypatch.setattr(run_lease, "_POLL_S", 0.1)


@pytest.fixture
def elsewhere(place: S3Location) -> Callable[..., None]:
    """Put a beat there as another machine does."""
    store = ObjectStore()

    def put(**changes: object) -> None:
        beat = {"machine": "gpu-7", "lock": "boot/1/2", "holder": "b", "number": 0}
        beat |= changes
        store.put_bytes(place, json.dumps(beat).encode())

    return put


class _Clock:
    """The time of who waits: it passes in its pauses only, and another machine may act in them."""

    def __init__(self, on_pause: Callable[[float], None]) -> None:
        self._now = 0.0
        self._on_pause = on_pause

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        self._on_pause(self._now)


def _wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _not_told(name: str) -> None:
    pytest.fail(f"it waited for {name}")


def test_it_leaves_nothing(run: RunRef, place: S3Location) -> None:
    """Held within the block, with new beats all the time; nothing is left of it afterwards."""
    store = ObjectStore()
    with leased(run, on_wait=_not_told) as check:
        etags: set[str] = set()

        def has_beaten() -> bool:
            info = store.head(place)
            assert info is not None
            etags.add(info.etag)
            return len(etags) == 3

        _wait_until(has_beaten)
        check()
    assert store.head(place) is None


def test_another_machine_is_waited_for(
    run: RunRef, elsewhere: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it beats, however long that takes; who it is is told once. When its beats end, the
    run is taken over."""
    told: list[str] = []
    lived = 3 * run_lease.EXPIRES_S
    beat_every = run_lease.EXPIRES_S / 5

    def beat(now: float) -> None:
        if now <= lived:
            elsewhere(number=int(now // beat_every))

    clock = _Clock(beat)
    monkeypatch.setattr(run_lease, "time", clock)
    monkeypatch.setattr(run_lease, "_POLL_S", beat_every / 2)
    elsewhere()

    with leased(run, on_wait=told.append) as check:
        check()

    assert told == ["gpu-7"]
    expected = lived + run_lease.EXPIRES_S
    assert expected - beat_every <= clock.monotonic() <= expected + beat_every


_DIE = """
import os, sys
from samcore.errors import TransientStorageError
from samcore.run.folder import RunFolder
from tasks.run.refs import RunRef
from tasks.store.lease import leased
run = RunRef.model_validate_json(sys.argv[1])
with RunFolder.from_ref(run).lock(), leased(run, on_wait=print):
    os.kill(os.getpid(), 9)
"""


def test_a_dead_process_of_this_machine_is_not_waited_for(
    run: RunRef, place: S3Location, elsewhere: Callable[..., None], tmp_path: Path
) -> None:
    """Who can have the lock that the holder had knows that it is dead, also where its own run lies
    in another folder; any other lock proves nothing."""
    run = run.model_copy(update={"folder": str(tmp_path / "runs" / KEY)})
    ended = subprocess.run([sys.executable, "-c", _DIE, run.model_dump_json()], cwd=ROOT)
    assert ended.returncode == -9
    beat = json.loads(ObjectStore().get_bytes(place, limit=4096))
    other = run.model_copy(update={"folder": str(tmp_path / "elsewhere" / KEY)})
    with RunFolder.from_ref(other).lock(), leased(other, on_wait=_not_told):
        pass
    with RunFolder.from_ref(run).lock():
        elsewhere(lock=beat["lock"])
        with leased(run, on_wait=_not_told):
            pass
        for lock in (beat["lock"] + "0", "another-boot/" + beat["lock"].partition("/")[2], None):
            elsewhere(lock=lock)
            with pytest.raises(_ToldError), leased(run, on_wait=_raise):
                pass


class _ToldError(Exception):
    """It waits."""


def _raise(name: str) -> None:
    raise _ToldError(name)


def test_chunks_are_leased_each_for_itself(run: RunRef, bucket: str) -> None:
    """Two machines may work at two chunks of a run at once, and not at the same one; the lease of
    the whole run is another one."""
    with leased(run, chunk=0, on_wait=_not_told) as first:
        with leased(run, chunk=1, on_wait=_not_told) as second, leased(run, on_wait=_not_told):
            found = ObjectStore().list(S3Location(bucket, "out/.longtake"))
            assert [info.location.key.removeprefix("out/") for info in found] == [
                lease_key(KEY, 0),
                lease_key(KEY, 1),
                lease_key(KEY),
            ]
            with pytest.raises(_ToldError), leased(run, chunk=1, on_wait=_raise):
                pass
            first()
            second()
        with leased(run, chunk=1, on_wait=_not_told):
            pass
    assert not list(ObjectStore().list(S3Location(bucket, "out/.longtake")))


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
        numbers = itertools.count()

        def is_told() -> bool:
            elsewhere(number=next(numbers))  # one may fall between this one's look and its own beat
            with contextlib.suppress(LeaseLostError):
                check()
                return False
            return True

        _wait_until(is_told)
        with pytest.raises(LeaseLostError, match="another machine has gone on"):
            check()
    assert b"gpu-7" in ObjectStore().get_bytes(place, limit=4096)


def test_a_beat_whose_answer_was_lost_is_ones_own(run: RunRef, place: S3Location) -> None:
    """The store has a beat that this machine does not know of, though it wrote it: it goes on."""
    store = ObjectStore()
    with leased(run, on_wait=_not_told) as check:
        beat = json.loads(store.get_bytes(place, limit=4096))
        store.put_bytes(place, json.dumps(beat | {"number": beat["number"] + 1000}).encode())
        _wait_until(lambda: json.loads(store.get_bytes(place, limit=4096))["number"] < 1000)
        check()
    assert store.head(place) is None


def test_a_store_that_is_away_for_a_while_ends_no_wait(
    run: RunRef,
    elsewhere: Callable[..., None],
    faults: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who waits goes on waiting; and does not take a holder for dead whose beats it could not
    see."""
    elsewhere()
    clock = _Clock(lambda _: None)
    monkeypatch.setattr(run_lease, "time", clock)
    monkeypatch.setattr(run_lease, "_POLL_S", run_lease.EXPIRES_S / 2)
    faults.inject(*[UNAVAILABLE] * 12)  # three tries a request

    with leased(run, on_wait=lambda _: None) as check:
        check()

    assert faults.num_faults == 12
    away = 4 * run_lease._POLL_S
    assert clock.monotonic() >= away - run_lease._POLL_S + run_lease.EXPIRES_S


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


@pytest.fixture
def claim(bucket: str) -> Callable[[str], contextlib.AbstractContextManager[Callable[[], None]]]:
    """Claim the destination for the run with a key."""
    return lambda key: claimed(ObjectStore(), S3Location(bucket, "out"), key)


def test_a_claim_is_free_when_its_publisher_dies(
    claim: Callable[[str], contextlib.AbstractContextManager[Callable[[], None]]],
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another run is told that one is at it, until that one's beats have ended for long. No clock
    but that of who asks counts. What died on this machine is not waited for, nor is the same run.
    """
    clock = _Clock(lambda _: None)
    monkeypatch.setattr(run_lease, "time", clock)
    store, place = ObjectStore(), S3Location(bucket, "out/.longtake/publishing.json")
    beat = {"machine": "gpu-7", "lock": "boot/1/2", "holder": "b", "run": "a", "number": 0}

    def is_busy() -> bool:
        try:
            with claim("b") as check:
                check()
        except TransientStorageError as error:
            return "another run is being published" in str(error)
        return False

    for number in range(2):
        store.put_bytes(place, json.dumps(beat | {"number": number}).encode())
        assert is_busy()
        clock.sleep(0.9 * run_lease.EXPIRES_S)
        assert is_busy()
    clock.sleep(0.2 * run_lease.EXPIRES_S)
    assert not is_busy()
    assert store.head(place) is None

    store.put_bytes(place, json.dumps(beat).encode())
    with claim("a"), monkeypatch.context() as context:
        own = json.loads(store.get_bytes(place, limit=4096))
        context.setenv("LONGTAKE_CACHE", str(tmp_path))  # as on another machine
        assert is_busy()
    store.put_bytes(place, json.dumps(own).encode())  # as if killed before it gave the claim up
    assert not is_busy()


def test_a_claim_that_was_lost_is_told(
    claim: Callable[[str], contextlib.AbstractContextManager[Callable[[], None]]],
    bucket: str,
) -> None:
    """A publisher that another one has taken for dead is told so, and may try again."""
    place = S3Location(bucket, "out/.longtake/publishing.json")
    with claim("a") as check:
        beat = {"machine": "gpu-7", "holder": "b", "run": "b", "number": 0}
        numbers = itertools.count()

        def is_told() -> bool:
            ObjectStore().put_bytes(place, json.dumps(beat | {"number": next(numbers)}).encode())
            with contextlib.suppress(TransientStorageError):
                check()
                return False
            return True

        _wait_until(is_told)
    assert b"gpu-7" in ObjectStore().get_bytes(place, limit=4096)


def test_publishers_of_one_machine_wait_for_each_other(
    claim: Callable[[str], contextlib.AbstractContextManager[Callable[[], None]]],
) -> None:
    """One after the other is in the block, whichever run each is of; none is refused."""
    inside, most, entered = 0, 0, 0
    lock = threading.Lock()

    def work(key: str) -> None:
        nonlocal inside, most, entered
        with claim(key) as check:
            with lock:
                inside += 1
                entered += 1
                most = max(most, inside)
            time.sleep(0.1)
            check()
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work, args=(key,)) for key in "aab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, entered) == (1, 3)
