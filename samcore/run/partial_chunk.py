"""A chunk that was stopped on the way: its masks so far, and the tracker's state after them.

    chunks/00007/partial.parquet      the masks so far
    chunks/00007/partial.safetensors  the state after them
    chunks/00007/partial.json         written last: where it goes on, and the digests of both

Like a chunk's own files: without a whole record that fits them they do not exist, and the chunk
begins at its first frame.
"""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from samcore.disk.files import FileRecord, fsync_and_record, is_intact, move, storage_errors
from samcore.machine.rung import Rung
from samcore.masks.table import MaskReader, MaskWriter
from samcore.run.folder import RunFolder
from samcore.tracking.state import TrackerState

_log = logging.getLogger(__name__)
_MASKS, _STATE, _RECORD = "partial.parquet", "partial.safetensors", "partial.json"


class PartialRecord(BaseModel):
    """`partial.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    next_frame: int
    """Where tracking goes on; masks of all frames before it are there, or held in the state."""
    masks: FileRecord
    state: FileRecord
    handed_on: FileRecord | None
    """The state for the next chunk, if its first frame was reached."""
    degradations: tuple[str, ...]
    """What was given up so far to fit into memory."""
    rung: Rung | None = None
    """How the chunk was tracked last; None if as asked."""
    quality_loss: bool = False
    """Whether any frame was tracked with a smaller input of the model than asked."""
    seconds: float
    """What tracking has taken so far."""
    stages: dict[str, float] | None = None
    """Where these seconds went; None in records of versions that did not say."""


@dataclass(frozen=True, slots=True)
class PartialChunk:
    """Where a stopped chunk goes on."""

    record: PartialRecord
    masks_path: Path
    state_path: Path
    record_path: Path

    @classmethod
    def of(cls, folder: RunFolder, index: int, record: PartialRecord) -> "PartialChunk":
        """What `record` says of chunk `index`; its files need not be there."""
        at = folder.chunk_path(index)
        return cls(record, at / _MASKS, at / _STATE, at / _RECORD)

    def files(self, folder: RunFolder, index: int) -> list[tuple[Path, FileRecord]]:
        """Everything that has to be there beside the record."""
        files = [(self.masks_path, self.record.masks), (self.state_path, self.record.state)]
        if self.record.handed_on is not None:
            files.append((folder.state_path(index), self.record.handed_on))
        return files

    def restore(self, writer: MaskWriter) -> None:
        """Write the masks so far, the very rows that were written before.

        Raises:
            StorageError: They are damaged.
        """
        with MaskReader(self.masks_path) as reader:
            for row in reader.rows():
                writer.write_row(row)


def checkpoint_path(folder: RunFolder, index: int) -> Path:
    """The record of where chunk `index` was stopped; written last."""
    return folder.chunk_path(index) / _RECORD


def find_partial_chunk(folder: RunFolder, index: int) -> PartialChunk | None:
    """Where chunk `index` was stopped, if what it left is whole."""
    record = folder.read_record(checkpoint_path(folder, index), PartialRecord)
    if record is None:
        return None
    found = PartialChunk.of(folder, index, record)
    if not all(is_intact(path, file) for path, file in found.files(folder, index)):
        _log.info("chunk %d begins at its first frame: what was saved of it is damaged", index)
        return None
    return found


def save_partial_chunk(
    folder: RunFolder,
    index: int,
    state: TrackerState,
    *,
    next_frame: int | None = None,
    handed_on: FileRecord | None,
    degradations: tuple[str, ...],
    rung: Rung | None = None,
    quality_loss: bool = False,
    seconds: float,
    stages: dict[str, float] | None = None,
) -> None:
    """Keep what there is of chunk `index`, whose mask table ends before `state.next_frame`, or
    before the first frame whose masks the state holds.

    The table is taken from its place: there it would be that of a finished chunk. `next_frame` is
    that of the state by its number in the video, where the tracker counts otherwise.

    Raises:
        StorageError: No permission, disk full.
    """
    at = folder.chunk_path(index)
    masks_path, state_path = at / _MASKS, at / _STATE
    move(folder.masks_path(index), masks_path)
    state.save(state_path)
    record = PartialRecord(
        next_frame=state.next_frame if next_frame is None else next_frame,
        masks=fsync_and_record(masks_path),
        state=fsync_and_record(state_path),
        handed_on=handed_on,
        degradations=degradations,
        rung=rung,
        quality_loss=quality_loss,
        seconds=seconds,
        stages=stages,
    )
    folder.write_record(at / _RECORD, record)
    _log.info("chunk %d stopped before frame %d", index, state.next_frame)


def drop_partial_chunk(folder: RunFolder, index: int) -> None:
    """Forget where chunk `index` was stopped: it is done, or cannot go on from there."""
    for name in (_RECORD, _STATE, _MASKS):
        path = folder.chunk_path(index) / name
        with contextlib.suppress(FileNotFoundError), storage_errors(path, "write"):
            path.unlink(missing_ok=True)
