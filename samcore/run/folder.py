"""A run on the disk: what is done, and where a new process continues."""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from samcore.disk.files import copy_atomic, is_intact, make_folder, write_atomic
from samcore.disk.sealed import open_record, seal_record
from samcore.errors import InputError, StateError
from samcore.prompts.file import PromptFile
from samcore.prompts.kept import from_file, to_file
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest
from samcore.result.published import SeamRecord
from samcore.result.records import ChunkRecord, PassRecord, RunRecord, WarmStartRecord
from samcore.run.attempts import add_lost
from samcore.run.work_folder import WorkFolder, lost, remove
from samcore.video import FrameNames, VideoInfo

_log = logging.getLogger(__name__)


class RunFolder(WorkFolder):
    """One run's folder, `runs/<work key>`.

        request.json                    what was asked
        video.json                      what was probed
        names.json                      what the pictures of a folder are called
        prompts.json                    the prompts, masks included: a prompts file
        warm.safetensors                what the run begins with, if it has a warm start
        prompts.safetensors             the tracker's state after the prompt pass
        prompts.done.json               written after it
        correction.json                 what is taken of a finished run, see correction.py
        early.json                      what was tracked before the scan's end, see early.py
        chunks/00007/masks.parquet      the chunk's masks
        chunks/00007/state.safetensors  the state at the first frame of chunk 8
        chunks/00007/seam.json          its agreement with chunk 6
        chunks/00007/attempt.json       there while a process works on the chunk, see attempts.py
        chunks/00007/lost               seconds of attempts at it that came to nothing
        chunks/00007/partial.*          where the chunk was stopped on the way, see partial_chunk.py
        chunks/00007/done.json          written last
        lock                            held by the process that works on the run

    The life of a chunk; every arrow can be the last thing that happens before a kill:

        nothing --> attempt.json --> masks, state --> done.json --> (published, folder deleted)
                        |    ^
            SIGTERM     |    |   the next process continues after the last frame of partial.*
                        v    |
                     partial.*

    A process that finds attempt.json knows that the one before was killed, perhaps for want of
    memory, and then starts one rung lower. A finished or stopped chunk has no attempt.json.

    A file is believed only if a record with its digest was written after it, and a record only if
    it is whole and of this very place in this very run: see sealed.py. The prompts' digest is in
    request.json.
    """

    def create(
        self,
        record: RunRecord,
        video: VideoInfo,
        prompts: Sequence[Prompt],
        names: FrameNames | None = None,
        warm_start: Path | None = None,
    ) -> None:
        """Write down what is asked, if it is not there already.

        Args:
            record: What is asked.
            video: What was probed.
            prompts: What the tracker is told.
            names: Of the pictures, if the video is a folder of them.
            warm_start: The state that the run begins with.

        Raises:
            StateError: `warm_start` is not what `record` says any more.
            StorageError: The folder cannot be written to.
        """
        make_folder(self.path / "chunks")
        with contextlib.suppress(OSError):
            os.utime(self.path)  # in use, though all may be there already: see janitor.py
        for name, content in (("request.json", record), ("video.json", video)):
            if self.read_record(self.path / name, type(content)) != content:
                self.write_record(self.path / name, content)
        labels = {item.id: item.label for item in record.objects if item.label}
        if prompts:
            spec = to_file(prompts, labels, record.directions).model_dump_json(
                exclude_defaults=True
            )
            write_atomic(self.path / "prompts.json", (spec + "\n").encode())
        if record.warm_start is not None and warm_start is not None:
            self._take_warm_start(warm_start, record.warm_start)
        if names is not None:
            path = self.path / "names.json"
            write_atomic(path, seal_record(names.to_text(), of=self.name_of(path)))

    def prompts(self) -> tuple[Prompt, ...]:
        """What the tracker is told, by ascending (obj_id, frame_idx).

        Raises:
            LostWorkError: It is not there or damaged.
        """
        path = self.path / "prompts.json"
        if self.record().prompts_digest == prompts_digest(()):
            return ()
        try:
            prompts = from_file(PromptFile.model_validate_json(path.read_bytes()))
        except (OSError, InputError, ValidationError) as error:
            raise lost(path) from error
        if prompts_digest(prompts) != self.record().prompts_digest:
            raise lost(path)
        return prompts

    def record(self) -> RunRecord:
        """What was asked.

        Raises:
            LostWorkError: It is not there or damaged.
        """
        return self.need(self.path / "request.json", RunRecord)

    def video(self) -> VideoInfo:
        """What was probed.

        Raises:
            LostWorkError: It is not there or damaged.
        """
        return self.need(self.path / "video.json", VideoInfo)

    def names(self) -> FrameNames | None:
        """What the pictures of a folder are called; None for a video file.

        Raises:
            LostWorkError: They are not there or damaged.
        """
        if self.video().kind != "images":
            return None
        path = self.path / "names.json"
        try:
            text = open_record(path.read_bytes(), of=self.name_of(path))
        except OSError:
            text = None
        if not isinstance(text, str):
            raise lost(path)
        return FrameNames.from_text(text, where=str(path))

    def warm_start(self) -> Path | None:
        """The state that the run begins with; None if with prompts only.

        Raises:
            LostWorkError: It is not there or damaged.
        """
        wanted = self.record().warm_start
        if wanted is None:
            return None
        if not is_intact(self._warm_start_path, wanted.file):
            raise lost(self._warm_start_path)
        return self._warm_start_path

    @property
    def _warm_start_path(self) -> Path:
        return self.path / "warm.safetensors"

    def _take_warm_start(self, source: Path, wanted: WarmStartRecord) -> None:
        path = self._warm_start_path
        if is_intact(path, wanted.file):
            return
        copy_atomic(source, path)
        if not is_intact(path, wanted.file):
            remove(path)
            raise StateError(f"the warm start {wanted.source} was changed meanwhile; run again")

    @property
    def prompt_state_path(self) -> Path:
        """The tracker's state after the prompt pass."""
        return self.path / "prompts.safetensors"

    def prompt_pass(self) -> PassRecord | None:
        """The prompt pass's record, if its state is there and whole."""
        record = self.read_record(self.path / "prompts.done.json", PassRecord)
        if record is None or not is_intact(self.prompt_state_path, record.state):
            return None
        return None if record.quality_loss and not self.allow_quality_loss else record

    def finish_prompt_pass(self, record: PassRecord) -> None:
        """Say that the prompt pass is done."""
        self.write_record(self.path / "prompts.done.json", record)

    @property
    def prompt_attempt_path(self) -> Path:
        """The mark of an attempt at the prompt pass."""
        return self.path / "prompts.attempt.json"

    def state_path(self, index: int) -> Path:
        """The state that chunk `index` leaves for the next one."""
        return self.chunk_path(index) / "state.safetensors"

    def finished_chunk(self, index: int) -> ChunkRecord | None:
        """A chunk's record, if the chunk is done and its masks are whole; reads all of them."""
        record = self.chunk_record(index)
        whole = record is not None and is_intact(self.masks_path(index), record.masks)
        return record if whole else None

    def chunk_record(self, index: int) -> ChunkRecord | None:
        """What a chunk's record says, if the chunk is done; its masks are not looked at."""
        record = self.read_record(self.done_path(index), ChunkRecord)
        if record is None:
            return None
        return None if record.quality_loss and not self.allow_quality_loss else record

    def has_state(self, index: int) -> bool:
        """Whether chunk `index` is done and the state it left is still there and whole."""
        record = self.chunk_record(index)
        return (
            record is not None
            and record.state is not None
            and is_intact(self.state_path(index), record.state)
        )

    def finish_chunk(self, record: ChunkRecord, *, keep_states: bool) -> None:
        """Say that a chunk is done; then drop the state that nothing can need any more.

        States weigh 4 MB an object. The one that this chunk began from is kept, in case that the
        one it leaves is damaged on the disk; older ones go, unless all are kept to correct the
        result from: see correction.py.
        """
        self.write_record(self.done_path(record.index), record)
        if record.index >= 2 and not keep_states:
            remove(self.state_path(record.index - 2))

    def discard_chunk(self, index: int) -> None:
        """Make a chunk not done, so that it is tracked again; what went into it is lost."""
        record = self.chunk_record(index)
        if record is not None:
            add_lost(self.attempt_path(index), record.seconds)
        remove(self.done_path(index))

    def drop_states(self, *, keep: bool = False) -> None:
        """Drop all states: the result is published, and what they are for is done. `keep` those of
        finished chunks, from which the result can be corrected."""
        dropped = ["chunks/*/partial.*"]
        if not keep:
            dropped.append("chunks/*/state.safetensors")
        for pattern in dropped:
            for state in self.path.glob(pattern):
                remove(state)
        remove(self.path / "prompts.done.json")
        remove(self.prompt_state_path)
        remove(self._warm_start_path)

    def seam(self, index: int) -> SeamRecord | None:
        """How chunk `index` agrees with the one before, if both chunks' records name the masks
        that were compared. The masks are not looked at: who joins them does that."""
        record = self.read_record(self.chunk_path(index) / "seam.json", SeamRecord)
        left, right = self.chunk_record(index - 1), self.chunk_record(index)
        if record is None or left is None or right is None:
            return None
        compared = (record.left_masks_sha256, record.right_masks_sha256)
        return record if compared == (left.masks.sha256, right.masks.sha256) else None

    def finish_seam(self, index: int, record: SeamRecord) -> None:
        """Write down how chunk `index` agrees with the one before."""
        self.write_record(self.chunk_path(index) / "seam.json", record)

    def plan_work(self, *, with_states: bool) -> list[int]:
        """Which chunks are to be tracked; ascending.

        These are the chunks that are not done and, where a chunk needs the state of the one before
        and that state is gone, the chunks back to the last one whose state is there. Those are
        made not done. Only with the lock held.

        Args:
            with_states: Whether chunks go on from the state of the one before.
        """
        wanted: set[int] = set()
        for chunk in self.record().chunks:
            if self.finished_chunk(chunk.index) is not None:
                continue
            wanted.add(chunk.index)
            before = chunk.index - 1
            while with_states and before >= 0 and before not in wanted:
                if self.has_state(before):
                    break
                _log.info("chunk %d is tracked again: its state is gone", before)
                self.discard_chunk(before)
                wanted.add(before)
                before -= 1
        return sorted(wanted)
