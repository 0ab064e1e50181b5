"""Whether the engine takes its shortcuts: faster ways to the same masks.

Each shortcut has the plain way beside it. Tests and `tests/bench/engine.py` turn the shortcuts off
to compare both.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Switch:
    """On, unless any thread of the process computes plainly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plain = 0

    @property
    def on(self) -> bool:
        return self._plain == 0

    @contextmanager
    def off(self) -> Iterator[None]:
        with self._lock:
            self._plain += 1
        try:
            yield
        finally:
            with self._lock:
                self._plain -= 1


_switch = _Switch()


def take_shortcuts() -> bool:
    """Whether the faster ways are taken, which is so outside `computing_plainly`."""
    return _switch.on


@contextmanager
def computing_plainly() -> Iterator[None]:
    """Compute everything in the plain way, in all threads, until the context ends."""
    with _switch.off():
        yield
