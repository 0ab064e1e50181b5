"""Task: turn the request into an exact run and lay out its folder."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.progress.events import counted
from tasks.progress.steps import reporter
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.retries import SOURCE_RETRIES
from tasks.run.records import RunRef
from tasks.settings import load_settings

_log = logging.getLogger(__name__)


@task(
    name="plan-chunks",
    task_run_name="{request.video_name}: plan",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # takes no time worth saving
    persist_result=False,
)
def plan_run(request: SegmentRequest) -> RunRef:
    """Check the request, choose what it leaves open, cut the video into chunks; where the run is.

    Raises:
        SegmentationError: The request cannot be carried out.
    """
    run = resolve_request(
        request,
        cache_dir=load_settings().cache_dir,
        on_download=reporter("downloading the model", "MB", scale=1_000_000),
    )
    run.folder.create(run.record, run.video.info, run.prompts, run.video.names)
    _log.info(
        "run %s: %s in %s, %s, %s on %s",
        run.record.work_key,
        counted(run.record.stop - run.record.start, "frame"),
        counted(len(run.record.chunks), "chunk"),
        counted(len(run.record.objects), "object"),
        run.record.model.name,
        run.record.settings.device,
    )
    return run.ref
