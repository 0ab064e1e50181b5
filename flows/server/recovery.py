"""Have Prefect run again what a crash ended: three automations on the server.

A worker that is alive reports a flow process that died; one that died itself reports nothing, and
its runs would stay Running for ever, or Pending if they had not begun. So: a run whose heartbeats
stop is a crashed one, so is one that a worker took and never began, and a crashed one is scheduled
again, under the same id, and goes on from its run folder.

A server can lose events: SQLite is locked when many write, and what a server heard before it was
killed it does not go on from for 15 minutes or more (Prefect 3.8 holds events back until their
predecessors have come). So `flows.recover_runs` looks at the runs themselves and does the same.
"""

import logging
from datetime import timedelta
from typing import Any

from prefect import runtime
from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, StateType
from prefect.states import Crashed

from samcore.errors import SegmentationError, TransientError
from tasks.settings import load_settings

_log = logging.getLogger(__name__)

RECOVERED_FLOWS = ("segment-video", "segment-images", "watch-stream")
"""The flows that can be run again at any time."""
MAX_TRIES = 50
"""Of one flow run. A long video on machines that come and go may need many; one that kills its
machine each time must not do so for ever."""
SILENCE = timedelta(minutes=10)
"""A run that has sent no heartbeat for so long is dead. One comes every 3 minutes, or as often as
`PREFECT_FLOWS_HEARTBEAT_FREQUENCY` says where the run is."""
BEGIN = timedelta(minutes=30)
"""From the moment that a worker takes a run until it begins. The node of a cluster may have to be
started, and a large image be fetched."""

_ENDED = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}
_WAITING = {f"prefect.flow-run.{name}" for name in ("Cancelling", "Scheduled", "AwaitingRetry")}
_MOVED = {
    f"prefect.flow-run.{name}"
    for name in (
        *("Completed", "Failed", "Cancelled", "Cancelling"),
        *("Scheduled", "AwaitingRetry", "Pending", "Running"),
    )
}


def rest_setting() -> timedelta:
    """From a crash to the next try: `LONGTAKE_RECOVERY_REST_S`, or 5 minutes.

    A worker that has reported a crash looks for hooks of the flow, in a process that imports it,
    torch and all: seconds, but a minute or two from a cold disk. Given the run again before it is
    done with that, it drops the run, or ends itself (Prefect 3.8).
    """
    return timedelta(seconds=load_settings().recovery_rest_s)


class TooManyTriesError(SegmentationError, RuntimeError):
    """A run crashes again and again."""


def check_tries() -> None:
    """End a run that was ended from outside so often that it will not come to its end.

    Raises:
        TooManyTriesError: This is one try too many of the present flow run.
    """
    if (runtime.flow_run.run_count or 1) > MAX_TRIES:
        raise TooManyTriesError(
            f"this run has crashed {MAX_TRIES} times: its log and its worker's say why (too "
            "little memory?); start it anew when that is put right, and it goes on from here"
        )


def try_again(error: TransientError) -> State[Any]:
    """The state that a run ends in for something that may pass; without a deployment the error is
    raised.

    No person has to act: what schedules crashed runs again does so with this one, too.
    """
    if not runtime.deployment.id:
        raise error
    _log.error("%s", error)
    return Crashed(message=f"will be tried again: {error}")


def install_recovery(
    flows: tuple[str, ...] = RECOVERED_FLOWS,
    *,
    silence: timedelta = SILENCE,
    rest: timedelta | None = None,
    begin: timedelta = BEGIN,
) -> None:
    """Put the automations on the Prefect server; those that are there are brought up to date.

    Args:
        flows: Names of flows.
        silence: Without a heartbeat for so long a run counts as crashed; at least 10 s.
        rest: From a crash to the next try, at least 10 s; None is `rest_setting`.
        begin: From the moment that a worker takes a run until it begins; at least 10 s.
    """
    with get_client(sync_client=True) as client:
        for automation in _automations(flows, silence, rest or rest_setting(), begin):
            put_automation(client, automation)


def put_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Put an automation on the Prefect server; one of its name is brought up to date."""
    known = client.read_automations_by_name(automation.name)
    # One that is deleted forgets which runs it waits for.
    if any(_content(one) == _content(automation) for one in known):
        return
    for one in known:
        client.delete_automation(one.id)
    client.create_automation(automation)


def _content(automation: AutomationCore) -> dict[str, Any]:
    """What it does, to be compared; whether it is switched off is a person's affair."""
    fields = {"name", "description", "trigger", "actions"}
    content = automation.model_dump(mode="json", include=fields, exclude={"trigger": {"id"}})
    for name in ("after", "expect", "for_each"):
        content["trigger"][name] = sorted(content["trigger"][name])
    return content


def _automations(
    flows: tuple[str, ...], silence: timedelta, rest: timedelta, begin: timedelta
) -> tuple[AutomationCore, ...]:
    of_these: dict[str, str | list[str]] = {
        "prefect.resource.role": "flow",
        "prefect.resource.name": list(flows),
    }
    return (
        AutomationCore(
            name="longtake: a run without heartbeats has crashed",
            description="Its worker died with it and cannot report the crash.",
            trigger=EventTrigger(
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=of_these,
                for_each={"prefect.resource.id"},
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat", *_ENDED},
                posture=Posture.Proactive,
                threshold=1,
                within=silence,
            ),
            actions=[
                ChangeFlowRunState(
                    name="Crashed",
                    state=StateType.CRASHED,
                    message="no heartbeat: its worker is gone",
                    force=False,
                )
            ],
        ),
        AutomationCore(
            name="longtake: a run that does not begin has crashed",
            description="Its worker died before it could start it.",
            trigger=EventTrigger(
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=of_these,
                for_each={"prefect.resource.id"},
                after={"prefect.flow-run.Pending"},
                expect={"prefect.flow-run.Running", *_ENDED, *_WAITING},
                posture=Posture.Proactive,
                threshold=1,
                within=begin,
            ),
            actions=[
                ChangeFlowRunState(
                    name="Crashed",
                    state=StateType.CRASHED,
                    message="taken by a worker, and never begun: that worker is gone",
                    force=False,
                )
            ],
        ),
        AutomationCore(
            name="longtake: a crashed run goes on",
            description="A killed process, an evicted pod, a machine that went away: the run is "
            "scheduled again and goes on from its last finished chunk, or from where it was "
            "stopped in one.",
            trigger=EventTrigger(
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=of_these,
                for_each={"prefect.resource.id"},
                after={"prefect.flow-run.Crashed"},
                expect=_MOVED,
                posture=Posture.Proactive,
                threshold=1,
                within=rest,
            ),
            actions=[
                ChangeFlowRunState(
                    name="AwaitingRetry",
                    state=StateType.SCHEDULED,
                    message="goes on where it was",
                    force=False,
                )
            ],
        ),
    )
