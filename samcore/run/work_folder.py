"""A folder of work in progress: records that are believed only if they are whole and of it."""

import contextlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel
from typing_extensions import Self

from samcore.disk.files import exclusive, storage_errors
from samcore.disk.sealed import parse_sealed, read_sealed, write_sealed
from samcore.errors import LostWorkError

_M = TypeVar("_M", bound=BaseModel)


class FolderRef(Protocol):
    """What is passed on of a run's folder."""

    @property
    def folder(self) -> str:
        """`runs/<work key>` on this machine."""

    @property
    def allow_quality_loss(self) -> bool:
        """As in `WorkFolder`."""

    @property
    def credentials(self) -> str | None:
        """As in `WorkFolder`."""


class WorkFolder:
    """`runs/<work key>`, with a folder for each part of the work, and a lock.

        chunks/00007/masks.parquet      what a part gave
        chunks/00007/attempt.json       there while a process works on it, see attempts.py
        chunks/00007/done.json          written last
        lock                            held by the process that works on all of it

    A record is believed only if it is whole and of this very place in this very run: see sealed.py.
    """

    def __init__(
        self, path: Path, *, allow_quality_loss: bool = True, credentials: str | None = None
    ) -> None:
        """A run's folder; it need not exist.

        Args:
            path: `runs/<work key>`.
            allow_quality_loss: Whether chunks that were tracked with a smaller input of the model
                count as done.
            credentials: Name of those by which the video is read; it is only kept here.
        """
        self.path = path
        self.credentials = credentials
        self.allow_quality_loss = allow_quality_loss

    @classmethod
    def for_key(cls, work_dir: Path, work_key: str) -> Self:
        """The folder of the run with this key; it need not exist."""
        return cls(work_dir / "runs" / work_key)

    @classmethod
    def from_ref(cls, run: FolderRef) -> Self:
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

    def read_record(self, path: Path, kind: type[_M]) -> _M | None:
        """A record in this folder; None if it is not there, not whole, or not of this place."""
        return read_sealed(path, kind, of=self.name_of(path))

    def parse_record(self, path: Path, data: bytes, kind: type[_M]) -> _M | None:
        """The same of what another machine wrote there."""
        return parse_sealed(data, kind, of=self.name_of(path))

    def write_record(self, path: Path, record: BaseModel) -> None:
        """Write a record in this folder, for this place only.

        Raises:
            StorageError: The folder cannot be written to.
        """
        write_sealed(path, record, of=self.name_of(path))

    def lock(self, *, on_wait: Callable[[], None] | None = None) -> AbstractContextManager[None]:
        """Keep other processes from this work; wait while one does it."""
        return exclusive(self.path / "lock", on_wait=on_wait)

    def attempt_path(self, index: int) -> Path:
        """The mark of an attempt at a chunk."""
        return self.chunk_path(index) / "attempt.json"

    def chunk_path(self, index: int) -> Path:
        """A chunk's folder."""
        return self.path / "chunks" / f"{index:05d}"

    def masks_path(self, index: int) -> Path:
        """A chunk's masks."""
        return self.chunk_path(index) / "masks.parquet"

    def done_path(self, index: int) -> Path:
        """What says that a chunk is done."""
        return self.chunk_path(index) / "done.json"

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

    def name_of(self, path: Path) -> str:
        """What a record is for: its place, and the run by its key."""
        return f"{self.path.name}/{path.relative_to(self.path).as_posix()}"

    def need(self, path: Path, kind: type[_M]) -> _M:
        """A record that must be there.

        Raises:
            LostWorkError: It is not there or damaged.
        """
        found = self.read_record(path, kind)
        if found is None:
            raise lost(path)
        return found


def lost(path: Path) -> LostWorkError:
    """What to say of a file that is gone, and can be made again."""
    return LostWorkError(f"{path} is gone or damaged; run again, and it is made again")


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises StorageError if that is not allowed."""
    with contextlib.suppress(FileNotFoundError), storage_errors(path, "write"):
        path.unlink(missing_ok=True)
