"""Connections to object stores, shared by all tasks of a process."""

import threading
import time

from tasks.settings import aws_settings_digest
from tasks.store.object_store import ObjectStore

_LASTS_S = 600.0
"""A client takes a good part of a second to make; but credentials in a block get changed."""

_lock = threading.Lock()
_stores: dict[tuple[str | None, str], tuple[float, ObjectStore]] = {}


def shared_store(credentials: str | None) -> ObjectStore:
    """The store by these credentials; threads may use it at the same time.

    Args:
        credentials: Name of an AwsCredentials block; None is the standard AWS settings.

    Raises:
        InputError: No such block, or settings that no client can be made of.
    """
    identity = (credentials, aws_settings_digest())
    with _lock:
        made_at, store = _stores.get(identity, (float("-inf"), None))
        if store is None or time.monotonic() - made_at > _LASTS_S:
            store = ObjectStore(credentials)
            _stores.clear()  # those of other settings are not asked for again
            _stores[identity] = (time.monotonic(), store)
        return store
