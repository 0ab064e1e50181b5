"""One machine at a time at a run whose result goes to a bucket: a lease that dies with its holder.

Within a machine the kernel's lock on the run's folder does this. Machines share only the bucket:
the holder writes beats there, and whoever waits takes over when they end. No two clocks are
compared: the one who waits measures by its own. Two machines that both believe to hold the lease,
as after one was paused, disturb nothing: they write equal bytes, and publishing has its own claim.

Who holds what, and when:

    for the whole run        lock in runs/<work>     kernel   one process at a plan's chunks
                             locks/<key> in a folder kernel   one process at a result
                             lease.json in a bucket  beats    one machine at a result
      while a model tracks     locks/<device>.lock   kernel   one run on a GPU
      while files are sent     claim in a bucket     renewed  one publisher at a destination

The kernel frees its locks when their holder ends, however it ends. A lease and a claim expire.
"""

import contextlib
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from samcore.errors import (
    MissingObjectError,
    SegmentationError,
    StorageConflictError,
    StorageError,
    TransientStorageError,
)
from tasks.run.records import RunRef
from tasks.store.locations import S3Location, parse_location
from tasks.store.object_store import ClientOptions, ObjectStore

_log = logging.getLogger(__name__)

LEASE = "lease.json"
"""Its name, beside the run's chunks."""
BEAT_S = 15.0
"""Seconds between two beats."""
EXPIRES_S = 75.0
"""Seconds without a new beat after which the holder is taken to be dead."""
_POLL_S = 3.0
_AWAY_S = 900.0
"""Who waits gives up when the store has not answered for so long."""
_CLOCK_SLACK_S = 2.0
_STORE_LASTS_S = 600.0
_OPTIONS = ClientOptions(
    retry_mode="standard", attempts=3, connect_timeout_s=5.0, read_timeout_s=10.0
)
_MAX_BYTES = 4096


class LeaseLostError(StorageError):
    """Another machine has taken over the run, since this one sent no beat for too long."""


class _Beat(BaseModel):
    """`lease.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    """Name, and what changes when it is started again."""
    pid: int
    process_began: float
    holder: str
    """No two that take the lease have the same."""
    number: int
    """Counts up."""

    @property
    def is_dead(self) -> bool:
        """Whether this machine can see that the process is gone."""
        if self.machine != _machine():
            return False
        try:
            began: float = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False
        # It is counted from the machine's start, and moves a little when its clock is set.
        return abs(began - self.process_began) > _CLOCK_SLACK_S

    def is_by(self, holder: str) -> bool:
        """Whether this holder has written it."""
        return self.holder == holder


@contextlib.contextmanager
def leased(run: RunRef, *, on_wait: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold the run's lease within the block; wait while another machine does.

    Args:
        run: Whose result may go to a bucket; nothing is done for one that goes to a folder.
        on_wait: Told once of the machine that has it.

    Yields:
        To be called between two pieces of work; raises `LeaseLostError` if this machine was silent
        for so long that another one took over: then this one has to wait.

    Raises:
        StorageError: The bucket cannot be written to.
    """
    place = parse_location(run.destination)
    if not isinstance(place, S3Location):
        yield lambda: None
        return
    location = place.join(f".longtake/runs/{run.key}/{LEASE}")
    lease = _Lease(run.credentials, location)
    lease.take(on_wait)
    beats = threading.Thread(target=lease.keep, name="lease", daemon=True)
    beats.start()
    try:
        yield lease.check
    finally:
        lease.ended.set()
        beats.join()
        # One that stays is taken over: at once here, and soon elsewhere.
        with contextlib.suppress(SegmentationError):
            lease.give_up()


class _Lease:
    def __init__(self, credentials: str | None, location: S3Location) -> None:
        self.ended = threading.Event()
        self._credentials = credentials
        self._client: ObjectStore | None = None
        self._made = 0.0
        self._location = location
        self._holder = uuid.uuid4().hex
        self._number = 0
        self._etag: str | None = None
        self._lost = threading.Event()

    def take(self, on_wait: Callable[[str], None]) -> None:
        seen: str | None = None
        since = answered = time.monotonic()
        told = False
        while True:
            try:
                if self._try(None):
                    return
                info = self._store().head(self._location)
                answered = time.monotonic()
                if info is not None:
                    if info.etag != seen:
                        seen, since = info.etag, time.monotonic()
                    beat = self._read()
                    silent = time.monotonic() - since >= EXPIRES_S
                    if (beat is None or beat.is_dead or silent) and self._try(info.etag):
                        return
                    if not told and beat is not None:
                        on_wait(beat.machine.partition("/")[0])
                        told = True
            except TransientStorageError:
                # Others write there at the same moment, or the store is away: not for long.
                if time.monotonic() - answered > _AWAY_S:
                    raise
                since = time.monotonic()  # there may have been beats that were not seen
            time.sleep(_POLL_S)

    def keep(self) -> None:
        """Beat until the end."""
        while not self.ended.wait(BEAT_S):
            try:
                if not self._try(self._etag) and not self._is_own():
                    self._lost.set()
                    return
            except SegmentationError as error:
                # The store is away, or credentials are gone. The work goes on; if nothing gets
                # through for long, another machine takes over.
                _log.info("no beat: %s", error)

    def check(self) -> None:
        if self._lost.is_set():
            raise LeaseLostError(
                f"another machine has gone on with this run, since this one was silent for "
                f"{EXPIRES_S:g} s"
            )

    def give_up(self) -> None:
        if self._is_own():
            self._store().delete(self._location)

    def _is_own(self) -> bool:
        """Whether what is there is a beat of this lease: an answer may have been lost."""
        info = self._store().head(self._location)
        beat = self._read()
        if info is None or beat is None or not beat.is_by(self._holder):
            return False
        self._etag = info.etag
        return True

    def _store(self) -> ObjectStore:
        """A store that does not wait long, else one lost connection costs the lease; made anew now
        and then, as credentials are renewed."""
        if self._client is None or time.monotonic() - self._made > _STORE_LASTS_S:
            self._client = ObjectStore(self._credentials, options=_OPTIONS)
            self._made = time.monotonic()
        return self._client

    def _try(self, etag: str | None) -> bool:
        """Write a beat where none is, or in place of that one; False if it is not there as told."""
        beat = _Beat(
            machine=_machine(),
            pid=os.getpid(),
            process_began=psutil.Process().create_time(),
            holder=self._holder,
            number=self._number,
        )
        self._number += 1
        data = beat.model_dump_json().encode()
        try:
            if etag is None:
                info = self._store().put_bytes(self._location, data, only_if_absent=True)
            else:
                info = self._store().put_bytes(self._location, data, only_if_etag=etag)
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


def _machine() -> str:
    """Name, start, and among which processes of that machine numbers of processes mean something:
    containers may share all the rest."""
    boot = processes = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        processes = os.readlink("/proc/self/ns/pid")
    return f"{platform.node()}/{boot}/{processes}"
