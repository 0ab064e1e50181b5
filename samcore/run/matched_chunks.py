"""The chunks of a run in which each chunk has found its objects by itself: joined, in their order.

    unit 0    11111111          its own numbers, as everywhere in a unit
              22222222
    unit 1          33333333    3 is the one that unit 0 calls 2; 4 is new
                    44444444

    chunk 0   11111111          chunks/00000/masks.parquet
              22222222
    chunk 1         22222222    on the frames that both have tracked, rows are those of the earlier
                    33333333    one, which has the longer memory, and those of objects that begin

    seam      of chunks/*/own.parquet: all that a unit has tracked, with the numbers of the run

A chunk waits for the one before, never for a later one: what comes out does not depend on when
units were done.
"""

from collections.abc import Mapping
from pathlib import Path

from samcore.chunks.matching import (
    ChunkObjects,
    Numbered,
    SeamJoin,
    SeamTally,
    join_seam,
    number_first,
)
from samcore.chunks.seams import SeamReport, compare_seam, paired_rows
from samcore.disk.files import FileRecord, fsync_and_record, is_intact, make_folder
from samcore.errors import LostWorkError
from samcore.masks.ledger import ResultObject
from samcore.masks.merged import TableRows, frames_of_objects, merge_tables
from samcore.masks.reader import MaskReader
from samcore.masks.renumbered import renumber_table
from samcore.result.published import SeamRecord
from samcore.result.records import ChunkRecord, Record, RunRecord
from samcore.run.folder import RunFolder
from samcore.run.sharded_chunks import combined, need_chunk
from samcore.run.units import first_free
from samcore.run.work_folder import remove


class _Number(Record):
    own: int
    object_id: int
    stop: int | None


class _Joined(Record):
    """`joined.json`: how a unit's objects are numbered."""

    numbers: tuple[_Number, ...]
    next_id: int
    """The first number that is free after this chunk."""
    unit_masks_sha256: str
    """The unit's table."""
    own: FileRecord
    """The same rows with the run's numbers."""

    @property
    def by_own(self) -> dict[int, Numbered]:
        return {item.own: Numbered(item.object_id, item.stop) for item in self.numbers}


def join_matched(
    folder: RunFolder, before: RunFolder | None, unit: RunFolder, index: int
) -> ChunkRecord:
    """Make a chunk of the run of what its unit has tracked; the chunk before is there.

    Args:
        folder: The run's.
        before: The unit of the chunk before; None for the first chunk.
        unit: The chunk's own.
        index: Which chunk.

    Raises:
        LostWorkError: Something of this chunk or the one before is gone or damaged.
        StorageError: The folder cannot be written to.
    """
    record, part = folder.record(), need_chunk(unit, 0)
    chunk = record.chunks[index]
    objects = _objects(unit.record(), record)
    with MaskReader(unit.masks_path(0)) as reader:
        ids = reader.object_ids()
    left: _Joined | None = None
    join: SeamJoin | None = None
    if before is None:
        free = first_free(record)
        numbers = number_first(ids, objects, free)
    else:
        left, free = _left(folder, before, index)
        stop = record.chunks[index - 1].stop
        tally = _tally(before, unit, chunk.start, stop, left.by_own)
        left_objects = _objects(before.record(), record)
        numbers, join = join_seam(tally, left.by_own, left_objects, ids, objects, free)
    make_folder(folder.chunk_path(index))
    own = _own_path(folder, index)
    stops = {obj_id: item.stop for obj_id, item in numbers.items() if item.stop is not None}
    renumber_table(
        unit.masks_path(0), own, {one: item.object_id for one, item in numbers.items()}, stops
    )
    joined = _Joined(
        numbers=tuple(
            _Number(own=one, object_id=item.object_id, stop=item.stop)
            for one, item in sorted(numbers.items())
        ),
        next_id=max([free - 1, *(item.object_id for item in numbers.values())]) + 1,
        unit_masks_sha256=part.masks.sha256,
        own=fsync_and_record(own),
    )
    folder.write_record(_joined_path(folder, index), joined)
    known = set() if left is None else {item.object_id for item in left.numbers}
    found = _begun(unit.record(), part, numbers, known)
    _write_masks(folder, index, joined, known)
    masks = fsync_and_record(folder.masks_path(index))
    done = combined([part], chunk, masks, found, frames=chunk.stop - chunk.start)
    if join is not None:
        _write_seam(folder, index, done, join)
    folder.finish_chunk(done, keep_states=False)
    return done


