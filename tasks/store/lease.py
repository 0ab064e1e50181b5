"""Leases in a bucket: one machine at a time at a piece of work. A lease dies with its holder.

Within a machine the kernel's locks do this. Machines share only the bucket: the holder writes beats
there, and whoever waits takes over when they end. No two clocks are compared: the one who waits
measures by its own. A holder of this machine needs no such wait. It has a lock file of the same
work, and its beats name that file: whoever can have its lock knows that the holder is dead.

Two machines that both believe to hold a lease, as after one was paused, disturb nothing: they write
equal bytes, and who publishes looks at all of it once more when the manifest is there.

Who holds what, and when:

    for the whole run        lock in runs/<work>            kernel  one process at a plan's chunks
                             locks/<key>, into a folder     kernel  one process at a result
                             runs/<key>/lease.json          beats   one machine at a result
      or for one chunk       lock in chunks/<index>         kernel  one process of a machine
                             chunks/<index>/lease.json      beats   one machine
      while a model tracks   locks/<device>.lock            kernel  one run on a GPU
      while files are sent   locks/<destination>.lock       kernel  one publisher of a machine
                             publishing.json                beats   one publisher at a destination

The kernel frees its locks when their holder ends, however it ends. A lease ends when its beats do.
"""

import contextlib
import hashlib
import logging
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from samcore.disk.files import make_folder
from samcore.disk.locks import is_abandoned, lock_identity, locked
from samcore.errors import (
    MissingObjectError,
    SegmentationError,
    StorageConflictError,
    StorageError,
    TransientStorageError,
)
from samcore.run.folder import RunFolder
from tasks.run.refs import RunRef
from tasks.settings import load_settings
from tasks.store.locations import S3Location, parse_location

if TYPE_CHECKING:
    from tasks.store.object_store import ObjectStore

_log = logging.getLogger(__name__)

LEASE = "lease.json"
"""Its name, beside the run's chunks or a chunk's files."""
BEAT_S = 15.0
"""Seconds between two beats."""
EXPIRES_S = 75.0
"""Seconds without a new beat after which the holder is taken to be dead."""
_POLL_S = 3.0
_AWAY_S = 900.0
"""Who waits gives up when the store has not answered for so long."""
_MAX_BYTES = 4096

_watched: dict[S3Location, tuple[str, float]] = {}
"""Leases that others hold and this process wants: the ETag of the last beat that it saw, and when
it saw that one first."""


class LeaseLostError(StorageError):
    """Another machine has taken over the run, since this one sent no beat for too long."""


class LeaseHeldError(StorageError):
    """Another machine is at this piece of work."""


class _Beat(BaseModel):
    """What a holder writes."""

    # What a later version says beside this leaves it a lease.
    model_config = ConfigDict(frozen=True, extra="ignore")

    machine: str
    """Its name, for people."""
    lock: str | None = None
    """Which lock file the holder has, as `lock_identity` names it."""
    lock_path: str | None = None
    """Where that file is on the holder's machine."""
    holder: str
    """No two that take the lease have the same."""
    run: str | None = None
    """Key of the run whose own next process need not wait; None where even that one must."""
    number: int
    """Counts up."""


def lease_key(run_key: str, chunk: int | None = None) -> str:
    """Where the lease of a run, or of one of its chunks, lies below the destination."""
    folder = f".longtake/runs/{run_key}"
    return f"{folder}/{LEASE}" if chunk is None else f"{folder}/chunks/{chunk:05d}/{LEASE}"


