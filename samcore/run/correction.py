"""A run that takes from a finished one what other prompts leave as it was.

    frames             0 . . . . . . . . . . . . . . . . . . . . .
    chunks             000000000 111111111 222222222 333333333
    object 1           taken     taken     tracked   tracked       a prompt more in chunk 2
    objects 2 and 3    taken     taken     taken     taken

It is a run like any other, with all its chunks in its own folder: those before the first change are
those of the finished run, by hard links; of a later one only the touched objects are tracked, from
the state that the chunk before left, and the rows of the others are merged in. So it can be stopped
and gone on with anywhere, and its states have all objects: it can be corrected in its turn. The
finished run's folder and result stay as they are.

The bits are those of a run that was asked so from the start (see `changes`). Where an object's
batch counts (`TrackSettings.object_batch`), the others are tracked beside it until the prompt is
reached, from which on it runs alone; these rows are not taken.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from samcore.chunks.plan import Chunk
from samcore.chunks.seams import owned_ranges
from samcore.disk.files import (
    FileRecord,
    copy_atomic,
    fsync_and_record,
    make_folder,
    move,
)
from samcore.errors import LostWorkError, StateError
from samcore.masks.merged import Rule, TableRows, frames_of_objects, merge_tables
from samcore.prompts.prompt import Prompt
from samcore.result.records import ChunkRecord, CorrectionRecord, RunRecord
from samcore.run.changes import Changes, compare_prompts, differ_in_prompts, why_not_taken
from samcore.run.folder import RunFolder
from samcore.run.work_folder import remove
from samcore.tracking.state import ObjectState, TrackerState
from samcore.tracking.state_header import read_header

_log = logging.getLogger(__name__)


class Correction:
    """A run's folder, and the finished run's from which it takes what is as it was."""

    def __init__(self, folder: RunFolder, record: CorrectionRecord) -> None:
        """Read nothing yet but the prompts' frames.

        Args:
            folder: Of the run that is on its way.
            record: What it takes.
        """
        self.record = record
        self._folder = folder
        self._finished = RunFolder.for_key(folder.work_dir, record.work)
        self._run = folder.record()
        self._begins = _begins(folder.prompts())

    @classmethod
    def of(cls, folder: RunFolder) -> "Correction | None":
        """The correction that a run is; None if it is none."""
        record = read_correction(folder)
        return None if record is None else cls(folder, record)

    def tracked(self, chunk: Chunk) -> frozenset[int]:
        """The objects of which a chunk's rows are tracked; of all others they are taken."""
        return frozenset(i for i, first in self.record.tracked.items() if first < chunk.stop)

    def others_until(self, chunk: Chunk) -> int | None:
        """The last frame of which the other objects have to be tracked beside these, for the sizes
        of their batches; None if there is none in the chunk or later."""
        if self._run.settings.object_batch == 1:
            return None
        frames = [self.record.changed[obj_id] for obj_id in self.tracked(chunk)]
        return max((frame for frame in frames if frame >= chunk.start), default=None)

    def begin(self, chunk: Chunk, state: TrackerState) -> TrackerState:
        """The state that a chunk begins with.

        Args:
            chunk: One of which objects are tracked.
            state: What the chunk before left, or the prompt pass.

        Raises:
            LostWorkError: An object is not in it. Nothing of the run is done any more then, and all
                of it is tracked when it is gone on with.
        """
        wanted = self.tracked(chunk)
        if self.others_until(chunk) is not None:
            wanted = frozenset(self._begins)
        ahead = self._after_prompts()
        known = {obj.obj_id: obj for obj in state.objects}
        objects = []
        for obj_id in sorted(wanted):
            # Of an object that has not begun the prompts are all there is; they may be new.
            if self._begins[obj_id] >= chunk.start:
                objects.append(ahead[obj_id])
            elif obj_id in known:
                objects.append(_with_prompts_ahead(known[obj_id], ahead[obj_id], chunk.start))
            else:
                _discard(self._folder)
                raise LostWorkError(
                    f"the state before chunk {chunk.index} in {self._folder.path} lacks object "
                    f"{obj_id}; run again, and all is tracked"
                )
        return replace(state, objects=tuple(objects))

    def whole(self, chunk: Chunk, state: TrackerState) -> TrackerState:
        """The state that a chunk hands on, with all objects that are known there.

        Args:
            chunk: The one that hands on.
            state: Of the objects that are tracked.
        """
        found = {obj.obj_id: obj for obj in state.objects}
        ahead = self._after_prompts()
        taken: dict[int, ObjectState] = {}
        if found.keys() < self._begins.keys():
            path = self._finished.state_path(chunk.index)
            with contextlib.suppress(StateError):
                saved = TrackerState.load(path)
                if saved.next_frame == state.next_frame:
                    taken = {obj.obj_id: obj for obj in saved.objects}
        for obj_id, begins in self._begins.items():
            if obj_id in found:
                continue
            if begins >= state.next_frame:
                found[obj_id] = ahead[obj_id]
            elif obj_id in taken:
                found[obj_id] = _with_prompts_ahead(taken[obj_id], ahead[obj_id], state.next_frame)
        return replace(state, objects=tuple(found[obj_id] for obj_id in sorted(found)))

    def complete(self, chunk: Chunk) -> None:
        """Add the taken rows to the table of a chunk whose tracked rows are all there.

        Raises:
            LostWorkError: The finished run's chunk is gone or damaged.
            StorageError: The table cannot be written.
        """
        tracked = self.tracked(chunk)
        taken = self._begins.keys() - tracked
        if not taken:
            return
        table = self._folder.masks_path(chunk.index)
        own = TableRows(table, _all_of(tracked))
        _merge([own, TableRows(self._finished_masks(chunk), _all_of(taken))], table)

    def carry(self, *, keep_states: bool) -> None:
        """Take the chunks of which nothing is tracked, as far as they are not there. Only with the
        run's lock held.

        Args:
            keep_states: Whether to take all states, too, and not only the one to go on from.

        Raises:
            StorageError: The folder cannot be written to.
        """
        chunks = [chunk for chunk in self._run.chunks if not self.tracked(chunk)]
        for chunk in chunks:
            if self._folder.finished_chunk(chunk.index) is not None:
                continue
            done = self._finished.finished_chunk(chunk.index)
            if done is None:
                raise self._gone(chunk)
            make_folder(self._folder.chunk_path(chunk.index))
            with_state = keep_states or chunk is chunks[-1]
            self._folder.finish_chunk(self._take(chunk, done, with_state), keep_states=True)

    def _take(self, chunk: Chunk, done: ChunkRecord, with_state: bool) -> ChunkRecord:
        table, index = self._folder.masks_path(chunk.index), chunk.index
        masks = done.masks
        if self.record.removed:
            _merge([TableRows(self._finished.masks_path(index), _all_of(self._begins))], table)
            masks = fsync_and_record(table)
        else:
            _link(self._finished.masks_path(index), table)
        state: FileRecord | None = None
        if with_state and self._finished.has_state(index):
            _link(self._finished.state_path(index), self._folder.state_path(index))
            state = done.state
        return done.model_copy(update={"masks": masks, "state": state})

    def _after_prompts(self) -> Mapping[int, ObjectState]:
        """All objects as the prompt pass left them."""
        if self._folder.prompt_pass() is None:
            raise LostWorkError(f"the prompt pass in {self._folder.path} is gone; run again")
        state = TrackerState.load(self._folder.prompt_state_path)
        return {obj.obj_id: obj for obj in state.objects}

    def _finished_masks(self, chunk: Chunk) -> Path:
        if self._finished.finished_chunk(chunk.index) is None:
            raise self._gone(chunk)
        return self._finished.masks_path(chunk.index)

    def _gone(self, chunk: Chunk) -> LostWorkError:
        return LostWorkError(
            f"chunk {chunk.index} of the finished run in {self._finished.path} is gone or damaged"
        )


