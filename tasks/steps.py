"""How far a step after tracking is, such as an export: one place to report to."""

import contextlib
import threading
from collections.abc import Callable, Iterator

Listener = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and all of it."""

_lock = threading.Lock()
_listeners: list[Listener] = []


@contextlib.contextmanager
def listening_to_steps(listener: Listener) -> Iterator[None]:
    """Have `listener` called with each report of this process while the block runs."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


def reporter(what: str) -> Callable[[int, int], None]:
    """What a step is given to call; it tells all listeners."""

    def report(done: int, total: int) -> None:
        with _lock:
            listeners = tuple(_listeners)
        for listener in listeners:
            listener(what, done, total)

    return report
