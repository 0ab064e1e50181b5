"""What there is of a run that is at work: its chunks' masks, and how far each chunk is."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samcore.chunks.plan import Chunk
from samcore.chunks.seams import owned_ranges
from samcore.errors import LostWorkError, StorageError
from samcore.masks.parts import MaskParts, Part
from samcore.masks.row import MaskRow
from samcore.result.records import RunRecord
from samcore.run.attempts import is_at_work
from samcore.run.early import early_folder
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import PartialChunk, PartialRecord, checkpoint_path
from samcore.video import VideoInfo

ChunkState = Literal["done", "stopped", "at work", "ahead"]
"""Of a chunk: finished; saved on the way; a process works on it; nothing is there yet."""


@dataclass(frozen=True, slots=True)
class ChunkSoFar:
    """How far one chunk is."""

    chunk: Chunk
    state: ChunkState
    next_frame: int
    """One past the last frame whose masks can be read."""


class RunSoFar:
    """Looks at a run's folder while another process works there. It takes no lock, writes nothing,
    and finds the run's early work, too (see early.py).

    Memory goes with the number of chunks, not with their masks.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Read what is asked.

        Args:
            folder: The run's; it may still be the early one.

        Raises:
            LostWorkError: Nothing is laid out there.
        """
        self._folder = folder
        self.record: RunRecord = self._where().record()
        """What is asked."""
        self._done: set[int] = set()
        self.owned: tuple[Part, ...] = ()
        """The first chunks that were done when `look` was called last, up to one that was not,
        each with the frames that are published of it."""
        self._masks = MaskParts()

    def look(self) -> list[ChunkSoFar]:
        """How far each chunk is now, in order; masks of what is there can be read from now on."""
        folder = self._where()
        found = [self._chunk(folder, chunk) for chunk in self.record.chunks]
        parts: list[Part] = []
        afters = [*found[1:], None]
        owned: list[Part] = []
        for seen, (start, stop), after in zip(
            found, owned_ranges(self.record.chunks), afters, strict=True
        ):
            index, begin = seen.chunk.index, max(start, parts[-1].stop if parts else start)
            if seen.state == "done":
                # Until the next chunk is done its frames of the overlap are this one's.
                ends = stop if after is not None and after.state == "done" else seen.next_frame
                parts.append(Part(folder.masks_path(index), start, ends))
                if len(owned) == index:
                    owned.append(Part(folder.masks_path(index), start, stop))
            elif seen.next_frame > begin:
                record = folder.read_record(checkpoint_path(folder, index), PartialRecord)
                if record is None:
                    continue  # the chunk was finished just now: the next look finds it
                table = PartialChunk.of(folder, index, record).masks_path
                parts.append(Part(table, begin, record.next_frame))
        self._masks.parts, self.owned = tuple(parts), tuple(owned)
        return found

    def video(self) -> VideoInfo:
        """What was probed.

        Raises:
            LostWorkError: It is not there or damaged.
        """
        return self._where().video()

    @property
    def covered(self) -> list[tuple[int, int]]:
        """The frames [start, stop) that have masks; ascending."""
        return self._masks.covered

    def rows(self, frame: int) -> list[MaskRow]:
        """The rows of one frame; none if it is not tracked yet, or is tracked again just now."""
        try:
            return self._masks.rows(frame)
        except StorageError:
            self._done.clear()
            return []

    def close(self) -> None:
        """Close all tables."""
        self._masks.close()

    def _where(self) -> RunFolder:
        early = early_folder(self._folder)
        return early if early.path.exists() and not self._folder.path.exists() else self._folder

    def _chunk(self, folder: RunFolder, chunk: Chunk) -> ChunkSoFar:
        index = chunk.index
        if not folder.done_path(index).exists():
            self._done.discard(index)
        elif index in self._done or folder.chunk_record(index) is not None:
            self._done.add(index)
            return ChunkSoFar(chunk, "done", chunk.stop)
        saved = folder.read_record(checkpoint_path(folder, index), PartialRecord)
        reached = chunk.start
        if saved is not None and PartialChunk.of(folder, index, saved).masks_path.exists():
            reached = saved.next_frame
        if is_at_work(folder.attempt_path(index)):
            return ChunkSoFar(chunk, "at work", reached)
        return ChunkSoFar(chunk, "stopped" if saved is not None else "ahead", reached)


def newest_run(work_dir: Path, source: str, *, since: float) -> RunFolder | None:
    """The run of a video that somebody began, or went on with, last. Not its units, nor its
    backward pass: these are parts of it, with numbers of their own.

    Args:
        work_dir: Where runs are.
        source: The video, as `RunRecord.source` has it.
        since: A time stamp in seconds; runs that were not touched from then on do not count.
    """
    found: list[tuple[float, RunFolder]] = []
    for place in (*work_dir.glob("runs/*"), *work_dir.glob("early/runs/*")):
        folder = RunFolder.for_key(work_dir, place.name)
        with contextlib.suppress(OSError, LostWorkError):
            touched = place.stat().st_mtime
            if touched < since:
                continue
            record = RunFolder(place).record()
            is_part = record.unit is not None or record.backward_from is not None
            if record.source == source and not is_part:
                found.append((touched, folder))
    return max(found, key=lambda one: one[0])[1] if found else None
