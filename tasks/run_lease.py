"""One machine at a time at a run whose result goes to a bucket: a lease that dies with its holder.

Within a machine the kernel's lock on the run's folder does this. Machines share only the bucket:
the holder writes beats there, and whoever waits takes over when they end. No two clocks are
compared: the one who waits measures by its own. Two machines that both believe to hold the lease,
as after one was paused, disturb nothing: they write equal bytes, and publishing has its own claim.
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
    StorageConflictError,
    StorageError,
)
from tasks.locations import S3Location, parse_location
from tasks.records import RunRef
from tasks.shared_store import shared_store
from tasks.storage import ObjectStore

_log = logging.getLogger(__name__)

BEAT_S = 15.0
"""Seconds between two beats."""
EXPIRES_S = 75.0
"""Seconds without a new beat after which the holder is taken to be dead."""
_POLL_S = 3.0
_MAX_BYTES = 4096


class LeaseLostError(StorageError):
    """Another machine goes on with the run, since nothing was heard of this one."""


class _Beat(BaseModel):
    """`lease.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    """Name, and what changes when it is started again."""
    pid: int
    process_began: float
    number: str
    """No two beats are the same bytes."""

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
        return began != self.process_began


@contextlib.contextmanager
def leased(run: RunRef, *, on_wait: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Hold the run's lease within the block; wait while another machine does.

    Args:
        run: Whose result may go to a bucket; nothing is done for one that goes to a folder.
        on_wait: Told once of the machine that has it.

    Yields:
        To be called between two pieces of work; raises `LeaseLostError` if this machine was silent
        for so long that another one goes on.

    Raises:
        StorageError: The bucket cannot be written to.
    """
    place = parse_location(run.destination)
    if not isinstance(place, S3Location):
        yield lambda: None
        return
    location = place.join(f".longtake/runs/{run.key}/lease.json")
    lease = _Lease(shared_store(run.credentials), location)
    lease.take(on_wait)
    beats = threading.Thread(target=lease.keep, name="lease", daemon=True)
    beats.start()
    try:
        yield lease.check
    finally:
        lease.ended.set()
        beats.join()
        # One that stays is taken over: at once here, and soon elsewhere.
        with contextlib.suppress(StorageError):
            lease.give_up()


class _Lease:
    def __init__(self, store: ObjectStore, location: S3Location) -> None:
        self.ended = threading.Event()
        self._store = store
        self._location = location
        self._etag: str | None = None
        self._lost = threading.Event()

    def take(self, on_wait: Callable[[str], None]) -> None:
        seen: str | None = None
        since = time.monotonic()
        told = False
        while not self._try(None):
            info = self._store.head(self._location)
            if info is None:
                continue
            if info.etag != seen:
                seen, since = info.etag, time.monotonic()
            holder = self._read()
            silent = time.monotonic() - since >= EXPIRES_S
            if (holder is None or holder.is_dead or silent) and self._try(info.etag):
                return
            if not told and holder is not None:
                on_wait(holder.machine.partition("/")[0])
                told = True
            time.sleep(_POLL_S)

    def keep(self) -> None:
        """Beat until the end."""
        while not self.ended.wait(BEAT_S):
            try:
                if not self._try(self._etag):
                    self._lost.set()
                    return
            except StorageError as error:
                # The work goes on; if nothing gets through for long, another machine takes over.
                _log.info("no beat: %s", error)

    def check(self) -> None:
        if self._lost.is_set():
            raise LeaseLostError(
                f"another machine has gone on with this run, since this one was silent for "
                f"{EXPIRES_S:g} s: run again to wait for its result"
            )

    def give_up(self) -> None:
        info = self._store.head(self._location)
        if info is not None and info.etag == self._etag:
            self._store.delete(self._location)

    def _try(self, etag: str | None) -> bool:
        """Write a beat where none is, or in place of that one; False if it is not there as told."""
        beat = _Beat(
            machine=_machine(),
            pid=os.getpid(),
            process_began=psutil.Process().create_time(),
            number=uuid.uuid4().hex,
        )
        data = beat.model_dump_json().encode()
        try:
            if etag is None:
                info = self._store.put_bytes(self._location, data, only_if_absent=True)
            else:
                info = self._store.put_bytes(self._location, data, only_if_etag=etag)
        except StorageConflictError:
            return False
        self._etag = info.etag
        return True

    def _read(self) -> _Beat | None:
        """What is there; None if it is nonsense, or gone."""
        with contextlib.suppress(MissingObjectError, ValidationError):
            return _Beat.model_validate_json(
                self._store.get_bytes(self._location, limit=_MAX_BYTES)
            )
        return None


def _machine() -> str:
    boot = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{platform.node()}/{boot}"
