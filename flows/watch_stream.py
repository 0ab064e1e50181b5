"""Flow: track objects in a stream without an end; Prefect runs it again where it dies."""

import logging
from typing import cast

from prefect import flow, runtime

from flows.server.recovery import try_again
from flows.streams.plan import check_watch, plan_watch
from flows.streams.request import WatchRequest
from samcore.errors import InputError, TransientError
from samcore.machine.stopping import run_stoppable
from samcore.progress import counted, listening
from samcore.streams.session import WatchSession
from samcore.streams.tally import WatchSummary
from tasks.progress.artifact import steps_artifact, tracking_artifact
from tasks.tracking.device_lock import using_device

_log = logging.getLogger(__name__)


@flow(name="watch-stream", flow_run_name="{request.name}: watch", persist_result=False)
def watch_stream(request: WatchRequest) -> WatchSummary:
    """Track objects in a stream without an end, and publish a result each hour.

    It ends with the stream. A run that is stopped publishes what it has; one that dies loses one
    chunk at most, which is marked as a gap; either goes on with the same objects and ids when it is
    run again. A source that is not there is waited for.

    Args:
        request: Which stream to watch, what to track in it, and where results go.

    Raises:
        SegmentationError: Something that the person who asked can put right, in one line.
    """
    source = request.live_source
    if source.kind == "pipe":
        raise InputError("a flow has no standard input: use `longtake watch -` on the machine")
    if source.has_login:
        raise InputError(
            f"wanted an address without a user, got one for {source.shown}, which would be kept "
            "with the run; set LONGTAKE_STREAM_LOGIN to user:password where the run is"
        )
    try:
        with listening(steps_artifact(str(runtime.flow_run.id))):
            return _watch(request)
    except TransientError as error:
        return cast(WatchSummary, try_again(error))


def _watch(request: WatchRequest) -> WatchSummary:
    place = str(request.destination_place)
    plan = plan_watch(request, check_watch(request), patient=True)

    def say(name: str, frames: int) -> None:
        _log.info("masks on %s: %s/%s", counted(frames, "frame"), place, name)

    with listening(tracking_artifact(plan.key)), using_device(plan.settings.device):
        return run_stoppable(
            lambda stop: WatchSession(
                plan, stop, destination=place, force=request.force, on_published=say
            ).run()
        )
