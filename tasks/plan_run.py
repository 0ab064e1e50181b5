"""Task: turn a request into an exact run and lay out its folder."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.retries import SOURCE_RETRIES
from tasks.run.records import RunRef
from tasks.settings import load_settings


@task(
    name="plan-chunks",
    task_run_name="{request.video_name}: plan",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # what takes long is kept: the frames' index, the objects that are found
    persist_result=False,
)
def plan_run(request: SegmentRequest) -> RunRef:
    """Probe the video, find objects if that is asked, choose what the request leaves open, and cut
    the video into chunks; where the run is.

    What can be seen to be wrong with the request before the video is scanned is said before it.

    Raises:
        SegmentationError: The request cannot be carried out.
    """
    return resolve_request(request, cache_dir=load_settings().cache_dir).lay_out()
