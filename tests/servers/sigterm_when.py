"""The end of what runs until it is told to stop."""

import os
import signal
import threading
import time
from collections.abc import Callable

LIMIT_S = 120.0


class Ending:
    """Sends SIGTERM to this process when something has come true; a context manager."""

    def __init__(self, until: Callable[[], bool]) -> None:
        self._until = until
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._in_time = False

    def _watch(self) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not self._over.wait(0.2):
            self._in_time = time.monotonic() < deadline
            if self._until() or not self._in_time:
                if not self._over.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)
                return

    def __enter__(self) -> None:
        # In case it comes before the listener is there, or after.
        self._before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._thread.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGTERM, self._before)
        assert kind is not None or self._in_time, "it took too long"
