"""Work beside this thread's own."""

import contextvars
import threading
from collections.abc import Callable

import pytest

from samcore.beside import Beside

LIMIT_S = 60.0
asked: contextvars.ContextVar[str] = contextvars.ContextVar("asked", default="nobody")


def test_it_runs_beside_the_block_and_is_done_after_it() -> None:
    """Each waits for the other in the block; at its end the work is waited for. It is in the
    context of who began it."""
    meeting, done = threading.Barrier(2), []

    def work(_: Callable[[], None]) -> None:
        meeting.wait(LIMIT_S)
        done.append(asked.get())

    asked.set("run 1")
    with Beside(work):
        meeting.wait(LIMIT_S)
    assert done == ["run 1"]


def test_its_error_is_raised_at_the_end_of_the_block() -> None:
    """And the block is whole by then."""

    def work(_: Callable[[], None]) -> None:
        raise ValueError("no such thing")

    reached = False
    with pytest.raises(ValueError, match="no such thing"), Beside(work):
        reached = True
    assert reached


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_it_stops_when_the_block_fails(error: type[BaseException]) -> None:
    """Endless work ends where it asks, and the block's own error is what is raised."""
    begun = threading.Event()

    def work(check: Callable[[], None]) -> None:
        while True:
            begun.set()
            check()

    def fail() -> None:
        assert begun.wait(LIMIT_S)
        raise error

    with pytest.raises(error), Beside(work):
        fail()
