"""A server, workers and runs that are left and found again, for tests."""

import contextlib
import time
from collections.abc import Callable
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
from prefect.types.entrypoint import EntrypointType

from flows.recover_runs import recover
from flows.segment_video import segment_video
from flows.server.deployment import Deployment
from flows.server.recovery import install_recovery
from tasks.request.segment_request import SegmentRequest
from tests.servers.prefect_server import PrefectServer, Worker

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


def wait_for(what: str, found: Callable[[], object], worker: Worker | None = None) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        with contextlib.suppress(OSError):
            if found():
                return
        if time.monotonic() > deadline:
            pytest.fail(f"waited for {what}: {'' if worker is None else worker.said[-3000:]}")
        time.sleep(0.02)


def tracked(destination: Path) -> int:
    """Chunks that are begun or done."""
    begun = {path.parent for path in destination.glob(".longtake/runs/*/chunks/*/.masks.parquet.*")}
    done = {path.parent for path in destination.glob(".longtake/runs/*/chunks/*/done.json")}
    return len(begun | done) if begun else 0


def engine_of(worker: Worker) -> psutil.Process:
    """The one run that a worker has going."""
    (engine,) = worker.runs()
    return engine
