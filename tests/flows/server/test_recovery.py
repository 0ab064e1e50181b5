"""What Prefect schedules again goes on by itself: nobody runs a command twice."""

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.events.filters import EventFilter, EventNameFilter, EventRelatedFilter
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from prefect.types.entrypoint import EntrypointType

from flows.recover_runs import recover
from flows.segment_video import segment_video
from flows.server.deployment import Deployment
from flows.server.recovery import install_recovery
from samcore.result.manifest import MANIFEST, MASKS
from tasks.request.segment_request import SegmentRequest
from tasks.run.partial_chunk import PartialRecord
from tests.servers.finished_chunks import Finished
from tests.servers.prefect_server import PrefectServer, Worker

Ask = Callable[..., SegmentRequest]

LIMIT_S = 500.0
POOL = "recovery"
SEVEN_CHUNKS = {"stop": 64, "chunk_frames": 12, "overlap": 2, "report": False}
AT_ONCE = timedelta(0)


class Recovery:
    """A server with the automations as an operator has them, and a deployment; workers come and
    go.

    The automations rest for minutes after a crash. Nobody waits for that here: `go_on` looks for
    left runs as the schedule does. `test_recovery_rules` has the automations.
    """

    def __init__(self, server: PrefectServer, folder: Path, lasting: str) -> None:
        self.server = server
        self._lasting = lasting
        self._folder = folder
        self._workers: list[Worker] = []
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        install_recovery()
        self._deployment = RunnerDeployment.from_flow(
            segment_video,
            name="recovery",
            work_pool_name=POOL,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )

    def start_worker(self) -> Worker:
        worker = Worker(
            self.server.url,
            POOL,
            self._folder,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30",
            PREFECT_WORKER_QUERY_SECONDS="1",
        )
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        while self._workers:
            self._workers.pop().stop()

    def run_here(self, request: SegmentRequest) -> None:
        """Run the flow in this process, which reports to a server that is not killed: Prefect's
        client has things to tell it until the process ends."""
        with temporary_settings({PREFECT_API_URL: self._lasting}):
            segment_video(request)

    def ask(self, request: SegmentRequest) -> UUID:
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(
                self._deployment.apply(), parameters={"request": request.model_dump(mode="json")}
            )
        return run.id

    def read(self, run_id: UUID) -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run_id)

    def is_over(self, run_id: UUID, *, times: int = 1) -> bool:
        """Whether a worker is done with so many tries of a run. Until then it would drop the run if
        it got it again, which is what the rest after a crash is for."""
        wanted = EventFilter(
            event=EventNameFilter(name=["prefect.worker.executed-flow-run"]),
            related=EventRelatedFilter(id=[f"prefect.flow-run.{run_id}"]),
        )
        with get_client(sync_client=True) as client:
            return client.read_events(wanted, limit=1).total >= times

    def go_on(self) -> int:
        """Look for left runs, as on the schedule, though without its patience."""
        with Deployment("segment-video/recovery") as deployment:
            return recover(deployment, crashed_for=AT_ONCE, pending_for=AT_ONCE, silent_for=AT_ONCE)


@pytest.fixture(scope="module")
def shared(
    prefect_api: str, prefect_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recovery]:
    """All of it, for all tests."""
    folder = tmp_path_factory.mktemp("prefect")
    with (
        PrefectServer(folder, migrated=prefect_database) as server,
        temporary_settings({PREFECT_API_URL: server.url}),
    ):
        yield Recovery(server, folder, prefect_api)


@pytest.fixture
def recovery(shared: Recovery) -> Iterator[Recovery]:
    """All of it, without a worker."""
    try:
        yield shared
    finally:
        shared.stop()


def _wait_for(what: str, found: Callable[[], object], worker: Worker | None = None) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        with contextlib.suppress(OSError):
            if found():
                return
        if time.monotonic() > deadline:
            pytest.fail(f"waited for {what}: {'' if worker is None else worker.said[-3000:]}")
        time.sleep(0.02)


def _tracked(destination: Path) -> int:
    """Chunks that are begun or done."""
    begun = {path.parent for path in destination.glob(".longtake/runs/*/chunks/*/.masks.parquet.*")}
    done = {path.parent for path in destination.glob(".longtake/runs/*/chunks/*/done.json")}
    return len(begun | done) if begun else 0


def _engine(worker: Worker) -> psutil.Process:
    """The one run that a worker has going."""
    (engine,) = worker.runs()
    return engine


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
    destination = request.destination_dir
    worker = recovery.start_worker()
    run_id = recovery.ask(request)

    finished, chance = Finished(destination), random.Random(4)

    def wait_for(what: str, found: Callable[[], object]) -> None:
        def look() -> object:
            finished.look()
            return found()

        _wait_for(what, look, worker)

    def wait_for_chunk(index: int) -> None:
        wait_for(f"chunk {index}", lambda: _tracked(destination) > index)
        time.sleep(chance.uniform(0.0, 0.4))

    wait_for_chunk(0)
    _engine(worker).kill()
    wait_for("the crash", lambda: recovery.is_over(run_id))
    assert recovery.read(run_id).state_name == "Crashed"
    assert recovery.go_on() == 1

    wait_for_chunk(1)
    _engine(worker).terminate()
    wait_for("the end of it", lambda: recovery.is_over(run_id, times=2))
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

    wait_for("the end", lambda: recovery.read(run_id).state_name == "Completed")
    assert recovery.read(run_id).run_count >= 4
    assert (destination / MASKS).read_bytes() == (calm / MASKS).read_bytes()
    assert len(finished) == 7


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_cancelled_from_the_ui_is_not_replaced(recovery: Recovery, ask: Ask) -> None:
    """A run that is cancelled ends as Cancelled, with its decoder and its locks gone and its state
    saved, for which a process that had to be killed finds no time; it stays so; and the same
    request goes on from there."""
    request = ask(**{**SEVEN_CHUNKS, "chunk_frames": 60})
    destination = request.destination_dir
    worker = recovery.start_worker()
    run_id = recovery.ask(request)
    _wait_for("chunk 0", lambda: _tracked(destination) >= 1, worker)
    time.sleep(0.5)
    engine = _engine(worker)
    family = [engine, *engine.children(recursive=True)]

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling())
    _wait_for("its end", lambda: recovery.read(run_id).state_name == "Cancelled", worker)

    assert not any(process.is_running() for process in family)
    assert not list(destination.rglob("*.tmp"))
    (saved,) = destination.rglob("partial.json")
    assert PartialRecord.model_validate(json.loads(saved.read_bytes())["record"]).next_frame > 0
    assert recovery.go_on() == 0
    assert recovery.read(run_id).state_name == "Cancelled"

    recovery.run_here(request)
    assert (destination / MANIFEST).exists()