@contextlib.contextmanager
def leased(
    run: RunRef,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
    chunk: int | None = None,
    wait: bool = True,
) -> Iterator[Callable[[], None]]:
    """Hold the lease of a run or of one chunk within the block; wait while another machine does.

    Only with the lock held: that of the run's folder, or of the chunk's.

    Args:
        run: Whose result may go to a bucket; nothing is done for one that goes to a folder.
        on_wait: Told once of the machine that has it.
        chunk: Which chunk; None is the whole run.
        wait: Whether to wait while another machine has it.

    Yields:
        To be called between two pieces of work; raises `LeaseLostError` if this machine was silent
        for so long that another one took over: then this one has to wait.

    Raises:
        LeaseHeldError: Another machine has it, and `wait` is not set.
        StorageError: The bucket cannot be written to.
    """
    place = parse_location(run.destination)
    if not isinstance(place, S3Location):
        yield lambda: None
        return
    folder = RunFolder.from_ref(run)
    lease = _Lease(
        lambda: _impatient_store(run.credentials),
        place.join(lease_key(run.key, chunk)),
        lock=(folder.path if chunk is None else folder.chunk_path(chunk)) / "lock",
        lost=LeaseLostError(
            f"another machine has gone on with this run, since this one was silent for "
            f"{EXPIRES_S:g} s"
        ),
    )
    if wait:
        lease.wait(on_wait)
    elif not lease.take():
        raise LeaseHeldError(f"{lease.holder_name or 'another machine'} is at this")
    with lease.held():
        yield lease.check


@contextlib.contextmanager
def claimed(store: "ObjectStore", prefix: S3Location, key: str) -> Iterator[Callable[[], None]]:
    """Hold the lease of a destination within the block: publishers go one after another.

    It only keeps them from disturbing each other. That nothing wrong is published is made sure of
    by looking at everything after the manifest is there. A claim of the same run is taken over at
    once: its process is dead, or writes the same bytes. Another process of this machine is waited
    for. Another machine is not: ask again later, as tasks at a destination do.

    Args:
        store: Where the bucket is.
        prefix: The destination.
        key: The run's.

    Yields:
        Call it now and then during the work, from any thread; it raises if the claim is lost.

    Raises:
        TransientStorageError: Another run on another machine holds it.
        StorageError: The bucket cannot be written to.
    """
    busy = TransientStorageError(
        f"another run is being published to {prefix.uri}; run again when it is done"
    )
    locks = load_settings().cache_dir / "locks"
    make_folder(locks)
    lock = locks / f"{hashlib.sha256(prefix.uri.encode()).hexdigest()[:16]}.lock"
    with locked(lock, on_wait=lambda: _log.info("another process publishes to %s", prefix)):
        location = prefix.join(".longtake/publishing.json")
        lease = _Lease(lambda: store, location, lock=lock, lost=busy, run=key)
        if not lease.take():
            raise busy
        with lease.held():
            yield lease.check


def _impatient_store(credentials: str | None) -> "ObjectStore":
    """The store with a client that gives up soon: else one lost connection costs the lease."""
    # Late: boto3 takes its time to import, and runs in a folder do without it.
    from tasks.store.aws import ClientOptions
    from tasks.store.object_store import shared_store

    options = ClientOptions(
        retry_mode="standard", attempts=3, connect_timeout_s=5.0, read_timeout_s=10.0
    )
    return shared_store(credentials, options=options)