def begin_correction(folder: RunFolder, published: RunRecord | None) -> Correction | None:
    """Decide, once for a run, what it takes from the finished one at its destination. Only with the
    run's lock held.

    Args:
        folder: The run's, laid out.
        published: What was asked of the run whose result is there; None if none is.

    Returns:
        None if all of it is tracked, as of any other run.
    """
    known = read_correction(folder)
    if known is not None:
        why = why_all_is_tracked(RunFolder.for_key(folder.work_dir, known.work))
        if why is None:
            return Correction(folder, known)
        _log.warning("all is tracked again: %s", why)
        _discard(folder)
        return None
    run = folder.record()
    if published is None or not differ_in_prompts(published, run):
        return None
    if any(folder.chunk_path(chunk.index).exists() for chunk in run.chunks):
        return None  # it was begun as another run
    finished = RunFolder.for_key(folder.work_dir, published.work_key)
    why = why_all_is_tracked(finished)
    if why is not None:
        _log.warning("all is tracked again: %s", why)
        return None
    record = plan_correction(finished, folder.prompts())
    _log.info(
        "goes on from run %s: tracks %d frames of objects %s again",
        *(record.work, record.frames, ", ".join(map(str, record.tracked)) or "none"),
    )
    folder.write_record(_path(folder), record)
    return Correction(folder, record)


