"""Task: turn a request into an exact run and lay out its folder."""

import logging

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from samcore.progress import counted
from samcore.run.early import early_chunks
from samcore.run.folder import RunFolder
from samcore.video import VideoInfo
from tasks.progress.artifact import tracking_artifact
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.retries import SOURCE_RETRIES
from tasks.run.refs import RunRef
from tasks.settings import load_settings

_log = logging.getLogger(__name__)


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
    run = resolve_request(
        request,
        cache_dir=load_settings().cache_dir,
        on_probe=lambda video: _log_video(video, stretch=request.settings.stretch),
        watching=tracking_artifact if runtime.flow_run.id else None,
    ).lay_out()
    _log_plan(RunFolder.from_ref(run))
    return run


def log_planned(run: RunRef) -> None:
    """Write to the run's log what `plan_run` writes, of a run that was planned before."""
    folder = RunFolder.from_ref(run)
    _log_video(folder.video(), stretch=folder.record().settings.stretch)
    _log_plan(folder)


def _log_video(info: VideoInfo, *, stretch: bool) -> None:
    _log.info("%s: %d frames, %d x %d", info.source, info.num_frames, info.width, info.height)
    if info.parts_line is not None:
        _log.info("%s", info.parts_line)
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
    if info.is_nearly_black and not stretch:
        _log.warning(
            "%s: only %s of 16 bits are in use, so the pictures are nearly black: --stretch uses "
            "those",
            *(info.source, info.used_bits),
        )


def _log_plan(folder: RunFolder) -> None:
    record = folder.record()
    if any(item.source == "automatic" for item in record.objects):
        info = folder.video()
        for prompt in folder.prompts():
            share = prompt.share_of(info.height, info.width)
            name = f"object {prompt.obj_id}" + (f" ({prompt.label})" if prompt.label else "")
            _log.info("%s on frame %d: %.1f %% of the picture", name, prompt.frame_idx, 100 * share)
    if record.warm_start is not None:
        _log.info(
            "begins with what %s looked like, from %s",
            counted(len(record.warm_start.objects), "object"),
            record.warm_start.source,
        )
    if record.detection is not None:
        asked = record.detection.asked
        when = f"every {asked.detect_every} frames"
        if asked.detect_every == "cuts":
            when = f"on the first frame of {counted(len(record.detection.cuts), 'scene')}"
        _log.info("looks for objects by %s %s", asked.named, when)
    _log.info(
        "run %s: %s in %s, %s, %s on %s",
        record.work_key,
        counted(record.num_frames, "frame"),
        counted(len(record.chunks), "chunk"),
        counted(len(record.objects), "object"),
        record.model.name,
        record.settings.device,
    )
    if early := early_chunks(folder):
        _log.info("%s tracked while the video was scanned", counted(early, "chunk"))