def is_joined(folder: RunFolder, index: int) -> bool:
    """Whether a chunk is there with all that the next one, and the seam before it, need."""
    joined = folder.read_record(_joined_path(folder, index), _Joined)
    return (
        joined is not None
        and is_intact(_own_path(folder, index), joined.own)
        and folder.finished_chunk(index) is not None
        and (index == 0 or folder.seam(index) is not None)
    )


def _left(folder: RunFolder, before: RunFolder, index: int) -> tuple[_Joined, int]:
    path = _joined_path(folder, index - 1)
    left = folder.need(path, _Joined)
    if left.unit_masks_sha256 != need_chunk(before, 0).masks.sha256:
        remove(path)
        raise LostWorkError(f"{path} is of other masks; run again, and it is made again")
    return left, left.next_id


def _objects(unit: RunRecord, record: RunRecord) -> ChunkObjects:
    """What a unit's record says of its objects."""
    persons = {item.id for item in record.objects}
    return ChunkObjects(
        prompted={item.id: item.prompted_frames[0] for item in unit.objects if item.id in persons},
        labels={
            item.id: item.label for item in unit.objects if item.label and item.id not in persons
        },
    )


def _tally(
    before: RunFolder, unit: RunFolder, start: int, stop: int, left: Mapping[int, Numbered]
) -> SeamTally:
    tally = SeamTally()
    # What ends where a person prompts it again goes on under the person's number, by itself.
    stops = {obj_id: item.stop for obj_id, item in left.items() if item.stop is not None}
    paths = before.masks_path(0), unit.masks_path(0)
    with MaskReader(paths[0]) as reader, MaskReader(paths[1]) as right:
        for frame, left_rows, right_rows in paired_rows(reader, right, start, stop):
            tally.add(
                {
                    obj_id: row.rle
                    for obj_id, row in left_rows.items()
                    if frame < stops.get(obj_id, stop)
                },
                {obj_id: row.rle for obj_id, row in right_rows.items()},
            )
    return tally


def _begun(
    unit: RunRecord, part: ChunkRecord, numbers: Mapping[int, Numbered], known: set[int]
) -> tuple[ResultObject, ...]:
    """The entries of found objects that are new in the run."""
    entries = {item.id: item.entry() for item in unit.objects if item.source == "automatic"}
    entries |= {item.id: item for item in part.found}
    return tuple(
        entry.model_copy(update={"id": numbers[own].object_id})
        for own, entry in sorted(entries.items())
        if own in numbers and numbers[own].object_id not in known
    )


def _write_masks(folder: RunFolder, index: int, joined: _Joined, known: set[int]) -> None:
    chunk = folder.record().chunks[index]
    numbers = {item.object_id for item in joined.numbers}
    if index == 0:
        merge_tables([TableRows(_own_path(folder, index))], folder.masks_path(index))
        return
    seam = folder.record().chunks[index - 1].stop
    begins = {number: (seam if number in known else None, None) for number in numbers}
    parts = [
        TableRows(_own_path(folder, index - 1), None, chunk.start, seam),
        TableRows(_own_path(folder, index), frames_of_objects(begins)),
    ]
    merge_tables(parts, folder.masks_path(index))


def _write_seam(folder: RunFolder, index: int, done: ChunkRecord, join: SeamJoin) -> None:
    left = folder.finished_chunk(index - 1)
    if left is None:
        raise LostWorkError(f"chunk {index - 1} in {folder.path} is gone or damaged; run again")
    report: SeamReport = compare_seam(
        _own_path(folder, index - 1),
        _own_path(folder, index),
        start=done.start,
        stop=left.stop,
        left_index=index - 1,
        right_index=index,
    )
    frames = sum(item.frames for item in join.joined)
    like = sum(item.mean_iou * item.frames for item in join.joined)
    report = report.model_copy(update={"join": join, "agreement": like / frames if frames else 1.0})
    folder.finish_seam(
        index,
        SeamRecord(
            left_masks_sha256=left.masks.sha256,
            right_masks_sha256=done.masks.sha256,
            report=report,
        ),
    )


def _own_path(folder: RunFolder, index: int) -> Path:
    return folder.chunk_path(index) / "own.parquet"


def _joined_path(folder: RunFolder, index: int) -> Path:
    return folder.chunk_path(index) / "joined.json"
