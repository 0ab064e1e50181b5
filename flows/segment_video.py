"""Flow: track objects through one video, chunk by chunk, and publish their masks."""

import contextlib
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import cast

from prefect import State, flow, runtime
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.chunk_checks import ChunkChecks
from flows.server.budget import run_budget, within_budget
from flows.server.deployment import default_request
from flows.server.recovery import check_tries, try_again
from flows.units import clear_units, track_units
from samcore.chunks.handoff import find_handoff
from samcore.disk.janitor import remove_half_written
from samcore.errors import LostWorkError, SegmentationError, TransientError
from samcore.failures import Failures
from samcore.progress import counted, listening
from samcore.run.backward import backward_pass
from samcore.run.folder import RunFolder
from samcore.run.units import unit_indices
from tasks.add_output import add_output
from tasks.clear_work import clear_work
from tasks.encode_prompts import encode_prompts
from tasks.fetch_chunks import fetch_chunks
from tasks.plan_run import log_planned, plan_run
from tasks.progress.artifact import steps_artifact, tracking_artifact
from tasks.publish import drop_work, publish
from tasks.request.segment_request import SegmentRequest, choose_prompts
from tasks.results.artifacts import drawing_picture, post_artifacts
from tasks.results.open import find_result
from tasks.results.outputs import OVERLAY_NAME, REPORT_NAME
from tasks.run.refs import ResultRef, RunRef, backward_ref, lock_result
from tasks.store.lease import LeaseLostError, leased
from tasks.track_chunk import track_chunk
from tasks.tracking.device_lock import using_device
from tasks.tracking.taken import take_finished

_log = logging.getLogger(__name__)

WITH_FINDINGS = "CompletedWithFindings"
"""Name of the state of a run whose result somebody should look at; its type is COMPLETED."""
_MAX_FINDINGS = 3
"""Findings that a state's message tells of."""

_planned: ContextVar[tuple[SegmentRequest, RunRef] | None] = ContextVar("planned", default=None)
"""The run that a command has planned before it called the flow, which then need not."""

_TURNS = 3
"""Work that is lost again and again is for a person to look at."""


@flow(
    name="segment-video",
    flow_run_name="{request.video_name}: segment",
    # Two are enough: one chunk's seam and files, while the flow's own thread tracks the next.
    task_runner=ThreadPoolTaskRunner(max_workers=2),  # type: ignore[arg-type]  # theirs is invariant
    persist_result=False,
)
def segment_video(request: SegmentRequest) -> ResultRef:
    """Track objects through a video of any length and publish their masks.

    Run it again after whatever stopped it, and it goes on from the last finished chunk; run it
    again after it finished, and it does nothing.

    Args:
        request: Which objects in which video, and where the masks go.

    Raises:
        SegmentationError: Something that the person who asked can put right, in one line.
    """
    check_tries()
    try:
        with within_budget(), listening(steps_artifact(str(runtime.flow_run.id))):
            return cast(ResultRef, end_state(_segment(_with_one_choice(request))))
    except TransientError as error:
        return cast(ResultRef, try_again(error))


def segment_planned(request: SegmentRequest, run: RunRef | None) -> ResultRef:
    """Call the flow for a request that this process has planned; for None the flow does that."""
    token = _planned.set(None if run is None else (request, run))
    try:
        return segment_video(request)
    finally:
        _planned.reset(token)


def end_state(result: ResultRef) -> State[ResultRef]:
    """The state that a run ends in: its name tells a result with findings from one without."""
    findings = result.findings
    if findings is None:
        return Completed(data=result)
    if not findings.total:
        odd = "nothing odd was found in the masks"
        none = "no detector found an object that stayed"
        return Completed(message=odd if result.objects else none, data=result)
    lines = "; ".join(findings.lines(_MAX_FINDINGS))
    message = f"{counted(findings.total, 'finding')} to look at: {lines}"
    return Completed(name=WITH_FINDINGS, message=message, data=result)


def _with_one_choice(request: SegmentRequest) -> SegmentRequest:
    """The request without the default of its deployment that somebody has chosen against."""
    if not request.names_objects or request.automatic is None:
        return request
    chosen = choose_prompts(request, default_request(runtime.deployment.id))
    if chosen == request:
        return request
    kept, left = ("prompts", "automatic") if chosen.automatic is None else ("automatic", "prompts")
    _log.info("%s of this run count; %s of the deployment do not", kept, left)
    return chosen


def _segment(request: SegmentRequest) -> ResultRef:
    run = _plan(request)
    folder = RunFolder.from_ref(run)
    with folder.lock(on_wait=_say_another), lock_result(run, on_wait=_say_another):
        while True:
            try:
                with leased(run, on_wait=_say_who) as held:
                    return _work(run, request, folder, held)
            except LeaseLostError as error:
                _log.warning("%s", error)


