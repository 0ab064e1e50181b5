"""Connections to object stores, shared by all tasks of a process."""

import threading
import time

from tasks.settings import aws_settings_digest
from tasks.store.object_store import ClientOptions, ObjectStore

_LASTS_S = 600.0
"""A client takes a good part of a second to make; but credentials in a block get changed."""

_lock = threading.Lock()
_stores: dict[object, tuple[float, ObjectStore]] = {}
"""By what they were made of; with the time when that was."""


def shared_store(credentials: str | None, *, options: ClientOptions | None = None) -> ObjectStore:
    """The store by these credentials; threads may use it at the same time.

    Args:
        credentials: Name of an AwsCredentials block; None is the standard AWS settings.
        options: How patient it is.

    Raises:
        InputError: No such block, or settings that no client can be made of.
    """
    identity = (credentials, options, aws_settings_digest())
    with _lock:
        now = time.monotonic()
        for old in [key for key, (made_at, _) in _stores.items() if now - made_at > _LASTS_S]:
            del _stores[old]
        if identity not in _stores:
            _stores[identity] = now, ObjectStore(credentials, options=options)
        return _stores[identity][1]
