"""Task: track one chunk and leave the state for the next one."""

import logging
import threading
import time
from pathlib import Path

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from samcore.chunks.handoff import find_handoff
from samcore.disk.files import fsync_and_record, make_folder
from samcore.machine.meters import MemoryMeter
from samcore.machine.stopping import WorkStopped, run_stoppable
from samcore.result.records import ChunkRecord, PassRecord, RunRecord
from samcore.run.correction import Correction
from samcore.run.folder import RunFolder
from samcore.run.memory_log import MemoryLog, describe_peak
from samcore.run.oom_ladder import OomLadder, record_ladder
from samcore.run.partial_chunk import PartialChunk, drop_partial_chunk, find_partial_chunk
from tasks.results.manifest import now
from tasks.retries import SOURCE_RETRIES
from tasks.run.mirror import push_partial_chunk
from tasks.run.refs import ChunkRef, RunRef
from tasks.tracking.chunk_session import ChunkSession

_log = logging.getLogger(__name__)


@task(
    name="track-chunk",
    task_run_name="{run.video}: track chunk {index}",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # the run's folder is the record of what is done
    persist_result=False,
)
def track_chunk(run: RunRef, index: int) -> ChunkRef | State[ChunkRef]:
    """Track chunk `index` of the run, from the state that the chunk before left.

    Where the next chunk begins, the state is saved for it; tracking goes on to this chunk's own
    end, so that the overlap is tracked twice and can be compared. A chunk that is done already is
    not tracked again: its task ends as "Resumed".
    """
    folder = RunFolder.from_ref(run)
    record = folder.record()
    chunk = record.chunks[index]
    frames = record.frames_within(chunk.start, chunk.stop)
    if folder.finished_chunk(index) is not None:
        ref = ChunkRef(index=index, frames=frames, resumed=True)
        return Completed(name="Resumed", data=ref)
    run_stoppable(lambda stop: finish_chunk(run, index, stop))
    return ChunkRef(index=index, frames=frames, resumed=False)


def finish_chunk(run: RunRef, index: int, stop: threading.Event) -> ChunkRecord:
    """Track what is left of the chunk, and write down that it is done.

    Raises:
        WorkStopped: `stop` was set; what there is has been saved as a checkpoint.
        OutOfMemory: It does not fit, however little is done at once.
    """
    started = time.monotonic()
    folder = RunFolder.from_ref(run)
    before = find_partial_chunk(folder, index)
    if before is not None and before.record.quality_loss and not run.allow_quality_loss:
        before = None
    run_record = folder.record()
    chunk = run_record.chunks[index]
    ladder = _ladder(run, folder, run_record, index, before)
    first = chunk.start if before is None else before.record.next_frame
    make_folder(folder.chunk_path(index))
    with (
        MemoryMeter() as meter,
        MemoryLog(None if run.memory_log is None else Path(run.memory_log), run=run.key) as log,
        ladder.attempting(
            folder.attempt_path(index), frame_idx=run_record.in_video(first)
        ) as attempt,
    ):
        session = ChunkSession(
            run,
            run_record,
            index,
            before=before,
            ladder=ladder,
            meter=meter,
            log=log,
            stop=stop,
        )
        try:
            session.track()
        except WorkStopped:
            push_partial_chunk(run, index)
            raise
        if correction := Correction.of(folder):
            correction.complete(chunk)
        masks = fsync_and_record(session.masks_path)
        memory = meter.snapshot()
        seconds = time.monotonic() - started + (0.0 if before is None else before.record.seconds)
        record = ChunkRecord(
            index=index,
            start=chunk.start,
            stop=chunk.stop,
            masks=masks,
            state=session.handed_on,
            attempts=max(runtime.task_run.run_count or 1, attempt.number),
            degradations=tuple(ladder.steps),
            rung=ladder.degraded,
            quality_loss=ladder.quality_loss,
            device=session.device,
            seconds=seconds,
            frames_per_second=session.num_frames / seconds,
            stages={name: round(spent, 3) for name, spent in session.clock.seconds.items()},
            peak_rss_bytes=memory.peak_rss_bytes,
            peak_vram_bytes=memory.peak_vram_bytes,
            lost_seconds=attempt.lost_s,
            found=session.found,
            finished_at=now(),
        )
        folder.finish_chunk(record, keep_states=run.keep_states)
    drop_partial_chunk(folder, index)
    ends = run_record.in_video(record.start), run_record.in_video(record.stop)
    _log.info(
        "chunk %d, frames [%d, %d)%s: %.1f frames/s, %s",
        index,
        *((*ends, "") if ends[0] <= ends[1] else (ends[1] + 1, ends[0] + 1, " backward")),
        record.frames_per_second,
        describe_peak(record.peak_rss_bytes, record.peak_vram_bytes),
    )
    return record


def _ladder(
    run: RunRef, folder: RunFolder, record: RunRecord, index: int, resume_from: PartialChunk | None
) -> OomLadder:
    """The ladder, where this chunk was stopped, else where the work before it ended.

    Start at the rung where the previous chunk ended: memory is not freed between chunks. A state
    of a smaller input of the model continues at that size only.
    """
    if resume_from is not None:
        stopped = resume_from.record
        return record_ladder(
            record,
            base=stopped.rung,
            allow_quality_loss=run.allow_quality_loss,
            steps=stopped.degradations,
            quality_loss=stopped.quality_loss,
        )
    done: ChunkRecord | PassRecord | None = None
    if index > 0:
        done = folder.finished_chunk(index - 1)
    elif find_handoff(record.handoff).hands_on_state:
        done = folder.prompt_pass()
    base = None if done is None else done.rung
    return record_ladder(record, base=base, allow_quality_loss=run.allow_quality_loss)
