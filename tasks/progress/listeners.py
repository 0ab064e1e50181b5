"""Those of this process that want to hear of something, while they want to."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, ParamSpec

_P = ParamSpec("_P")


class Listeners(Generic[_P]):
    """Functions to be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[_P, None]] = []

    @contextlib.contextmanager
    def listening(self, listener: Callable[_P, None]) -> Iterator[None]:
        """Have `listener` called with each report while the block runs."""
        with self._lock:
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def tell(self, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Tell all of them."""
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(*args, **kwargs)