class _Lease:
    def __init__(
        self,
        store: "Callable[[], ObjectStore]",
        location: S3Location,
        *,
        lock: Path,
        lost: StorageError,
        run: str | None = None,
    ) -> None:
        """Take nothing yet.

        Args:
            store: Gives the store that the lease is in.
            location: Where it lies there.
            lock: The lock file of the same work; this process has its lock.
            lost: What `check` raises once another machine has the lease.
            run: As in a beat.
        """
        self.holder_name = ""
        """The machine that has it, as far as is known."""
        self._store = store
        self._location = location
        self._lock = lock_identity(lock)
        self._lock_path = lock.absolute()
        self._lost = lost
        self._run = run
        self._id = uuid.uuid4().hex
        self._number = 0
        self._etag: str | None = None
        self._ended = threading.Event()
        self._is_lost = threading.Event()

    def take(self) -> bool:
        """Take it, unless another one holds it that is not known to be dead.

        Raises:
            StorageError: The store does not answer, or refuses.
        """
        try:
            if self._put(None):
                return True
            info = self._store().head(self._location)
            if info is None:
                return False  # its holder gave it up just now
            beat = self._read()
            if self._is_free(beat, info.etag) and self._put(info.etag):
                _watched.pop(self._location, None)
                return True
        except TransientStorageError:
            # There may have been beats that were not seen, or that could not be sent.
            _watched.pop(self._location, None)
            raise
        self.holder_name = "" if beat is None else beat.machine
        return False

    def wait(self, on_wait: Callable[[str], None]) -> None:
        """Take it, however long its holder lives."""
        answered = time.monotonic()
        told = False
        while True:
            try:
                if self.take():
                    return
                answered = time.monotonic()
                if not told and self.holder_name:
                    on_wait(self.holder_name)
                    told = True
            except TransientStorageError:
                # Others write there at the same moment, or the store is away: not for long.
                if time.monotonic() - answered > _AWAY_S:
                    raise
            time.sleep(_POLL_S)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Beat within the block; give it up afterwards."""
        beats = threading.Thread(target=self._keep, name="lease", daemon=True)
        beats.start()
        try:
            yield
        finally:
            self._ended.set()
            beats.join()
            # One that stays is taken over: at once here, and soon elsewhere.
            with contextlib.suppress(SegmentationError):
                if self._is_own():
                    self._store().delete(self._location)

    def check(self) -> None:
        """Raise `lost` if another machine has taken over."""
        if self._is_lost.is_set():
            raise self._lost

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                if not self._put(self._etag) and not self._is_own():
                    self._is_lost.set()
                    return
            except SegmentationError as error:
                # The store is away, or credentials are gone. The work goes on; if nothing gets
                # through for long, another machine takes over.
                _log.info("no beat: %s", error)

    def _is_free(self, beat: _Beat | None, etag: str) -> bool:
        """Whether the holder of this beat is dead or silent, or another process of the same run."""
        seen, since = _watched.get(self._location, (None, 0.0))
        if etag != seen:
            since = time.monotonic()
            _watched[self._location] = etag, since
        return (
            beat is None
            or self._is_dead(beat)
            or (beat.run is not None and beat.run == self._run)
            or time.monotonic() - since >= EXPIRES_S
        )

    def _is_dead(self, beat: _Beat) -> bool:
        """Whether the holder had a lock file of this machine, and the kernel has freed its lock."""
        if beat.lock is None:
            return False
        return beat.lock == self._lock or (
            beat.lock_path is not None and is_abandoned(Path(beat.lock_path), beat.lock)
        )

    def _is_own(self) -> bool:
        """Whether what is there is a beat of this lease: an answer may have been lost."""
        info = self._store().head(self._location)
        beat = self._read()
        if info is None or beat is None or beat.holder != self._id:
            return False
        self._etag = info.etag
        return True

    def _put(self, etag: str | None) -> bool:
        """Write a beat where none is, or in place of that one; False if it is not there as told."""
        beat = _Beat(
            machine=platform.node(),
            lock=self._lock,
            lock_path=str(self._lock_path),
            holder=self._id,
            run=self._run,
            number=self._number,
        )
        self._number += 1
        data = beat.model_dump_json().encode()
        try:
            info = self._store().put_bytes(
                self._location, data, only_if_absent=etag is None, only_if_etag=etag
            )
        except (StorageConflictError, MissingObjectError):
            return False
        self._etag = info.etag
        return True

    def _read(self) -> _Beat | None:
        """What is there; None if it is nonsense, or gone."""
        with contextlib.suppress(MissingObjectError, ValidationError):
            return _Beat.model_validate_json(
                self._store().get_bytes(self._location, limit=_MAX_BYTES)
            )
        return None