def _plan(request: SegmentRequest) -> RunRef:
    """The run that a command has planned for this request, else one that is planned now."""
    asked, run = _planned.get() or (None, None)
    if run is None or asked != request:
        return plan_run(request)
    log_planned(run)
    return run


def _say_another() -> None:
    _log.warning("another process is at this run: waiting")


def _say_who(machine: str) -> None:
    _log.warning("%s is at this run: waiting", machine)


def _work(
    run: RunRef, request: SegmentRequest, folder: RunFolder, held: Callable[[], None]
) -> ResultRef:
    """Do what is not done yet. Only with the lock and the lease held."""
    remove_half_written(folder.path)
    result = find_result(run, folder.record())
    if result is None:
        result = _track_and_publish(run, request, folder, held)
    elif not result.superseded:
        drop_work(run)  # who published it may have been killed before, or have kept states
    if not result.superseded:
        try:
            result = _complete(run, request, result)
        except SegmentationError:
            # Another version's result may have taken this one's place meanwhile.
            there = find_result(run, folder.record())
            if there is None or not there.superseded:
                raise
            result = there
    if result.superseded:
        _log.warning(
            "%s was replaced: the result in %s, of another version of it, stays as it is",
            *(request.source_place, request.destination_place),
        )
    clear_units(run, folder)
    if run.in_bucket:
        clear_work(run, keep_folder=request.work_dir is not None)
    return result


def _track_and_publish(
    run: RunRef, request: SegmentRequest, folder: RunFolder, held: Callable[[], None]
) -> ResultRef:
    """Do it; what turns out to be gone or damaged on the way is made again."""
    turn = 1
    while True:
        try:
            _track(run, request, folder, held)
            return publish(run, request)
        except LostWorkError as error:
            if turn == _TURNS:
                raise
            _log.warning("work was lost, and is done again: %s", error)
            plan_run(request)  # writes down again what was asked
            turn += 1


def _complete(run: RunRef, request: SegmentRequest, result: ResultRef) -> ResultRef:
    """Add to the masks what was asked for beside them; what fails is said after all the rest."""
    failures = Failures()
    names = [OVERLAY_NAME] * request.wants_overlay + [*request.export_formats]
    names += [REPORT_NAME] * request.report
    with drawing_picture(run) as picture:
        if names:
            with failures.collected():
                add_output(run, *names)
    with failures.collected():
        post_artifacts(run, picture)
    failures.say()
    return result.model_copy(
        update={
            "has_overlay": result.has_overlay or request.wants_overlay,
            "has_report": result.has_report or request.report,
            "exports": tuple(sorted({*result.exports, *request.export_formats})),
        }
    )


def _track(
    run: RunRef, request: SegmentRequest, folder: RunFolder, held: Callable[[], None]
) -> None:
    """Track what is not done yet; check and publish each chunk while the next is tracked."""
    if run.in_bucket:
        fetch_chunks(run)
    correction = take_finished(run)
    record = folder.record()
    if unit_indices(record):
        with listening(tracking_artifact(run.key)):
            track_units(run, request, folder, held)
        return
    if request.runner != "here":
        _log.warning(
            "nothing to share out among workers: chunks are tracked one after another, here; "
            "--shards shares out objects, --handoff match chunks"
        )
    hands_on_state = find_handoff(record.handoff).hands_on_state
    todo = folder.plan_work(with_states=hands_on_state)
    checks = ChunkChecks(run, request)
    with contextlib.ExitStack() as stack:
        stack.enter_context(listening(tracking_artifact(run.key)))
        if todo:
            stack.enter_context(using_device(record.settings.device))
        if hands_on_state and (0 in todo or (todo and correction)):
            if folder.prompt_pass() is None:
                run_budget().count(record.finding_seconds or 0.0)
            with run_budget().working(folder.prompt_attempt_path):
                encode_prompts(run)
        for chunk in record.chunks:
            held()
            with _working(folder, chunk.index in todo, chunk.index):
                track_chunk(run, chunk.index)
            checks.begin(chunk.index)
    checks.wait()
    mirror = backward_pass(folder)
    if mirror is not None:
        remove_half_written(mirror.path)
        _track(backward_ref(run, mirror), request, mirror, held)


def _working(
    folder: RunFolder, is_left: bool, index: int
) -> contextlib.AbstractContextManager[None]:
    """Keeps to the budget, and counts, while a chunk is tracked that is not done yet."""
    if not is_left:
        return contextlib.nullcontext()
    return run_budget().working(folder.attempt_path(index))
