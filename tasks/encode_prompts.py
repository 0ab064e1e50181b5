"""Task: the prompt pass, over just the prompted frames."""

import logging
import time

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from samcore.disk.files import fsync_and_record
from samcore.machine.meters import MemoryMeter
from samcore.machine.rung import Rung
from samcore.result.records import PassRecord
from samcore.run.folder import RunFolder
from samcore.run.memory_log import describe_peak
from samcore.run.oom_ladder import record_ladder
from tasks.retries import SOURCE_RETRIES
from tasks.run.refs import RunRef
from tasks.tracking.open_run import open_run

_log = logging.getLogger(__name__)


@task(
    name="encode-prompts",
    task_run_name="{run.video}: encode prompts",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # the run's folder is the record of what is done
    persist_result=False,
)
def encode_prompts(run: RunRef) -> int | State[int]:
    """Encode all prompts before the first frame is tracked; the number of prompted frames.

    Later prompts are seen by earlier frames, so they come first; the state after them is what the
    first chunk begins with.

    Raises:
        OutOfMemory: It does not fit, however little is done at once.
    """
    folder = RunFolder.from_ref(run)
    done = folder.prompt_pass()
    if done is not None:
        return Completed(name="Resumed", data=done.frames)
    started = time.monotonic()
    record = folder.record()
    ladder = record_ladder(record, allow_quality_loss=run.allow_quality_loss)
    with (
        MemoryMeter() as meter,
        ladder.attempting(
            folder.prompt_attempt_path, frame_idx=record.in_video(record.start)
        ) as attempt,
    ):
        frames = ladder.run_until_it_fits(
            lambda: _encode(folder, ladder.rung), frame_idx=lambda: record.in_video(record.start)
        )
        seconds = time.monotonic() - started
        memory = meter.snapshot()
        folder.finish_prompt_pass(
            PassRecord(
                state=fsync_and_record(folder.prompt_state_path),
                frames=frames,
                seconds=seconds,
                lost_seconds=attempt.lost_s,
                degradations=tuple(ladder.steps),
                rung=ladder.degraded,
                quality_loss=ladder.quality_loss,
                peak_rss_bytes=memory.peak_rss_bytes,
                peak_vram_bytes=memory.peak_vram_bytes,
            )
        )
    _log.info(
        "encoded %d prompted frames in %.1f s, %s",
        *(frames, seconds, describe_peak(memory.peak_rss_bytes, memory.peak_vram_bytes)),
    )
    return frames


def _encode(folder: RunFolder, rung: Rung) -> int:
    """Leave the tracker's state after the prompts; the number of frames that have some."""
    bench = open_run(folder, rung)
    going = {item.id for item in bench.record.objects if item.direction != "backward"}
    prompts = [prompt for prompt in bench.prompts() if prompt.obj_id in going]
    tracker = bench.new_tracker(prompts, start=bench.record.start)
    tracker.state().save(folder.prompt_state_path)
    return len({prompt.frame_idx for prompt in prompts})
