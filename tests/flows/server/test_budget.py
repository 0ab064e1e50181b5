"""Events and sweeps may use so many device-hours a day; what is over waits for the next one."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from flows.arrivals.video_runs import Outcome, VideoRuns
from flows.cli import run as longtake
from flows.segment_video import segment_video
from flows.server import budget
from flows.server.budget import ARRIVAL, WAITS, Ledger, RunBudget, parse_hours
from flows.server.deployment import Deployment
from flows.sweep_bucket import sweep_bucket
from samcore.errors import InputError
from samcore.result.manifest import read_manifest
from samcore.run.folder import RunFolder
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.aws import AwsServer
from tests.servers.deployed import Deployed


@pytest.fixture
def client(prefect_api: str) -> Iterator[SyncPrefectClient]:
    """The tests' server, on which nothing is bounded, and waits for tomorrow, afterwards."""
    with get_client(sync_client=True) as opened:
        yield opened
        Ledger(opened).set_hours(None)
        waiting = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        for run in opened.read_flow_runs(flow_run_filter=FlowRunFilter(state=waiting)):
            opened.delete_flow_run(run.id)


@pytest.fixture
def ledger(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger of its own."""
    name = f"longtake-used-{uuid4().hex}"
    monkeypatch.setattr(budget, "_key", lambda _: name)
    return Ledger(client)


def _made(client: SyncPrefectClient, deployed: Deployed, **options: object) -> FlowRun:
    return client.create_flow_run_from_deployment(deployed.id, **options)  # type: ignore[arg-type]


def _work(client: SyncPrefectClient, run: FlowRun) -> None:
    """Do what a worker does with a run whose time has come."""
    client.set_flow_run_state(run.id, Scheduled(), force=True)
    run_flow(segment_video, flow_run=client.read_flow_run(run.id))


def test_machines_add_up_in_one_ledger(client: SyncPrefectClient, ledger: Ledger) -> None:
    """Each run has one entry a day, to which it adds; what may be used is a number that stays."""
    deployed = Deployed(source="v.mp4", destination="out", automatic={})
    first, second = _made(client, deployed), _made(client, deployed)
    assert (ledger.use().hours, ledger.use().used_s, ledger.use().is_spent) == (None, 0, False)
    for run, seconds in ((first, 10.0), (second, 5.0), (first, 20.5)):
        Ledger(client).add(run.id, seconds)
    assert (ledger.use().used_s, ledger.use().runs) == (35.5, 2)
    RunBudget(second.id).count(4.5)
    RunBudget(None).count(100.0)
    assert (ledger.use().used_s, ledger.use().runs) == (40.0, 2)

    for hours, spent in ((1.0, False), (0.005, True), (0.0, True), (None, False)):
        ledger.set_hours(hours)
        assert (ledger.use().hours, ledger.use().is_spent) == (hours, spent)


@pytest.mark.parametrize("text", ["-1", "nan", "eight", "", "inf"])
def test_hours_that_are_none(text: str) -> None:
    """One line."""
    assert (parse_hours("0.5"), parse_hours("off")) == (0.5, None)
    with pytest.raises(InputError, match="--budget: wanted hours from 0 on"):
        parse_hours(text)


def test_what_is_over_waits_for_the_next_day(
    client: SyncPrefectClient,
    ledger: Ledger,
    aws: AwsServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The listener and the sweep make its run all the same, once, scheduled for the next day in
    UTC; the log and the command list it. With hours left, runs begin at once."""
    s3 = aws.client("s3")
    for bucket in ("videos", "results"):
        s3.create_bucket(Bucket=bucket)
    for key in ("a.mp4", "b.mp4", "c.mp4"):
        s3.put_object(Bucket="videos", Key=key, Body=b"a video")
    deployed = Deployed(automatic={"max_objects": 3})
    ledger.set_hours(0.0)

    with Deployment(deployed.name) as opened:
        runs = VideoRuns(ObjectStore(), opened, S3Location("results", ""))
        outcomes = [runs.start(S3Location("videos", "a.mp4")).outcome for _ in range(2)]
    assert outcomes == [Outcome.WAITS, Outcome.KNOWN]
    swept = sweep_bucket("s3://videos", "s3://results", limit=1, deployment=deployed.name)
    assert (swept.started, swept.waiting, swept.underway, swept.left) == (0, 1, 1, 1)

    tomorrow = datetime.now(timezone.utc).date() + timedelta(days=1)
    for run in deployed.runs():
        assert (run.state_name, ARRIVAL in run.tags) == (WAITS, True)
        assert run.next_scheduled_start_time == datetime(
            tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=timezone.utc
        )
    assert longtake(["budget"]) == 0
    out = capfd.readouterr().out
    assert "0 device-hours a day" in out
    assert "all used up" in out
    assert f"  b.mp4: segment, until {tomorrow} 00:00 UTC" in out

    ledger.set_hours(1.0)
    swept = sweep_bucket("s3://videos", "s3://results", deployment=deployed.name)
    assert (swept.started, swept.waiting, swept.underway) == (1, 0, 2)


def test_a_run_stops_where_the_hours_end_and_goes_on(
    client: SyncPrefectClient,
    ledger: Ledger,
    clip: Path,
    prompts_file: Path,
    tmp_path: Path,
) -> None:
    """A run that an event asked for is scheduled for the next day between two pieces of work, and
    goes on after what is done; a run of a person is neither counted nor bounded. The ledger holds
    what the manifest says that tracking and the prompt pass took."""
    settings = {"model": "nano", "image_size": 64, "report": False, "settings": {"device": "cpu"}}
    request = {"source": str(clip), "prompts": str(prompts_file), "stop": 40, **settings}
    chunks = {"chunk_frames": 36, "overlap": 2}
    deployed, out = Deployed(), tmp_path / "out"
    parameters = {"request": {**request, **chunks, "destination": str(out)}}
    run = _made(client, deployed, parameters=parameters, tags=[ARRIVAL])
    ledger.set_hours(1e-9)

    with pytest.raises(Pause):
        _work(client, run)
    state = client.read_flow_run(run.id).state
    assert state is not None
    assert (state.name, state.is_scheduled()) == (WAITS, True)
    assert "goes on at" in (state.message or "")
    (folder,) = out.glob(".longtake/runs/*")
    assert RunFolder(folder).prompt_pass() is not None
    assert RunFolder(folder).chunk_record(0) is None
    assert ledger.use().used_s > 0

    with pytest.raises(Pause):  # at once, without any work
        _work(client, run)
    ledger.set_hours(8.0)
    passed = (folder / "prompts.done.json").read_bytes()
    before = ledger.use().used_s
    _work(client, run)
    assert json.loads(passed)["record"]["seconds"] > 0
    timings = read_manifest(out).timings
    assert ledger.use().used_s - before >= timings.tracking * 0.9
    assert before >= timings.prompt_pass * 0.9

    used = ledger.use().used_s
    ledger.set_hours(0.0)
    box = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]}
    mine = {"prompts": box, "stop": 3, "destination": str(tmp_path / "mine")}
    other = {"request": {**request, **mine}}
    by_hand = _made(client, deployed, parameters=other)
    _work(client, by_hand)
    assert read_manifest(tmp_path / "mine").frames == 3
    assert ledger.use().used_s == used
