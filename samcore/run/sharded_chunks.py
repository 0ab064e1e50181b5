"""The chunks of a run whose objects were tracked in shares: the shares' chunks side by side."""

from collections.abc import Sequence

from samcore.chunks.plan import Chunk
from samcore.disk.files import FileRecord, fsync_and_record, make_folder
from samcore.errors import LostWorkError
from samcore.masks.ledger import ResultObject
from samcore.masks.merged import TableRows, merge_tables
from samcore.result.records import ChunkRecord
from samcore.run.folder import RunFolder


def join_shards(folder: RunFolder, units: Sequence[RunFolder], index: int) -> ChunkRecord:
    """Make a chunk of the run of the same chunk of all its shares.

    Args:
        folder: The run's.
        units: Of all shares, in order.
        index: Which chunk.

    Raises:
        LostWorkError: It is gone or damaged in one of them.
        StorageError: The folder cannot be written to.
    """
    parts = [need_chunk(unit, index) for unit in units]
    make_folder(folder.chunk_path(index))
    masks = folder.masks_path(index)
    merge_tables([TableRows(unit.masks_path(index)) for unit in units], masks)
    run = folder.record()
    chunk = run.chunks[index]
    frames = run.frames_within(chunk.start, chunk.stop)
    record = combined(parts, chunk, fsync_and_record(masks), frames=frames)
    folder.finish_chunk(record, keep_states=False)
    return record


def need_chunk(unit: RunFolder, index: int) -> ChunkRecord:
    """The record of a unit's finished chunk.

    Raises:
        LostWorkError: It is gone or damaged.
    """
    done = unit.finished_chunk(index)
    if done is None:
        raise LostWorkError(f"chunk {index} in {unit.path} is gone or damaged; run again")
    return done


def combined(
    parts: Sequence[ChunkRecord],
    chunk: Chunk,
    masks: FileRecord,
    found: tuple[ResultObject, ...] = (),
    *,
    frames: int,
) -> ChunkRecord:
    """The record of a chunk that was put together.

    Args:
        parts: The records of what it was made of: times add up, and memory is the most of any.
        chunk: Which one.
        masks: Its table.
        found: Objects that detectors found and that begin in it.
        frames: How many were tracked.
    """
    seconds = sum(part.seconds for part in parts)
    stages: dict[str, float] = {}
    for part in parts:
        for name, spent in (part.stages or {}).items():
            stages[name] = round(stages.get(name, 0.0) + spent, 3)
    vram = [part.peak_vram_bytes for part in parts if part.peak_vram_bytes is not None]
    rungs = [part.rung for part in parts if part.rung is not None]
    return ChunkRecord(
        index=chunk.index,
        start=chunk.start,
        stop=chunk.stop,
        masks=masks,
        state=None,
        attempts=max(part.attempts for part in parts),
        degradations=tuple(step for part in parts for step in part.degradations),
        # The lowest one of all.
        rung=min(rungs, key=lambda rung: (rung.image_size, rung.object_batch), default=None),
        quality_loss=any(part.quality_loss for part in parts),
        device=", ".join(sorted({part.device for part in parts})),
        seconds=seconds,
        frames_per_second=frames / max(seconds, 1e-9),
        stages=stages,
        lost_seconds=sum(part.lost_seconds for part in parts),
        peak_rss_bytes=max(part.peak_rss_bytes for part in parts),
        peak_vram_bytes=max(vram, default=None),
        found=found,
        finished_at=max(part.finished_at for part in parts),
    )
