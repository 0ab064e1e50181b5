"""Task: track one chunk and leave the state for the next one."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from samcore.chunks import Chunk
from samcore.masks.table import MaskWriter
from samcore.meters import MemoryMeter
from samcore.tracking.outputs import FrameMasks
from samcore.tracking.tracker import VideoTracker
from samcore.video import Frame
from tasks.files import FileRecord, make_folder, seal
from tasks.logs import run_logger
from tasks.manifest import now
from tasks.progress import ChunkProgress
from tasks.records import ChunkRecord, ChunkRef, RunRef
from tasks.retries import retry_transient
from tasks.run_folder import RunFolder
from tasks.tracking import Workbench, handoff_frame, open_workbench


@task(
    name="track-chunk",
    task_run_name="{run.video}: track chunk {index}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_jitter_factor=0.5,
    retry_condition_fn=retry_transient,
    cache_policy=NO_CACHE,  # the run's folder is the record of what is done
    persist_result=False,
)
def track_chunk(run: RunRef, index: int) -> ChunkRef | State[ChunkRef]:
    """Track chunk `index` of the run, from the state that the chunk before left.

    Where the next chunk begins, the state is saved for it; tracking goes on to this chunk's own
    end, so that the overlap is tracked twice and can be compared. A chunk that is done already is
    not tracked again: its task ends as "Resumed".
    """
    folder = RunFolder.at(run)
    done = folder.chunk(index)
    if done is not None:
        ref = ChunkRef(index=index, frames=done.stop - done.start, resumed=True)
        return Completed(name="Resumed", data=ref)
    started = time.monotonic()
    with MemoryMeter() as meter:
        bench = open_workbench(folder)
        chunk = bench.record.chunks[index]
        make_folder(folder.chunk_path(index))
        state = _track(bench, chunk, ChunkProgress(run.video, bench.record.chunks, index), meter)
        masks = seal(folder.masks_path(index))
    seconds = time.monotonic() - started
    memory = meter.snapshot()
    record = ChunkRecord(
        index=index,
        start=chunk.start,
        stop=chunk.stop,
        masks=masks,
        state=state,
        attempts=runtime.task_run.run_count or 1,
        degradations=(),
        device=bench.compute.describe(),
        seconds=seconds,
        frames_per_second=(chunk.stop - chunk.start) / seconds,
        peak_rss_bytes=memory.peak_rss_bytes,
        peak_vram_bytes=memory.peak_vram_bytes,
        finished_at=now(),
    )
    folder.finish_chunk(record)
    run_logger(__name__).info(
        "chunk %d, frames [%d, %d): %.1f frames/s",
        index,
        chunk.start,
        chunk.stop,
        record.frames_per_second,
    )
    return ChunkRef(index=index, frames=chunk.stop - chunk.start, resumed=False)


def _track(
    bench: Workbench, chunk: Chunk, progress: ChunkProgress, meter: MemoryMeter
) -> FileRecord | None:
    """Write the chunk's masks; the record of the state for the next chunk, if it wants one."""
    by_memory = bench.record.handoff == "memory"
    tracker, first = _start(bench, chunk)
    chunks = bench.record.chunks
    successor = chunks[chunk.index + 1] if chunk.index + 1 < len(chunks) else None
    info = bench.video.info
    state: FileRecord | None = None
    with (
        MaskWriter(
            bench.folder.masks_path(chunk.index), height=info.height, width=info.width
        ) as writer,
        bench.video.read(first, chunk.stop) as frames,
    ):
        for output in _outputs(tracker, frames, bench, first):
            if output.frame_idx >= chunk.start:
                writer.write(output, bench.video.pts(output.frame_idx))
                progress.tracked(output.frame_idx, meter.snapshot())
            if by_memory and successor is not None and tracker.next_frame == successor.start:
                path = bench.folder.state_path(chunk.index)
                tracker.state().save(path)
                state = seal(path)
    return state


def _start(bench: Workbench, chunk: Chunk) -> tuple[VideoTracker, int]:
    """A tracker for the chunk, and the first frame that it wants."""
    folder = bench.folder
    if bench.record.handoff == "memory":
        before = (
            folder.prompt_state_path if chunk.index == 0 else folder.state_path(chunk.index - 1)
        )
        return bench.saved_tracker(before, start=chunk.start), chunk.start
    if chunk.index == 0:
        prompts = [p for p in folder.prompts() if p.frame_idx < chunk.stop]
        return bench.new_tracker(prompts, start=chunk.start), chunk.start
    first = handoff_frame(chunk, bench.record)
    return bench.new_tracker(bench.prompts_from_masks(chunk), start=first), first


def _outputs(
    tracker: VideoTracker, frames: Iterator[Frame], bench: Workbench, first: int
) -> Iterator[FrameMasks]:
    """The tracker's outputs; masks that a chunk was handed do not count as a person's prompts."""
    asked = {(item.id, frame) for item in bench.record.objects for frame in item.prompted_frames}
    for output in tracker.track(frames):
        if output.frame_idx == first and bench.record.handoff == "mask":
            prompted = [(obj_id, first) in asked for obj_id in output.obj_ids]
            output = replace(output, prompted_n=np.array(prompted, dtype=np.bool_))
        yield output
