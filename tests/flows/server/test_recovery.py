"""What Prefect schedules again goes on by itself: nobody runs a command twice."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.result.manifest import MASKS
from tasks.request.segment_request import SegmentRequest
from tests.servers.finished_chunks import Finished
from tests.servers.recovery import SEVEN_CHUNKS, Recovery, engine_of, tracked, wait_for

Ask = Callable[..., SegmentRequest]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_processes_are_replaced(recovery: Recovery, ask: Ask, tmp_path: Path) -> None:
    """One run of a deployment outlives SIGKILL of its process, SIGTERM of its process, SIGKILL of
    its worker with all that it started, and SIGKILL of the server, each at some moment of a chunk:
    whoever looks for left runs finds it, it ends as Completed under its id, no chunk is tracked
    twice, and the masks are those of a run that nobody disturbed."""
    calm = tmp_path / "calm"
    recovery.run_here(ask(**SEVEN_CHUNKS, destination=str(calm)))
    request = ask(**SEVEN_CHUNKS)
    destination = request.destination_place
    worker = recovery.start_worker()
    run_id = recovery.ask(request)

    finished, chance = Finished(destination), random.Random(4)

    def wait(what: str, found: Callable[[], object]) -> None:
        def look() -> object:
            finished.look()
            return found()

        wait_for(what, look, worker)

    def wait_for_chunk(index: int) -> None:
        wait(f"chunk {index}", lambda: tracked(destination) > index)
        time.sleep(chance.uniform(0.0, 0.4))

    wait_for_chunk(0)
    engine_of(worker).kill()
    wait("the crash", lambda: recovery.is_over(run_id))
    assert recovery.read(run_id).state_name == "Crashed"
    assert recovery.go_on() == 1

    wait_for_chunk(1)
    engine_of(worker).terminate()
    wait("the end of it", lambda: recovery.is_over(run_id, times=2))
    assert list(destination.rglob("partial.json"))
    assert recovery.go_on() == 1

    wait_for_chunk(2)
    worker.stop()
    assert recovery.read(run_id).state_name == "Running"
    assert recovery.go_on() == 1
    worker = recovery.start_worker()

    wait_for_chunk(3)
    recovery.server.kill()
    time.sleep(2)
    recovery.server.start()

    wait("the end", lambda: recovery.read(run_id).state_name == "Completed")
    assert recovery.read(run_id).run_count >= 4
    assert (destination / MASKS).read_bytes() == (calm / MASKS).read_bytes()
    assert len(finished) == 7
