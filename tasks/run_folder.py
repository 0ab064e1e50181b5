"""A run on the disk: what is done, what can be gone on from."""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from samcore.errors import StorageError
from samcore.tracking.prompts import Prompt
from samcore.video import FrameNames, VideoInfo
from tasks.files import (
    exclusive,
    is_intact,
    make_folder,
    storage_errors,
    write_atomic,
    write_json,
)
from tasks.prompt_record import read_prompts, write_prompts
from tasks.records import ChunkRecord, PassRecord, RunRecord, RunRef, SeamRecord

_log = logging.getLogger(__name__)
_M = TypeVar("_M", bound=BaseModel)


class RunFolder:
    """One run's folder, `runs/<key>`.

        request.json                    what was asked
        video.json                      what was probed
        names.json                      what the pictures of a folder are called
        prompts.json                    the prompts, masks included
        prompts.safetensors             the tracker's state after the prompt pass
        prompts.done.json               written after it
        chunks/00007/masks.parquet      the chunk's masks
        chunks/00007/state.safetensors  the state at the first frame of chunk 8
        chunks/00007/seam.json          its agreement with chunk 6
        chunks/00007/attempt.json       there while somebody works on the chunk, see attempts.py
        chunks/00007/partial.*          where the chunk was stopped on the way, see checkpoint.py
        chunks/00007/done.json          written last
        lock                            held by the process that works on the run

    A file is believed only if a record with its digest was written after it.
    """

    def __init__(
        self, path: Path, *, allow_quality_loss: bool = True, credentials: str | None = None
    ) -> None:
        """A run's folder; it need not exist.

        Args:
            path: `runs/<key>`.
            allow_quality_loss: Whether chunks that were tracked with a smaller input of the model
                count as done.
            credentials: As in `RunRef`.
        """
        self.path = path
        self.credentials = credentials
        self._allow_quality_loss = allow_quality_loss

    @classmethod
    def of(cls, work_dir: Path, key: str) -> "RunFolder":
        """The folder of the run with this key; it need not exist."""
        return cls(work_dir / "runs" / key)

    @classmethod
    def at(cls, run: RunRef) -> "RunFolder":
        """The folder that a task is told of."""
        return cls(
            Path(run.folder),
            allow_quality_loss=run.allow_quality_loss,
            credentials=run.credentials,
        )

    @property
    def work_dir(self) -> Path:
        """The folder of this and other runs."""
        return self.path.parent.parent

    def create(
        self,
        record: RunRecord,
        video: VideoInfo,
        prompts: Sequence[Prompt],
        names: FrameNames | None = None,
    ) -> None:
        """Write down what is asked, if it is not there already.

        Args:
            record: What is asked.
            video: What was probed.
            prompts: What the tracker is told.
            names: Of the pictures, if the video is a folder of them.

        Raises:
            StorageError: The folder cannot be written to.
        """
        make_folder(self.path / "chunks")
        with contextlib.suppress(OSError):
            os.utime(self.path)  # in use, though all may be there already: see stale_work.py
        for name, content in (("request.json", record), ("video.json", video)):
            if _read(self.path / name, type(content)) != content:
                write_json(self.path / name, content)
        write_prompts(self.path / "prompts.json", prompts)
        if names is not None:
            write_atomic(self.path / "names.json", names.to_text().encode())

    def prompts(self) -> tuple[Prompt, ...]:
        """What the tracker is told, by ascending (obj_id, frame_idx).

        Raises:
            StorageError: It is not there or damaged.
        """
        return read_prompts(self.path / "prompts.json")

    def lock(self, *, on_wait: Callable[[], None] | None = None) -> AbstractContextManager[None]:
        """Keep other processes from working on this run; wait while one does."""
        return exclusive(self.path / "lock", on_wait=on_wait)

    def record(self) -> RunRecord:
        """What was asked.

        Raises:
            StorageError: It is not there or damaged.
        """
        return _need(self.path / "request.json", RunRecord)

    def video(self) -> VideoInfo:
        """What was probed.

        Raises:
            StorageError: It is not there or damaged.
        """
        return _need(self.path / "video.json", VideoInfo)

    def names(self) -> FrameNames | None:
        """What the pictures of a folder are called; None for a video file.

        Raises:
            StorageError: They are not there or damaged.
        """
        if self.video().kind != "images":
            return None
        path = self.path / "names.json"
        with storage_errors(path, "read"):
            text = path.read_bytes().decode(errors="replace")
        return FrameNames.from_text(text, where=str(path))

    @property
    def prompt_state_path(self) -> Path:
        """The tracker's state after the prompt pass."""
        return self.path / "prompts.safetensors"

    def prompt_pass(self) -> PassRecord | None:
        """The prompt pass's record, if its state is there and whole."""
        record = _read(self.path / "prompts.done.json", PassRecord)
        if record is None or not is_intact(self.prompt_state_path, record.state):
            return None
        return None if record.quality_loss and not self._allow_quality_loss else record

    def finish_prompt_pass(self, record: PassRecord) -> None:
        """Say that the prompt pass is done."""
        write_json(self.path / "prompts.done.json", record)

    @property
    def prompt_attempt_path(self) -> Path:
        """The mark of an attempt at the prompt pass."""
        return self.path / "prompts.attempt.json"

    def attempt_path(self, index: int) -> Path:
        """The mark of an attempt at a chunk."""
        return self.chunk_path(index) / "attempt.json"

    def chunk_path(self, index: int) -> Path:
        """A chunk's folder."""
        return self.path / "chunks" / f"{index:05d}"

    def masks_path(self, index: int) -> Path:
        """A chunk's masks."""
        return self.chunk_path(index) / "masks.parquet"

    def state_path(self, index: int) -> Path:
        """The state that chunk `index` leaves for the next one."""
        return self.chunk_path(index) / "state.safetensors"

    def done_path(self, index: int) -> Path:
        """What says that a chunk is done."""
        return self.chunk_path(index) / "done.json"

    def chunk(self, index: int) -> ChunkRecord | None:
        """A chunk's record, if the chunk is done and its masks are whole."""
        record = _read(self.chunk_path(index) / "done.json", ChunkRecord)
        if record is None or not is_intact(self.masks_path(index), record.masks):
            return None
        return None if record.quality_loss and not self._allow_quality_loss else record

    def has_state(self, index: int) -> bool:
        """Whether chunk `index` is done and the state it left is still there and whole."""
        record = self.chunk(index)
        return (
            record is not None
            and record.state is not None
            and is_intact(self.state_path(index), record.state)
        )

    def finish_chunk(self, record: ChunkRecord) -> None:
        """Say that a chunk is done; then drop the state that nothing can need any more.

        States weigh 4 MB an object. The one that this chunk began from is kept, in case that the
        one it leaves is damaged on the disk; older ones go.
        """
        write_json(self.chunk_path(record.index) / "done.json", record)
        if record.index >= 2:
            _remove(self.state_path(record.index - 2))

    def discard_chunk(self, index: int) -> None:
        """Make a chunk not done, so that it is tracked again."""
        _remove(self.chunk_path(index) / "done.json")

    def drop_states(self) -> None:
        """Drop all states: the result is published, and what they are for is done."""
        for pattern in ("chunks/*/state.safetensors", "chunks/*/partial.*"):
            for state in self.path.glob(pattern):
                _remove(state)
        _remove(self.path / "prompts.done.json")
        _remove(self.prompt_state_path)

    def clear(self) -> None:
        """Remove all that weighs something: the result is published, in a bucket. Only with the
        lock held. What was asked stays, for a process that waits for the lock.

        Raises:
            StorageError: No permission.
        """
        with storage_errors(self.path, "write"):
            for entry in self.path.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != "lock" and entry.suffix != ".json":
                    entry.unlink()

    def sweep(self) -> None:
        """Remove what killed processes left half written. Only with the lock held."""
        for pattern in (".*.tmp", "chunks/*/.*.tmp"):
            for partial in self.path.glob(pattern):
                _remove(partial)

    def seam(self, index: int) -> SeamRecord | None:
        """How chunk `index` agrees with the one before, if both are what was compared."""
        record = _read(self.chunk_path(index) / "seam.json", SeamRecord)
        left, right = self.chunk(index - 1), self.chunk(index)
        if record is None or left is None or right is None:
            return None
        compared = (record.left_masks_sha256, record.right_masks_sha256)
        return record if compared == (left.masks.sha256, right.masks.sha256) else None

    def finish_seam(self, index: int, record: SeamRecord) -> None:
        """Write down how chunk `index` agrees with the one before."""
        write_json(self.chunk_path(index) / "seam.json", record)

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
            if self.chunk(chunk.index) is not None:
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


def _need(path: Path, kind: type[_M]) -> _M:
    with storage_errors(path, "read"):
        text = path.read_bytes()
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise StorageError(
            f"cannot read {path}: damaged, or written by another version of Longtake; delete "
            f"{path.parent} to start this run afresh"
        ) from error


def _read(path: Path, kind: type[_M]) -> _M | None:
    """A record, or None if it is not there or not whole."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), storage_errors(path, "write"):
        path.unlink(missing_ok=True)
