"""When a run is scheduled again, and when it is left alone: runs in all states, and no worker."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events import Event, RelatedResource, Resource
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running

from flows import recover_runs as recover_module
from flows.recover_runs import recover, recover_runs
from flows.server.deployment import Deployment
from flows.server.recovery import MAX_TRIES, TooManyTriesError, check_tries, install_recovery
from tests.servers.aws import AwsServer
from tests.servers.deployed import Deployed

SHORTEST = timedelta(seconds=10)
AT_ONCE: dict[str, Any] = {
    name: timedelta(0) for name in ("crashed_for", "pending_for", "silent_for")
}
LIMIT_S = 200.0
PLACE = {"source": "a.mp4", "automatic": {"max_objects": 3}, "destination": "out"}


def _heartbeat(run: FlowRun) -> None:
    """What Prefect's engine sends for a run that is alive."""
    with get_client(sync_client=True) as client:
        event = Event(
            event="prefect.flow-run.heartbeat",
            resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run.id}"}),
            related=[
                RelatedResource(
                    {
                        "prefect.resource.id": f"prefect.flow.{run.flow_id}",
                        "prefect.resource.role": "flow",
                        "prefect.resource.name": "segment-video",
                    }
                )
            ],
            occurred=datetime.now(timezone.utc),
        )
        client.request("POST", "/events", json=[event.model_dump(mode="json")])


def _states(deployed: Deployed) -> dict[UUID, str | None]:
    return {run.id: run.state_name for run in deployed.runs()}


def _wait_for(what: str, found: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not found():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.2)


@pytest.mark.slow
def test_the_automations_tell_the_dead_from_the_living(automations: None) -> None:
    """A run that crashed is scheduled again; one whose heartbeats end, and one that a worker took
    and never began, count as crashed, and are, too. One that gives signs of life, one that waits
    for a worker and those that have ended are left alone all the while."""
    install_recovery(silence=SHORTEST, rest=SHORTEST, begin=SHORTEST)
    deployed = Deployed()
    crashed, silent, taken, alive, waits, cancelled, failed = (
        deployed.ask(**PLACE) for _ in range(7)
    )
    for run in (silent, alive):
        deployed.leave(run, Running())
        _heartbeat(run)
    deployed.leave(crashed, Crashed())
    deployed.leave(taken, Pending())
    deployed.leave(cancelled, Cancelled())
    deployed.leave(failed, Failed())

    def all_go_on() -> bool:
        _heartbeat(alive)
        states = _states(deployed)
        return {states[run.id] for run in (crashed, silent, taken)} == {"AwaitingRetry"}

    _wait_for("the next tries", all_go_on)
    states = _states(deployed)
    assert states[alive.id] == "Running"
    assert states[waits.id] in ("Scheduled", "Late")
    assert (states[cancelled.id], states[failed.id]) == ("Cancelled", "Failed")


def test_installed_again_it_is_there_once(automations: None) -> None:
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


def test_left_runs_are_found_whoever_asked(prefect_api: str) -> None:
    """Without any event: what crashed, and what was taken and never begun, is scheduled again under
    its own id; not at once, since an automation may do so, or the run may be about to begin. All
    others are left alone, and so is one that says it runs and has given no sign of life yet: it may
    be reading a long video."""
    deployed = Deployed()
    left = {run.id for run in (deployed.ask(**PLACE) for _ in range(3))}
    for run, state in zip(
        deployed.runs(), (Crashed(), Pending(), Pending(name="Submitting")), strict=True
    ):
        deployed.leave(run, state)
    for state in (Running(), Completed(), Failed(), Cancelled()):
        deployed.leave(deployed.ask(**PLACE), state)
    deployed.ask(**PLACE)
    before = _states(deployed)

    assert recover_runs.fn(deployed.name) == 0
    assert _states(deployed) == before
    with Deployment(deployed.name) as opened:
        assert recover(opened, **AT_ONCE) == 3
        assert recover(opened, **AT_ONCE) == 0
    after = _states(deployed)
    assert {id_ for id_, state in after.items() if state == "AwaitingRetry"} == left
    assert {id_: after[id_] for id_ in after if id_ not in left} == {
        id_: before[id_] for id_ in before if id_ not in left
    }


def test_a_running_run_without_heartbeats_goes_on(prefect_api: str) -> None:
    """One whose machine went away is scheduled again when its last heartbeat is old enough."""
    deployed = Deployed()
    run = deployed.ask(**PLACE)
    deployed.leave(run, Running())
    _heartbeat(run)
    with Deployment(deployed.name) as opened:
        (known,) = opened.runs("RUNNING")
        _wait_for("the event", lambda: opened.last_heartbeat(known))
        assert recover(opened, **{**AT_ONCE, "silent_for": timedelta(hours=1)}) == 0
        assert recover(opened, **AT_ONCE) == 1
    assert _states(deployed) == {run.id: "AwaitingRetry"}


def test_a_running_run_without_beats_goes_on(prefect_api: str, aws: AwsServer) -> None:
    """The same where the last sign of life is the lease beside the result; a run whose bucket
    cannot be read keeps no other one from its turn."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="results")
    deployed = Deployed()
    elsewhere = deployed.ask(**{**PLACE, "destination": "s3://no-such-bucket/a"})
    run = deployed.ask(**{**PLACE, "destination": "s3://results/a"})
    for one in (elsewhere, run):
        deployed.leave(one, Running())
    with Deployment(deployed.name) as opened:
        assert recover(opened, **AT_ONCE) == 0
        s3.put_object(Bucket="results", Key=f"a/.longtake/runs/{'0' * 32}/lease.json", Body=b"{}")
        assert recover(opened, **{**AT_ONCE, "silent_for": timedelta(hours=1)}) == 0
        _wait_for("a second", lambda: recover(opened, **AT_ONCE))  # the store tells whole seconds
    assert _states(deployed) == {elsewhere.id: "Running", run.id: "AwaitingRetry"}


def test_a_run_that_kills_its_machine_does_not_come_back_for_ever(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After as many tries as a run may have, and the one that would have said so, it stays."""
    monkeypatch.setattr(recover_module, "MAX_TRIES", 1)
    deployed = Deployed()
    run = deployed.ask(**PLACE)
    with Deployment(deployed.name) as opened:
        for scheduled in (1, 0):
            deployed.leave(run, Running())
            deployed.leave(run, Crashed())
            assert recover(opened, **AT_ONCE) == scheduled
