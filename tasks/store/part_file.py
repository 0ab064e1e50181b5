"""A download that can be resumed: it lies beside its file until it is whole and checked."""

import contextlib
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from samcore.disk.locks import open_locked
from samcore.errors import DamagedObjectError
from tasks.disk.files import make_folder, storage_errors, sync_folder

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far, and the bytes in all if they are known."""

_BLOCK = 1 << 20


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    """zlib's CRC-32, used like a hash of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class PartFile:
    """What has come of a file so far, under a name of its own beside the final one.

    The name holds a digest of the version that is being fetched: bytes of another version are never
    resumed. Only one process at a time has it open; a killed one's bytes are used again. Only
    the user may read it: the video may be a private one.
    """

    def __init__(self, path: Path, descriptor: int, part: Path, checksum: str | None) -> None:
        self.path = path
        """Where the file will be."""
        self.size = 0
        """Bytes that have come."""
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self._part = part
        self._checksum = checksum
        self._digest = _new_digest(checksum)

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, *, version: str, checksum: str | None) -> Iterator["PartFile"]:
        """Go on with what an earlier try left of this version, or begin.

        Args:
            path: The final name; its folder is made if need be.
            version: ETag or the like: whatever changes when the source does.
            checksum: `algorithm:hex` that the whole file must have; algorithms are crc32 and what
                hashlib knows. None checks nothing.

        Raises:
            StorageError: No permission, disk full. What has come stays, to be resumed.
        """
        make_folder(path.parent)
        tag = hashlib.sha256(version.encode(errors="replace")).hexdigest()[:16]
        part = path.with_name(f"{_stem(path)}.{tag}.part")
        descriptor = open_locked(part, mode=0o600)
        os.fchmod(descriptor, 0o600)  # also what an older version began
        file = cls(path, descriptor, part, checksum)
        with file._file:
            with storage_errors(path, "read"):
                file._read_what_came()
            yield file

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            StorageError: Disk full, no permission. What has come stays.
        """
        with storage_errors(self.path, "write"):
            view = memoryview(data)
            while view:
                count = self._file.write(view)
                # A full disk may take a part of a block: that part has come, and counts.
                self._digest.update(bytes(view[:count]))
                self.size += count
                view = view[count:]

    def restart(self) -> None:
        """Forget what has come."""
        with storage_errors(self.path, "write"):
            self._file.seek(0)
            self._file.truncate(0)
        self.size = 0
        self._digest = _new_digest(self._checksum)

    def commit(self, what: str) -> None:
        """Check the bytes, bring them to the disk and give the file its name.

        Args:
            what: The source as a person knows it, for the error.

        Raises:
            DamagedObjectError: They are not the bytes that the checksum was made of; they are
                thrown away, as there is no telling which of them is wrong.
            StorageError: Disk full, no permission.
        """
        wanted = (self._checksum or "").partition(":")[2]
        if wanted and self._digest.hexdigest() != wanted:
            self.restart()
            raise DamagedObjectError(
                f"cannot read {what}: what came does not have its checksum; the bytes were damaged "
                "on their way, or in the store if this stays so: upload it again then"
            )
        with storage_errors(self.path, "write"):
            os.fsync(self._file.fileno())
            os.replace(self._part, self.path)
            sync_folder(self.path.parent)
            # Bytes of older versions are of no use any more.
            for stale in self.path.parent.glob(f"{_escaped(_stem(self.path))}.*.part"):
                stale.unlink(missing_ok=True)

    def _read_what_came(self) -> None:
        while block := self._file.read(_BLOCK):
            self._digest.update(block)
            self.size += len(block)


def has_checksum(data: bytes, checksum: str | None) -> bool:
    """Whether `data` has the checksum, `algorithm:hex`; True if there is none."""
    if checksum is None:
        return True
    digest = _new_digest(checksum)
    digest.update(data)
    return digest.hexdigest() == checksum.partition(":")[2]


def _new_digest(checksum: str | None) -> _Digest:
    algorithm = (checksum or "crc32").partition(":")[0]
    if algorithm == "crc32":
        return _Crc32()
    # ETags are MD5 by definition: a checksum here, no protection against anyone.
    return hashlib.new(algorithm, usedforsecurity=False)


def _stem(path: Path) -> str:
    """What the names of all parts of `path` begin with; short enough for any file system."""
    return "." + path.name.encode(errors="ignore")[:150].decode(errors="ignore")


def _escaped(name: str) -> str:
    """`name` as a pattern that matches only itself."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
