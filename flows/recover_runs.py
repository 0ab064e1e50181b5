"""Flow: look for runs that dead processes have left, and schedule them again.

The automations of `flows.server.recovery` do so within minutes, if the events that they wait for
arrive. This asks the server for the runs themselves, so that a lost event costs time and no run.
It does not matter who asked for a run: a person, the listener or the sweep.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from prefect import flow

from flows.arrivals.video_runs import DEPLOYMENT
from flows.server.deployment import Deployment, NotDeployedError, ServerAwayError, StartedRun
from flows.server.recovery import BEGIN, MAX_TRIES, rest_setting
from samcore.errors import SegmentationError
from tasks.store.lease import LEASE
from tasks.store.locations import S3Location, parse_location
from tasks.store.object_store import ObjectStore

_log = logging.getLogger(__name__)

SPARE = timedelta(seconds=30)
"""An automation that is awake is quicker by this than `recover`."""
PENDING_FOR = BEGIN + timedelta(minutes=5)
"""A worker has taken a run, and for so long it has not begun: that worker is gone."""
SILENT_FOR = timedelta(minutes=30)
"""A run is said to be running, and for so long there was no sign of its process: its machine is
gone. S3 lets clocks differ by 15 minutes."""


@flow(
    name="recover-runs",
    flow_run_name="recover {deployment}",
    persist_result=False,
    # A server that is busy for a moment is not worth a failed run, of which somebody may be told.
    retries=2,
    retry_delay_seconds=20,
)
def recover_runs(deployment: str = DEPLOYMENT) -> int:
    """Schedule the runs of a deployment again that dead processes have left; returns how many.

    A run that crashed is scheduled again, and so is one that was taken by a worker and never begun,
    or is said to be running though no process works at it. It continues after its last finished
    chunk. One that failed, or was cancelled, is left alone.

    Args:
        deployment: Whose runs are looked at, as FLOW/DEPLOYMENT.

    Raises:
        SegmentationError: Something that a person can put right, in one line.
    """
    with Deployment(deployment) as opened:
        return recover(opened)


def recover(
    deployment: Deployment,
    *,
    crashed_for: timedelta | None = None,
    pending_for: timedelta | None = None,
    silent_for: timedelta | None = None,
) -> int:
    """Schedule again what dead processes have left; returns how many runs.

    Args:
        deployment: Whose runs are looked at.
        crashed_for: Leave a run alone that crashed later than so long ago, since an automation may
            be about to schedule it. None: the rest after a crash, and `SPARE`.
        pending_for: The same of one that was taken, and has not begun. None: `PENDING_FOR`.
        silent_for: The same of one that runs, counted from the last sign of its process. None:
            `SILENT_FOR`.

    Raises:
        NotDeployedError: There is no such deployment.
        ServerAwayError: The server does not answer.
    """
    lasts = {
        "CRASHED": rest_setting() + SPARE if crashed_for is None else crashed_for,
        "PENDING": PENDING_FOR if pending_for is None else pending_for,
        "RUNNING": SILENT_FOR if silent_for is None else silent_for,
    }
    recovered = 0
    for run in deployment.runs(*lasts):
        try:
            last = _last_sign(deployment, run)
            is_left = last is not None and datetime.now(timezone.utc) - last > lasts[run.state]
            # One more try than that would end by `check_tries`; one that crashes before it gets
            # there must not come back for ever.
            if not is_left or run.tries > MAX_TRIES or not deployment.restart(run):
                continue
        except (ServerAwayError, NotDeployedError):
            raise
        except SegmentationError as error:
            # A run whose bucket cannot be read must not keep the others from their turn.
            _log.error("run %r: %s", run.name, error)
            continue
        _log.warning(
            "run %r was %s since %s: scheduled again, it goes on where it was",
            *(run.name, run.state.lower(), f"{run.since:%Y-%m-%d %H:%M:%S %Z}"),
        )
        recovered += 1
    return recovered


def _last_sign(deployment: Deployment, run: StartedRun) -> datetime | None:
    """When a run was last known to be alive. None for one that runs and has given no sign yet: it
    may be on a machine that sends none, and read a long video."""
    if run.state != "RUNNING":
        return run.since
    signs = [deployment.last_heartbeat(run), _last_beat(run)]
    seen = [sign for sign in signs if sign is not None]
    return max([run.since, *seen]) if seen else None


def _last_beat(run: StartedRun) -> datetime | None:
    """When the machine at a run last wrote its lease beside the result; None if it wrote none."""
    request = run.parameters.get("request")
    if not isinstance(request, Mapping) or not isinstance(request.get("destination"), str):
        return None
    destination = parse_location(request["destination"])
    if not isinstance(destination, S3Location):
        return None
    work = destination.join(".longtake/runs")
    store = ObjectStore(request.get("credentials"))
    found = store.list(S3Location(work.bucket, work.key + "/"))
    beats = [info.last_modified for info in found if info.location.name == LEASE]
    return max(beats, default=None)
