"""Task: find the objects to track, where a request leaves that to a detector."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.progress.steps import reporter
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.retries import SOURCE_RETRIES
from tasks.settings import load_settings

_log = logging.getLogger(__name__)


@task(
    name="find-objects",
    task_run_name="{request.video_name}: find objects",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # what is found is kept in the work folder
    persist_result=False,
)
def find_objects(request: SegmentRequest) -> int:
    """Find the objects of a request for automatic prompts; how many there are.

    Raises:
        SegmentationError: There are none, or the request cannot be carried out.
    """
    run = resolve_request(
        request,
        cache_dir=load_settings().cache_dir,
        on_download=reporter("downloading the model", "MB", scale=1_000_000),
    )
    for prompt in run.prompts:
        mask_hw = prompt.mask_hw
        share = 0.0 if mask_hw is None else float(mask_hw.mean())
        _log.info(
            "object %d on frame %d: %.1f %% of the picture",
            prompt.obj_id,
            prompt.frame_idx,
            100 * share,
        )
    return len(run.prompts)