def plan_correction(finished: RunFolder, prompts: Sequence[Prompt]) -> CorrectionRecord:
    """What would be tracked again if a finished run had other prompts.

    Args:
        finished: Its folder, for which `why_all_is_tracked` has no reason.
        prompts: The new ones.

    Raises:
        LostWorkError: The folder is gone or damaged.
    """
    run = finished.record()
    changes = compare_prompts(run, finished.prompts(), prompts)
    begins = _begins(prompts)
    tracked = {
        obj_id: _tracked_from(finished, run, frame, begins)
        for obj_id, frame in changes.first_frames.items()
    }
    record = _record(run, changes, tracked)
    owned = zip(run.chunks, owned_ranges(run.chunks), strict=True)
    frames = object_frames = 0
    for chunk, (start, stop) in owned:
        touched = sum(first < chunk.stop for first in tracked.values())
        frames += (stop - start) * bool(touched)
        object_frames += (stop - start) * touched
    return record.model_copy(update={"frames": frames, "object_frames": object_frames})


def read_correction(folder: RunFolder) -> CorrectionRecord | None:
    """What a run takes from a finished one; None if nothing."""
    return folder.read_record(_path(folder), CorrectionRecord)


def _record(run: RunRecord, changes: Changes, tracked: dict[int, int]) -> CorrectionRecord:
    return CorrectionRecord(
        of=run.result_key,
        work=run.work_key,
        changed=changes.first_frames,
        tracked=tracked,
        kept=changes.kept,
        removed=changes.removed,
        spreads_from=changes.spreads_from,
    )


def _path(folder: RunFolder) -> Path:
    return folder.path / "correction.json"


def why_all_is_tracked(finished: RunFolder) -> str | None:
    """Why nothing of a finished run can be taken for one with other prompts; None if some can.
    Reads all masks.

    Args:
        finished: Its folder.
    """
    if not finished.path.exists():
        return f"the work folder of the finished run is gone: {finished.path}"
    with contextlib.suppress(LostWorkError):
        run = finished.record()
        if (why := why_not_taken(run)) is not None:
            return why
        done = [finished.finished_chunk(chunk.index) for chunk in run.chunks]
        if any(chunk is not None and (chunk.rung or chunk.quality_loss) for chunk in done):
            return "memory did not suffice in the finished run, which changed its last bits"
        finished.prompts()
        if all(done):
            return None
    return f"the work folder of the finished run is not whole: {finished.path}"


def _tracked_from(
    finished: RunFolder, run: RunRecord, frame: int, begins: Mapping[int, int]
) -> int:
    """Where tracking begins for what changes on a frame: there, or where the last state before it
    is that has all objects; the run's first frame if there is none."""
    index = next(chunk.index for chunk in run.chunks if frame < chunk.stop)
    for chunk in reversed(run.chunks[1 : index + 1]):
        before = {obj_id for obj_id, begin in begins.items() if begin < chunk.start}
        if finished.has_state(chunk.index - 1):
            with contextlib.suppress(StateError):
                header = read_header(finished.state_path(chunk.index - 1))
                if before <= {obj.obj_id for obj in header.objects}:
                    # No frame of the chunk before, which would be tracked then, too.
                    return frame if chunk.index == index else run.chunks[chunk.index - 1].stop
    return frame if index == 0 else run.start


def _begins(prompts: Sequence[Prompt]) -> dict[int, int]:
    """The first prompted frame of each object, by ascending id."""
    found: dict[int, int] = {}
    for prompt in sorted(prompts, key=lambda one: (one.obj_id, -one.frame_idx)):
        found[prompt.obj_id] = prompt.frame_idx
    return found


def _with_prompts_ahead(obj: ObjectState, prompted: ObjectState, frame: int) -> ObjectState:
    """An object as it is at a frame, with the prompts that hold from their frame on of `prompted`:
    all other prompts are in its memory already."""
    return replace(
        obj,
        outputs=tuple(output for output in prompted.outputs if output.frame_idx >= frame),
        ahead=tuple(memory for memory in prompted.ahead if memory.frame_idx >= frame),
    )


def _all_of(obj_ids: Iterable[int]) -> Rule:
    return frames_of_objects({obj_id: (None, None) for obj_id in obj_ids})


def _merge(parts: Sequence[TableRows], table: Path) -> None:
    """Write a table, which may be one of its parts."""
    merged = table.with_name(f".{table.name}.merged.tmp")
    merge_tables(parts, merged)
    move(merged, table)


def _link(source: Path, target: Path) -> None:
    """Have a file in another place, too; neither is ever written to in its place."""
    remove(target)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        copy_atomic(source, target)


def _discard(folder: RunFolder) -> None:
    """Have nothing done of a run, whose chunks may not have all that the next ones need."""
    for chunk in folder.record().chunks:
        folder.discard_chunk(chunk.index)
        for partial in folder.chunk_path(chunk.index).glob("partial.*"):
            remove(partial)
    remove(_path(folder))
