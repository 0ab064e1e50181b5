"""A watched stream's work in progress.

    checkpoint.json              what is done; written last
    state-000000000123-….safetensors  the tracker after it
    parts/20261129T190000Z/      a result on its way
        00000.parquet            a chunk's masks
        00000.frames.parquet     and when its frames came
    lock                         held by the process that watches

A file that the checkpoint does not name is of a process that was killed, and goes. What is
published goes, too, so the folder holds one part and one state, however long the stream is.
"""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from samcore.disk.files import FileRecord, fsync_and_record, is_intact, make_folder, storage_errors
from samcore.disk.locks import locked_if_free
from samcore.disk.sealed import read_sealed, write_sealed
from samcore.errors import InputError, StateError
from samcore.streams.records import Checkpoint, PartRecord
from samcore.tracking.state import TrackerState

_CHECKPOINT = "checkpoint.json"


class WatchFolder:
    """The folder of work for one destination."""

    def __init__(self, path: Path) -> None:
        """It need not exist."""
        self.path = path

    @contextlib.contextmanager
    def alone(self, destination: str) -> Iterator[None]:
        """Be the only process that works here.

        Raises:
            InputError: Another process is at it.
        """
        make_folder(self.path)
        with locked_if_free(self.path / "lock") as is_free:
            if not is_free:
                raise InputError(
                    f"another process watches into {destination}: stop it first, or choose "
                    "another place with -o"
                )
            yield

    def checkpoint(self) -> Checkpoint | None:
        """Where the process before has ended; None if there was none.

        Raises:
            StateError: What it has written is damaged, or another version's.
        """
        path = self.path / _CHECKPOINT
        found = read_sealed(path, Checkpoint, of=_CHECKPOINT)
        if found is None and path.exists():
            raise StateError(
                f"{path} is damaged, or of another version of Longtake: begin anew with --force; "
                "results that are published stay"
            )
        return found

    def commit(self, checkpoint: Checkpoint) -> None:
        """Write down what is done, and drop the states before.

        Raises:
            StorageError: No permission, disk full.
        """
        write_sealed(self.path / _CHECKPOINT, checkpoint, of=_CHECKPOINT)
        self._drop_states(checkpoint)

    def save_state(self, state: TrackerState) -> FileRecord:
        """Keep a tracker's state beside the one before."""
        path = self.path / f"state-{state.next_frame:012d}-{uuid.uuid4().hex[:8]}.safetensors"
        state.save(path)
        return fsync_and_record(path)

    def load_state(self, checkpoint: Checkpoint) -> TrackerState:
        """The state that a checkpoint names.

        Raises:
            StateError: It is gone or damaged.
        """
        path = self.path / checkpoint.state.name
        if not is_intact(path, checkpoint.state):
            raise StateError(
                f"the tracker state {path} is gone or damaged: begin anew with --force; results "
                "that are published stay"
            )
        return TrackerState.load(path)

    def part_path(self, name: str) -> Path:
        """Where the chunks of a part are."""
        return self.path / "parts" / name

    @property
    def publishing_path(self) -> Path:
        """Where a result is put together."""
        return self.path / "publishing"

    def drop_part(self, part: PartRecord) -> None:
        """Remove the chunks of a part that is published."""
        shutil.rmtree(self.part_path(part.name), ignore_errors=True)

    def clean(self, checkpoint: Checkpoint | None) -> None:
        """Remove all that a checkpoint does not name; with None everything."""
        shutil.rmtree(self.publishing_path, ignore_errors=True)
        self._drop_states(checkpoint)
        parts = () if checkpoint is None else (*checkpoint.closed, checkpoint.open)
        named = {part.name: part for part in parts if part is not None}
        with storage_errors(self.path, "write"):
            if checkpoint is None:
                (self.path / _CHECKPOINT).unlink(missing_ok=True)
            for folder in (self.path / "parts").glob("*"):
                if folder.name not in named:
                    shutil.rmtree(folder)
                    continue
                known = {
                    file.name
                    for chunk in named[folder.name].chunks
                    for file in (chunk.done.masks, chunk.frames)
                }
                for path in folder.iterdir():
                    if path.name not in known:
                        path.unlink()

    def _drop_states(self, checkpoint: Checkpoint | None) -> None:
        kept = None if checkpoint is None else checkpoint.state.name
        with storage_errors(self.path, "write"):
            for path in self.path.glob("*state-*.safetensors*"):
                if path.name != kept:
                    path.unlink()
