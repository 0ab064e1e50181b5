"""How far a step after tracking is, such as an export: one place to report to."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager

from tasks.listeners import Listeners

Listener = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and all of it."""

_listeners: Listeners[[str, int, int]] = Listeners()


def listening_to_steps(listener: Listener) -> AbstractContextManager[None]:
    """Have `listener` called with each report of this process while the block runs."""
    return _listeners.listening(listener)


def reporter(what: str) -> Callable[[int, int], None]:
    """What a step is given to call; it tells all listeners."""
    return functools.partial(_listeners.tell, what)
