"""A claim on a destination in a bucket: publishers of different runs go one after another.

It only keeps them from disturbing each other. That nothing wrong is published is made sure of by
looking at everything after the manifest is there.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

from samcore.errors import StorageConflictError, StorageError, TransientStorageError
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

_EXPIRES_S = 1200.0
"""A claim that was not renewed for so long is free. S3 lets clocks differ by 900 s."""
_RENEW_S = 60.0
_MAX_BYTES = 4096


@contextlib.contextmanager
def claimed(store: ObjectStore, prefix: S3Location, key: str) -> Iterator[Callable[[], None]]:
    """Hold the claim on a destination within the block.

    A claim of the same run is taken over at once: its process is dead, or writes the same bytes.

    Args:
        store: Where the bucket is.
        prefix: The destination.
        key: The run's.

    Yields:
        Call it now and then during the work, from any thread.

    Raises:
        TransientStorageError: Another run holds it.
        StorageError: The bucket cannot be written to.
    """
    claim = _Claim(store, prefix, key)
    claim.take()
    try:
        yield claim.renew
    finally:
        # A claim that stays expires.
        with contextlib.suppress(StorageError):
            claim.give_up()


class _Claim:
    def __init__(self, store: ObjectStore, prefix: S3Location, key: str) -> None:
        self._store = store
        self._prefix = prefix
        self._location = prefix.join(".longtake/publishing.json")
        self._key = key
        self._own = uuid.uuid4().hex
        self._etag = ""
        self._renewed = 0.0
        self._lock = threading.Lock()

    def take(self) -> None:
        found = self._store.head(self._location)
        if found is not None:
            holder = self._holder()
            age_s = (datetime.now(timezone.utc) - found.last_modified).total_seconds()
            if holder != self._key and age_s < _EXPIRES_S:
                raise self._busy()
        try:
            self._put(None if found is None else found.etag)
        except StorageConflictError as error:
            raise self._busy() from error

    def renew(self) -> None:
        with self._lock:
            if time.monotonic() - self._renewed < _RENEW_S:
                return
            try:
                self._put(self._etag)
            except StorageConflictError as error:
                raise self._busy() from error

    def give_up(self) -> None:
        found = self._store.head(self._location)
        if found is not None and found.etag == self._etag:
            self._store.delete(self._location)

    def _put(self, etag: str | None) -> None:
        content = {"key": self._key, "by": self._own, "at": time.time()}
        data = json.dumps(content).encode()
        if etag is None:
            info = self._store.put_bytes(self._location, data, only_if_absent=True)
        else:
            info = self._store.put_bytes(self._location, data, only_if_etag=etag)
        self._etag = info.etag
        self._renewed = time.monotonic()

    def _holder(self) -> str | None:
        """The key of the run that holds it; None if it is gone or nonsense."""
        with contextlib.suppress(StorageError, ValueError):
            if isinstance(content := json.loads(self._read()), dict):
                return str(content.get("key"))
        return None

    def _read(self) -> bytes:
        return self._store.get_bytes(self._location, limit=_MAX_BYTES)

    def _busy(self) -> TransientStorageError:
        return TransientStorageError(
            f"another run is being published to {self._prefix.uri}; run again when it is done"
        )
