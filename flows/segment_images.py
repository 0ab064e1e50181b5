"""Flow: segment the pictures of a list, shard by shard, and publish their masks as one result."""

import logging
from contextvars import ContextVar
from functools import partial
from typing import cast

from prefect import State, flow, runtime
from prefect.states import Completed

from flows.images.artifact import post_result
from flows.images.devices import DeviceProcesses
from flows.images.plan import PlannedImages, plan_images
from flows.images.request import ImagesRequest
from flows.images.result import ImagesResult, images_result
from flows.images.shards import do_shards, warn_of_broken
from flows.segment_video import WITH_FINDINGS
from flows.server.budget import run_budget, within_budget
from flows.server.deployment import share_run
from flows.server.recovery import check_tries, try_again
from samcore.chunks.plan import Chunk
from samcore.errors import LostWorkError, TransientError
from samcore.picture_runs.joining import add_formats
from samcore.picture_runs.progress import PictureProgress
from samcore.picture_runs.records import PictureManifest
from samcore.progress import counted, listening
from tasks.progress.artifact import steps_artifact
from tasks.publish_images import publish_images
from tasks.results.open import open_result_store
from tasks.run.mirror import open_mirror
from tasks.run.refs import lock_result
from tasks.segment_shard import segment_shard
from tasks.tracking.device_lock import using_device

_log = logging.getLogger(__name__)
_MAX_BROKEN = 3
"""Broken pictures that a state's message tells of."""
_TURNS = 3
"""Work that is lost again and again is for a person to look at."""

_planned: ContextVar[PlannedImages | None] = ContextVar("planned_images", default=None)
"""The run that a command has planned before it called the flow, which then need not."""


@flow(name="segment-images", flow_run_name="{request.name}: segment", persist_result=False)
def segment_images(request: ImagesRequest) -> ImagesResult:
    """Segment any number of pictures by prompts, by text, or everything on them, and publish their
    masks.

    Run it again after whatever stopped it, and it goes on with the shards that are not done; run
    it again after it finished, and it does nothing. One bad picture never stops the rest. Several
    processes with the same request share the shards.

    Args:
        request: What to segment on which pictures, and where the masks go.

    Raises:
        SegmentationError: Something that the person who asked can put right, in one line.
    """
    check_tries()
    try:
        with within_budget(), listening(steps_artifact(str(runtime.flow_run.id))):
            return cast(ImagesResult, end_state(_segment(request)))
    except TransientError as error:
        return cast(ImagesResult, try_again(error))


def segment_planned(request: ImagesRequest, planned: PlannedImages) -> ImagesResult:
    """Call the flow for a request that this process has planned."""
    token = _planned.set(planned)
    try:
        return segment_images(request)
    finally:
        _planned.reset(token)


def end_state(result: ImagesResult) -> State[ImagesResult]:
    """The state that a run ends in: its name tells a result with broken pictures from one
    without."""
    if not result.broken:
        return Completed(message=f"{counted(result.masks, 'mask')}", data=result)
    named = "; ".join(f"{one.name}: {one.error}" for one in result.first_broken[:_MAX_BROKEN])
    message = f"{counted(result.broken, 'picture')} without masks because of a fault: {named}"
    return Completed(name=WITH_FINDINGS, message=message, data=result)


def _segment(request: ImagesRequest) -> ImagesResult:
    run = _planned.get() or plan_images(request)
    record = run.record
    _log.info(
        "run %s: %s in %s, %s on %s",
        *(record.work_key, counted(record.count, "picture")),
        *(counted(len(record.shards), "shard"), record.model.name, ", ".join(run.devices)),
    )
    manifest = run.published()
    was_there = manifest is not None
    if not was_there and request.workers > 1:
        share_run(
            request.workers - 1,
            {"request": request.model_dump(mode="json") | {"workers": 1, "dtype": record.dtype}},
        )
    turn = 1
    while manifest is None:
        manifest = run.lay_out()
        if manifest is not None:
            break
        try:
            _do_shards(run)
            manifest = _publish(run, force=request.force)
        except LostWorkError as error:
            if turn == _TURNS:
                raise
            _log.warning("work was lost, and is done again: %s", error)
            turn += 1
    store = open_result_store(run.ref, kind=PictureManifest)
    manifest = add_formats(store, manifest, run.entries, request.formats)
    post_result(store, manifest, run.ref.video)
    return images_result(run.ref, manifest, was_there=was_there)


def _do_shards(run: PlannedImages) -> None:
    """See that every shard is done: here, by a process on each further device, or by another
    process with the same request."""
    mirror = open_mirror(run.ref)
    if mirror is not None:
        mirror.pull_shards(run.folder, [shard.index for shard in run.record.shards])
    todo = [shard for shard in run.record.shards if not run.folder.finished_shard(shard.index)]
    if not todo:
        return
    progress = PictureProgress(run.record.count, todo)
    device, *more = run.devices[: len(todo)]

    def do(shard: Chunk) -> None:
        progress.at(shard, 0)
        mark = run.folder.attempt_path(shard.index)
        with run_budget().working(mark, devices=1 + len(more)):
            done = segment_shard(run.ref, shard.index, partial(progress.at, shard), device)
        warn_of_broken(done)

    with (
        DeviceProcesses(run, more, progress) as others,
        using_device(device, unless=others.nothing_left),
    ):
        do_shards(run, todo, do, on_end=progress.end, wait=others.wait)


def _publish(run: PlannedImages, *, force: bool) -> PictureManifest:
    """Publish, unless another process has done so; the manifest that lies there."""

    def say() -> None:
        _log.warning("another process publishes this result: waiting")

    with run.folder.lock(on_wait=say), lock_result(run.ref, on_wait=say):
        found = run.published()
        if found is None:
            publish_images(run.ref, force)
            found = run.published()
    if found is None:
        raise LostWorkError(f"the result in {run.ref.destination} was replaced meanwhile")
    return found
