"""What a person cancels stays cancelled, and nothing of it is lost."""

import json
import time
from collections.abc import Callable

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelling

from samcore.result.manifest import MANIFEST
from samcore.run.partial_chunk import PartialRecord
from tasks.request.segment_request import SegmentRequest
from tests.servers.recovery import SEVEN_CHUNKS, Recovery, engine_of, tracked, wait_for

Ask = Callable[..., SegmentRequest]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_cancelled_from_the_ui_is_not_replaced(recovery: Recovery, ask: Ask) -> None:
    """A run that is cancelled ends as Cancelled, with its decoder and its locks gone and its state
    saved, for which a process that had to be killed finds no time; it stays so; and the same
    request goes on from there."""
    request = ask(**{**SEVEN_CHUNKS, "chunk_frames": 60})
    destination = request.destination_place
    worker = recovery.start_worker()
    run_id = recovery.ask(request)
    wait_for("chunk 0", lambda: tracked(destination) >= 1, worker)
    time.sleep(0.5)
    engine = engine_of(worker)
    family = [engine, *engine.children(recursive=True)]

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling())
    wait_for("its end", lambda: recovery.read(run_id).state_name == "Cancelled", worker)

    assert not any(process.is_running() for process in family)
    assert not list(destination.rglob("*.tmp"))
    (saved,) = destination.rglob("partial.json")
    assert PartialRecord.model_validate(json.loads(saved.read_bytes())["record"]).next_frame > 0
    assert recovery.go_on() == 0
    assert recovery.read(run_id).state_name == "Cancelled"

    recovery.run_here(request)
    assert (destination / MANIFEST).exists()
