"""Task: find out about every frame of the video."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.progress.steps import reporter
from tasks.request.early_checks import check_request
from tasks.request.segment_request import SegmentRequest
from tasks.retries import SOURCE_RETRIES
from tasks.run.mirror import open_mirror
from tasks.settings import load_settings
from tasks.sources.opened import open_source

_log = logging.getLogger(__name__)


@task(
    name="probe-video",
    task_run_name="{request.video_name}: probe",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # the index of the frames is kept in the work folder
    persist_result=False,
)
def probe_video(request: SegmentRequest) -> int:
    """Scan the video, or read what an earlier scan found; the number of its frames.

    What can be seen to be wrong with the request before the scan is said before it.

    Raises:
        SegmentationError: The request cannot be carried out, or the video not be read.
    """
    check_request(request, cache_dir=load_settings().cache_dir)
    info = open_source(
        request.source_place,
        request.work_path,
        credentials=request.credentials,
        version=request.source_version,
        mirror=open_mirror(request.destination_place, request.credentials),
        stretch=request.settings.stretch,
        on_progress=reporter("scanning the video", "frames"),
        on_fetch=reporter("downloading the video", "MB", scale=1_000_000),
    ).info
    _log.info("%s: %d frames, %d x %d", info.source, info.num_frames, info.width, info.height)
    for remark in info.remarks:
        _log.warning("%s: %s", info.source, remark)
    if info.damaged is not None:
        _log.warning(
            "%s is damaged, found %d frames: %s", info.source, info.num_frames, info.damaged
        )
    if info.left_out is not None:
        _log.warning(
            "%s: its %d %s files are the frames; left out: %s",
            *(info.source, info.num_frames, info.codec.upper(), info.left_out),
        )
    if info.is_nearly_black and not request.settings.stretch:
        _log.warning(
            "%s: only %s of 16 bits are in use, so the pictures are nearly black: --stretch uses "
            "those",
            *(info.source, info.used_bits),
        )
    return info.num_frames
