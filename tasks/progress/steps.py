"""How far a step beside tracking is, such as a scan or an export: one place to report to."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from tasks.progress.listeners import Listeners

Listener = Callable[[str, int, int | None, str], None]
"""Called with what is being done, how much of it is done, all of it (None if unknown), and what is
counted, such as `frames`."""

_listeners: Listeners[[str, int, int | None, str]] = Listeners()


def listening_to_steps(listener: Listener) -> AbstractContextManager[None]:
    """Have `listener` called with each report of this process while the block runs."""
    return _listeners.listening(listener)


def reporter(
    what: str, unit: str = "steps", *, scale: int = 1
) -> Callable[[int, int | None], None]:
    """What a step is given to call; it tells all listeners.

    Args:
        what: What is being done.
        unit: What is counted.
        scale: What the step counts for each `unit`.
    """

    def report(done: int, total: int | None) -> None:
        _listeners.tell(what, done // scale, None if total is None else total // scale, unit)

    return report
