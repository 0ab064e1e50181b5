"""From a run's finished chunks to one table of masks, and how far neighbours agree."""

from pathlib import Path

from samcore.chunks.handoff import find_handoff
from samcore.chunks.seams import SeamReport, compare_seam, owned_ranges
from samcore.disk.files import FileRecord, fsync_and_record, is_intact, make_folder
from samcore.disk.sealed import read_sealed, write_sealed
from samcore.errors import LostWorkError
from samcore.masks.table import concat_tables
from samcore.result.manifest import MASKS
from samcore.result.published import SeamRecord
from samcore.result.records import ChunkRecord
from samcore.run.folder import RunFolder
from samcore.video import NAMES_KEY


def finished_chunks(folder: RunFolder) -> list[ChunkRecord]:
    """The records of all chunks of a run, in order; reads all masks.

    Raises:
        LostWorkError: One of them is not there.
    """
    records = []
    for chunk in folder.record().chunks:
        record = folder.finished_chunk(chunk.index)
        if record is None:
            raise LostWorkError(f"chunk {chunk.index} in {folder.path} is not done; run again")
        records.append(record)
    return records


def seam_report(folder: RunFolder, index: int) -> SeamReport:
    """The report on the seam before chunk `index`, made now if need be.

    Raises:
        LostWorkError: One of the chunks is not there.
    """
    known = folder.seam(index)
    if known is not None:
        return known.report
    left, right = folder.finished_chunk(index - 1), folder.finished_chunk(index)
    # Chunks that were matched have the seam with their masks, or are not done.
    is_matched = find_handoff(folder.record().handoff).is_parallel
    if left is None or right is None or is_matched:
        raise LostWorkError(
            f"chunks {index - 1} and {index} in {folder.path} are gone or damaged; run again"
        )
    report = compare_seam(
        folder.masks_path(index - 1),
        folder.masks_path(index),
        start=right.start,
        stop=left.stop,
        left_index=index - 1,
        right_index=index,
    )
    shared = folder.record().frames_within(right.start, left.stop)
    report = report.model_copy(update={"frames": shared})
    folder.finish_seam(
        index,
        SeamRecord(
            left_masks_sha256=left.masks.sha256,
            right_masks_sha256=right.masks.sha256,
            report=report,
        ),
    )
    return report


def write_part(folder: RunFolder, done: ChunkRecord, staging: Path) -> Path:
    """Write the frames that a chunk owns as a table of their own, if it is not there.

    Args:
        folder: The run's.
        done: Of a chunk whose masks are whole.
        staging: Where to.

    Raises:
        StorageError: The destination cannot be written to.
    """
    index = done.index
    # Named for what is in it: a chunk that had to be tracked again gives another part.
    part = staging / f"{index:05d}-{done.masks.sha256[:16]}.parquet"
    record_path = part.with_suffix(".json")
    of = f"{folder.path.name}/{record_path.name}"
    record = read_sealed(record_path, FileRecord, of=of)
    if record is None or not is_intact(part, record):
        start, stop = owned_ranges(folder.record().chunks)[index]
        make_folder(part.parent)
        concat_tables([(folder.masks_path(index), start, stop)], part)
        write_sealed(record_path, fsync_and_record(part), of=of)
    return part


def join_masks(folder: RunFolder, chunks: list[ChunkRecord], staging: Path) -> Path:
    """Join the masks of all chunks to one table beside their parts; the table's path.

    Args:
        folder: The run's.
        chunks: All of them, as `finished_chunks` gives them.
        staging: Where parts and table are.

    Raises:
        StorageError: The folder cannot be written to.
    """
    record = folder.record()
    parts = [
        (write_part(folder, done, staging), start, stop)
        for done, (start, stop) in zip(chunks, owned_ranges(record.chunks), strict=True)
    ]
    # Nothing of how the video was cut: the same masks are the same file.
    metadata = {
        "source_digest": record.source_digest,
        "prompts_digest": record.prompts_digest,
        "model": record.model.name,
        "model_fingerprint": record.model.fingerprint,
    }
    names = folder.names()
    if names is not None:
        metadata[NAMES_KEY] = names.to_text()
    coarse = [str(chunk.index) for chunk in chunks if chunk.quality_loss]
    if coarse:
        metadata["quality_loss"] = f"smaller image size in chunks {', '.join(coarse)}"
    concat_tables(parts, staging / MASKS, metadata)
    return staging / MASKS
