"""Sources that were downloaded: one copy a machine, within a bound of bytes."""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from samcore.disk.files import (
    FileRecord,
    exclusive,
    file_record,
    is_intact,
    make_folder,
    storage_errors,
    write_json,
)
from samcore.disk.locks import locked, locked_if_free, open_locked
from samcore.disk.sealed import read_sealed, write_sealed

_logger = logging.getLogger(__name__)

_CONTENT = "content.json"
_known_whole: set[tuple[Path, int, int, int]] = set()
"""What this process has compared: path, file number, size and time of change."""

Download = Callable[[Path], None]
"""Makes the file at a path, whole or not at all; goes on with what an earlier call left there."""


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A source's content on this machine's disk; it stays while the lease that gave it is held."""

    path: Path
    """Read it, never write to it: others read it too."""


@dataclass(frozen=True, slots=True)
class DoesNotFit:
    """The cache cannot hold this source now; read it from where it lies, by ranges."""

    size: int
    """Its bytes."""
    room: int
    """Bytes that the cache could have given it at most."""


class _Entry(BaseModel):
    """What is written before a download begins, so that its bytes are counted while it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    """Which source, for a person who looks into the folder."""
    size: int
    """Bytes that it has or will have."""


class DownloadCache:
    """A folder of downloaded sources, shared by all processes of a machine.

    Each entry is a folder named by a digest of the source's identity, and a lock file beside it:

        3f9a.../entry.json      size and source, written first
        3f9a.../dog.mp4         the content, there only when it is whole
        3f9a.../content.json    its digest; each process reads the content once to compare it, and
                                downloads again what is damaged
        3f9a....lock            held exclusively to download or to remove, shared to read

    The kernel frees the locks of a killed process. What a killed download left is used again by
    the next one, or removed like any other entry when room is needed: those that were not used for
    longest go first, and never one that is in use.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        """Use `folder`, made if need be.

        Args:
            folder: On a file system of this machine: others' locks may not be seen.
            max_bytes: What all entries may have together. Half of the disk's free space is the
                bound if that is less.

        Raises:
            StorageError: The folder cannot be made.
        """
        make_folder(folder)
        self._folder = folder
        self.max_bytes = max_bytes
        """What all entries may have together, if the disk has it."""

    @contextlib.contextmanager
    def lease(
        self,
        identity: str,
        download: Download,
        *,
        name: str,
        size: int,
        label: str,
        on_wait: Callable[[], None] | None = None,
    ) -> Iterator[CachedFile | DoesNotFit]:
        """Have a source's content on the disk for as long as the block lasts.

        Args:
            identity: Names the content: bucket, key, ETag and version, and what else tells it from
                any other.
            download: Called if it is not there, by one process at a time.
            name: The file's name, such as `dog.mp4`; what is not fit for a file name is replaced.
            size: Bytes of the content.
            label: The source as a person knows it; never a URL with a signature.
            on_wait: Called once if another process is downloading it.

        Raises:
            StorageError: Disk full, no permission, or whatever `download` raises.
        """
        key = hashlib.sha256(identity.encode(errors="replace")).hexdigest()[:32]
        path = self._folder / key / _file_name(name)
        entry = _Entry(label=label, size=size)
        while (lock := self._share(key, path, on_wait)) is None:
            room = self._fill(key, path, entry, download, on_wait)
            if room is not None:
                yield DoesNotFit(size, room)
                return
        try:
            yield CachedFile(path)
        finally:
            os.close(lock)

    def _share(self, key: str, path: Path, on_wait: Callable[[], None] | None) -> int | None:
        """A descriptor with the shared lock, if the content is there; waits for a download."""
        lock = open_locked(self._lock_path(key), shared=True, on_wait=on_wait)
        if self._is_whole(key, path):
            with contextlib.suppress(OSError):
                os.utime(path.parent)
                path.chmod(0o600)  # an older version let others read it
            return lock
        os.close(lock)
        return None

    def _fill(
        self,
        key: str,
        path: Path,
        entry: _Entry,
        download: Download,
        on_wait: Callable[[], None] | None,
    ) -> int | None:
        """Download, unless another process was faster; then `_share` may have the content.

        Returns:
            As `_reserve`: not None if there is no room.
        """
        with locked(self._lock_path(key), on_wait=on_wait):
            if self._is_whole(key, path):
                return None
            with storage_errors(path, "write"):
                path.unlink(missing_ok=True)
            room = self._reserve(key, entry)
            if room is not None:
                self._lock_path(key).unlink(missing_ok=True)
                return room
            download(path)
            write_sealed(path.with_name(_CONTENT), file_record(path), of=_name_of(key, path))
            _known_whole.add(_identity(path, path.stat()))
            return None

    def _reserve(self, key: str, entry: _Entry) -> int | None:
        """Make room for an entry and count it from now on.

        Returns:
            None, or the bytes that it could have had at most if these do not suffice.
        """
        with exclusive(self._folder / "lock"):
            entries = self._entries()
            taken = sum(size for other, size, _ in entries if other != key)
            with storage_errors(self._folder, "read"):
                free = shutil.disk_usage(self._folder).free
            on_disk = sum(_bytes_of(self._folder / other) for other, _, _ in entries)
            bound = min(self.max_bytes, (free + on_disk) // 2)
            if entry.size > bound:
                self._remove(key)
                return bound
            for other, size, _ in sorted(entries, key=lambda found: found[2]):
                if taken + entry.size <= bound:
                    break
                if other != key and self._remove_unused(other):
                    taken -= size
            if taken + entry.size > bound:
                self._remove(key)
                return max(bound - taken, 0)
            write_json(self._folder / key / "entry.json", entry)
            return None

    def _entries(self) -> list[tuple[str, int, float]]:
        """Key, bytes and time of last use of each entry; a broken one counts what it holds."""
        found = []
        for folder in self._folder.iterdir():
            if not folder.is_dir():
                continue
            with contextlib.suppress(FileNotFoundError):
                used = folder.stat().st_mtime
                try:
                    record = (folder / "entry.json").read_text()
                    size = _Entry.model_validate_json(record).size
                except (OSError, ValidationError):
                    size = _bytes_of(folder)
                found.append((folder.name, size, used))
        return found

    def _remove_unused(self, key: str) -> bool:
        """Remove an entry unless a process has its lock."""
        with locked_if_free(self._lock_path(key)) as is_unused:
            if is_unused:
                self._remove(key)
                # Whoever waits for this very file finds that it has no name any more.
                self._lock_path(key).unlink(missing_ok=True)
            return is_unused

    def _is_whole(self, key: str, path: Path) -> bool:
        """Whether the content is there and what was downloaded. Only with a lock held."""
        try:
            seen = _identity(path, path.stat())
        except FileNotFoundError:
            return False
        if seen not in _known_whole:
            record = read_sealed(path.with_name(_CONTENT), FileRecord, of=_name_of(key, path))
            if record is None or not is_intact(path, record):
                _logger.info("%s is damaged: downloading it again", path)
                return False
            _known_whole.add(seen)
        return True

    def _lock_path(self, key: str) -> Path:
        return self._folder / f"{key}.lock"

    def _remove(self, key: str) -> None:
        if (self._folder / key).exists():
            _logger.info("removing %s from the cache of sources", key)
            shutil.rmtree(self._folder / key, ignore_errors=True)


def _identity(path: Path, stat: os.stat_result) -> tuple[Path, int, int, int]:
    return path, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _name_of(key: str, path: Path) -> str:
    return f"{key}/{path.name}"


def _bytes_of(folder: Path) -> int:
    """What the files of an entry take; 0 if another process removes it meanwhile."""
    total = 0
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            total += file.stat().st_size
    return total


def _file_name(name: str) -> str:
    """`name` as far as it can be a file's name, its ending kept."""
    fit = "".join("_" if character in "/\\\0" else character for character in name)
    stem, dot, ending = fit.encode(errors="replace").decode().rpartition(".")
    ending = (dot + ending)[:20]
    while len((stem + ending).encode()) > 150:
        stem = stem[:-1]
    fit = stem + ending
    return f"_{fit}" if fit.startswith(".") or fit in ("", "entry.json", _CONTENT) else fit
