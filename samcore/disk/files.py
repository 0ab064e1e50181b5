"""Files that are whole or absent, and what they weigh."""

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from samcore.disk.atomic import atomic, sync_folder
from samcore.disk.atomic import storage_errors as storage_errors  # for whoever writes files
from samcore.disk.locks import locked

_BLOCK = 1 << 20
_private: list[Callable[[], Path]] = []


class FileRecord(BaseModel):
    """One file's identity: enough to tell whether it is still the one that was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Relative to the folder of the record."""
    size: int
    """Bytes."""
    sha256: str
    """Hex digest of the content."""


def hash_file(path: Path, on_progress: Callable[[int], None] | None = None) -> tuple[int, str]:
    """Read a whole file: its bytes, and their SHA-256 in hex. Raises OSError.

    Args:
        path: Which one.
        on_progress: Called with the bytes so far, now and then.
    """
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
            if on_progress is not None:
                on_progress(size)
    return size, digest.hexdigest()


def keep_private(root: Callable[[], Path]) -> None:
    """Have `make_folder` make all folders of this process below a root for the user alone.

    Args:
        root: Asked each time where that is; the folder need not exist.
    """
    _private.append(root)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there.

    What lies in a cache may be of private videos, so folders below a root that `keep_private` was
    told of are the user's alone, whatever the umask is, and those of older versions are made so.

    Raises:
        StorageError: No permission, or a file is in the way.
    """
    with storage_errors(folder, "write"):
        roots = (root() for root in _private)
        place = next((root for root in roots if folder.is_relative_to(root)), None)
        if place is None:
            folder.mkdir(parents=True, exist_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        _make_private(place, close=False)  # one that was there is not ours alone: /tmp, say
        for depth, name in enumerate(folder.relative_to(place).parts):
            place /= name
            _make_private(place, close=depth == 0)


def _make_private(folder: Path, *, close: bool) -> None:
    """Make a folder that only its owner may look into; `close` one that is there, too."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
        if close and folder.stat().st_mode & 0o077:
            with contextlib.suppress(PermissionError):  # another user's, who shares the cache
                folder.chmod(0o700)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `path` so that it is there whole or not at all, also after a power cut.

    Raises:
        StorageError: No permission, disk full.
    """
    make_folder(path.parent)
    with storage_errors(path, "write"):
        with atomic(path) as file:
            file.write(data)
        sync_folder(path.parent)


def copy_atomic(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all; the copy outlives a power cut.

    Raises:
        StorageError: The copy cannot be made.
    """
    with storage_errors(target, "write"):
        with source.open("rb") as file, atomic(target) as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        sync_folder(target.parent)


def write_json(path: Path, record: BaseModel) -> None:
    """Write `record` as JSON that a person can read, whole or not at all."""
    write_atomic(path, (record.model_dump_json(indent=2) + "\n").encode())


def move(source: Path, destination: Path) -> None:
    """Give a finished file on the same file system its final name.

    Raises:
        StorageError: No permission, disk full.
    """
    with storage_errors(destination, "write"):
        source.replace(destination)
        sync_folder(destination.parent)


def fsync_and_record(path: Path) -> FileRecord:
    """Force a finished file to the disk and give its record.

    Raises:
        StorageError: The file cannot be read back.
    """
    with storage_errors(path, "write"):
        record = file_record(path)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
        return record


def file_record(path: Path) -> FileRecord:
    """Size and digest of a file as it is now; OSError when it is missing."""
    size, sha256 = hash_file(path)
    return FileRecord(name=path.name, size=size, sha256=sha256)


def is_listed(path: Path, record: FileRecord) -> bool:
    """Whether `path` is a file of the size that `record` names; its bytes are not read."""
    try:
        return path.is_file() and path.stat().st_size == record.size
    except OSError:
        return False


def is_intact(path: Path, record: FileRecord) -> bool:
    """Whether `path` still holds the very bytes that `record` was made of; reads them all."""
    try:
        return is_listed(path, record) and file_record(path).sha256 == record.sha256
    except OSError:
        return False


def check_writable(folder: Path) -> None:
    """Make `folder` if need be, and write to it once.

    Raises:
        StorageError: It cannot be made or written to.
    """
    make_folder(folder)
    probe = folder / f".writable.{uuid.uuid4().hex[:8]}.tmp"
    with storage_errors(folder, "write"):
        try:
            probe.write_bytes(b"x")
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, and make its folder if need be; wait while another one holds it.

    Args:
        path: As in `samcore.disk.locks.open_locked`.
        on_wait: Called once, before waiting.

    Raises:
        StorageError: The lock file cannot be made.
    """
    make_folder(path.parent)
    with locked(path, on_wait=on_wait):
        yield
