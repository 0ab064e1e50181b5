"""What Prefect schedules again goes on by itself: nobody runs a command twice."""

import contextlib
import random
import subprocess
import sys
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
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Pending
from prefect.types.entrypoint import EntrypointType

from flows.recovery import MAX_TRIES, TooManyTriesError, check_tries, install_recovery
from flows.segment_video import segment_video
from tasks.checkpoint import PartialRecord
from tasks.manifest import MANIFEST, MASKS
from tasks.request import SegmentRequest
from tests.servers.finished import Finished
from tests.servers.prefect_server import ROOT, PrefectServer, Worker

Ask = Callable[..., SegmentRequest]

LIMIT_S = 500.0
POOL = "recovery"
SEVEN_CHUNKS = {"stop": 64, "chunk_frames": 12, "overlap": 2, "report": False}


class Recovery:
    """A server, the automations, a deployment; workers come and go."""

    def __init__(self, server: PrefectServer, folder: Path, lasting: str) -> None:
        self.server = server
        self._lasting = lasting
        self._folder = folder
        self._workers: list[Worker] = []
        # Heartbeats at the shortest interval that there is.
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        self.rest = timedelta(seconds=max(12.0, 4 * _import_s()))
        """A busy machine needs long to import the flow, see `flows.recovery.REST`."""
        install_recovery(silence=timedelta(seconds=45), rest=self.rest)
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
        for worker in self._workers:
            worker.stop()

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


@pytest.fixture
def recovery(prefect_api: str, prefect_database: str, tmp_path: Path) -> Iterator[Recovery]:
    """All of it, with one worker's pool made."""
    folder = tmp_path / "prefect"
    folder.mkdir()
    with (
        PrefectServer(folder, migrated=prefect_database) as server,
        temporary_settings({PREFECT_API_URL: server.url}),
    ):
        place = Recovery(server, folder, prefect_api)
        try:
            yield place
        finally:
            place.stop()


def _import_s() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import flows.segment_video"], cwd=ROOT, check=True)
    return time.monotonic() - started


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


def test_installed_again_it_is_there_once(prefect_api: str) -> None:
    """Deploying again makes no second set of the automations, and leaves those alone that are as
    they should be: they know which runs they wait for. Others are brought up to date."""

    def installed(**changes: timedelta) -> dict[str, UUID]:
        install_recovery(("some-flow",), **changes)
        with get_client(sync_client=True) as client:
            return {one.name: one.id for one in client.read_automations()}

    first = installed()
    assert installed() == first
    changed = installed(rest=timedelta(minutes=7))
    assert {name for name in first if changed[name] != first[name]} == {
        "longtake: a crashed run goes on"
    }
    assert sorted(changed) == [
        "longtake: a crashed run goes on",
        "longtake: a run that does not begin has crashed",
        "longtake: a run without heartbeats has crashed",
    ]


def test_a_run_does_not_crash_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """One try too many ends a run for good, by an error that says what to look for."""
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", str(MAX_TRIES))
    check_tries()
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", str(MAX_TRIES + 1))
    with pytest.raises(TooManyTriesError, match="crashed 50 times"):
        check_tries()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_processes_are_replaced(recovery: Recovery, ask: Ask, tmp_path: Path) -> None:
    """One run of a deployment outlives SIGKILL of its process, SIGTERM of its process, SIGKILL of
    its worker with all that it started, and SIGKILL of the server, each at some moment of a chunk:
    it ends as Completed under its id, no chunk is tracked twice, and the masks are those of a run
    that nobody disturbed."""
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
    wait_for("the crash", lambda: recovery.read(run_id).state_name == "Crashed")

    wait_for_chunk(1)
    _engine(worker).terminate()
    wait_for("the state", lambda: list(destination.rglob("partial.json")))

    wait_for_chunk(2)
    worker.stop()
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
def test_a_run_that_nobody_begins(recovery: Recovery, ask: Ask) -> None:
    """A run that a worker took before it died is scheduled again; one that waits for a worker is
    left alone."""
    shortest = timedelta(seconds=10)
    install_recovery(rest=shortest, begin=shortest)
    taken, waits = (recovery.ask(ask(**SEVEN_CHUNKS)) for _ in range(2))
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(taken, Pending())
    _wait_for("the crash", lambda: recovery.read(taken).state_name == "Crashed")
    _wait_for("the next try", lambda: recovery.read(taken).state_name == "AwaitingRetry")
    assert recovery.read(waits).state_name in ("Scheduled", "Late")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cancelled_from_the_ui(recovery: Recovery, ask: Ask) -> None:
    """A run that is cancelled ends as Cancelled within seconds, with its decoder and its locks
    gone and its state saved; it stays so; and the same request goes on from there."""
    request = ask(**{**SEVEN_CHUNKS, "chunk_frames": 60})
    destination = request.destination_dir
    worker = recovery.start_worker()
    run_id = recovery.ask(request)
    _wait_for("chunk 0", lambda: _tracked(destination) >= 1, worker)
    time.sleep(0.5)
    engine = _engine(worker)
    family = [engine, *engine.children(recursive=True)]

    started = time.monotonic()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling())
    _wait_for("its end", lambda: recovery.read(run_id).state_name == "Cancelled", worker)
    took = time.monotonic() - started

    assert took < 60, took
    assert not any(process.is_running() for process in family)
    assert not list(destination.rglob("*.tmp"))
    (saved,) = destination.rglob("partial.json")
    assert PartialRecord.model_validate_json(saved.read_bytes()).next_frame > 0
    time.sleep(recovery.rest.total_seconds() + 5)  # a crashed one would go on
    assert recovery.read(run_id).state_name == "Cancelled"

    recovery.run_here(request)
    assert (destination / MANIFEST).exists()
