"""Files that appear whole or not at all, and what to say when the disk refuses."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from samcore.errors import SegmentationError, StorageError

_DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def storage_error(path: Path, error: BaseException, *, doing: str) -> StorageError:
    """One line for a person: which file, what the system said, the way out.

    Args:
        path: The file as the person knows it (never the temporary name).
        error: What was caught.
        doing: `write` or `read`.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code in _DISK_FULL:
        why = "the disk is full; free some space or choose another folder"
    elif code in _NOT_ALLOWED:
        why = "no permission; change the folder's permissions or choose another one"
    elif code in (errno.ENOTDIR, errno.EEXIST) and doing == "write":
        why = "a file is in the way of a folder; choose another place"
    elif code == errno.ENOENT and doing == "write":
        why = f"there is no folder {path.parent}; create it or choose another one"
    elif code == errno.ENOENT:
        why = "there is no such file"
    else:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        why = " ".join(said.split())
    return StorageError(f"cannot {doing} {path}: {why}")


@contextlib.contextmanager
def storage_errors(path: Path, doing: Literal["read", "write"]) -> Iterator[None]:
    """Turn what the operating system says about `path` into one clear line.

    Raises:
        StorageError: In place of any OSError that is not already one of ours.
    """
    try:
        yield
    except SegmentationError:
        raise
    except OSError as error:
        raise storage_error(path, error, doing=doing) from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicFile:
    """A binary file under a temporary name in `path`'s folder until `commit` moves it there.

    The temporary name begins with a dot and ends in `.tmp`; only a killed process leaves one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """Where the file will be."""
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        # Opened here and closed by commit or discard: it outlives any `with` of this scope.
        self.file = open(self._temporary, "xb")  # noqa: SIM115
        """Write here."""

    def commit(self) -> None:
        """Bring the bytes to the disk and move the file to its name, replacing an older one."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Leave nothing behind. Also right after a failed `commit`, and never raises OSError."""
        with contextlib.suppress(OSError):
            self.file.close()  # flushes, and so fails again on a full disk
        with contextlib.suppress(OSError):
            self._temporary.unlink()


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Write a file whole or not at all: `with atomic(path) as file: file.write(data)`.

    The file is at `path`, on the disk, once the block has ended; an error in the block leaves what
    was there before.

    Raises:
        StorageError: The file cannot be written.
    """
    with storage_errors(path, "write"):
        target = AtomicFile(path)
        try:
            yield target.file
            target.commit()
        except BaseException:
            target.discard()
            raise
