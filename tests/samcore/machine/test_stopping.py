"""A signal ends work at its next good moment, and a second one at once."""

import functools
import os
import signal
import sys
import threading

import pytest

from samcore.machine import stopping
from samcore.machine.stopping import WorkStopped, run_stoppable


def test_a_second_signal_does_not_wait() -> None:
    """Who presses Ctrl-C twice gets out at once, though the work does not end; at whatever moment
    the signals come, hence many times."""
    for _ in range(100):
        freed = threading.Event()
        try:
            with pytest.raises(KeyboardInterrupt):
                run_stoppable(functools.partial(_press_twice, freed))
        finally:
            freed.set()


def _press_twice(freed: threading.Event, stop: threading.Event) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    # Python loses one that comes while it collects garbage: then a person presses again.
    while not stop.wait(2):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    while not freed.wait(2):
        os.kill(os.getpid(), signal.SIGINT)
    raise WorkStopped


def test_work_is_as_if_called() -> None:
    """What work returns or raises comes out of it, with its own traceback."""
    assert run_stoppable(lambda stop: 7) == 7

    def fail(stop: threading.Event) -> None:
        raise ZeroDivisionError("in the work")

    with pytest.raises(ZeroDivisionError, match="in the work") as caught:
        run_stoppable(fail)
    assert caught.traceback[-1].name == "fail"


@pytest.mark.parametrize("stopped", [False, True])
def test_a_thread_that_dies_at_once_is_not_waited_for(
    stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no memory for the first step of the work, nobody says that it has ended."""

    def die(outcome: object, *args: object) -> None:
        if stopped:
            vars(outcome)["has_begun"] = True
        raise MemoryError

    monkeypatch.setattr(stopping._Outcome, "fill", die)
    monkeypatch.setattr(sys, "unraisablehook", lambda said: None)  # keeps no frame of the thread
    ends: list[BaseException] = []

    def run() -> None:
        try:
            run_stoppable(lambda stop: None)
        except BaseException as error:
            ends.append(error)

    waiting = threading.Thread(target=run, daemon=True)
    waiting.start()
    waiting.join(60)
    assert [type(error) for error in ends] == [MemoryError]
