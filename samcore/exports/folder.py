"""A folder that appears whole or not at all."""

import contextlib
import heapq
import itertools
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from samcore.disk.atomic import storage_error
from samcore.errors import InputError, SegmentationError, StorageError

_BATCH = 16_384
"""Names that are held at a time: a picture a frame is many files."""

_SYNCS = 16
"""Files that are brought to the disk at a time."""


class NewFolder:
    """Files are put into `path`; when the block ends without an exception, they are at `final`.

    A context manager. What the disk refuses within the block becomes one clear line, and nothing
    is left. The temporary name begins with a dot and ends in `.tmp`; only a killed process leaves
    one.
    """

    def __init__(self, final: Path, *, replace: bool = False) -> None:
        """Nothing is made before the block is entered.

        Args:
            final: The folder to make, with those above it.
            replace: Whether one that is there already is replaced as a whole; an empty one is in
                any case.
        """
        self.final = final.absolute()
        """Where the folder will be."""
        self._replace = replace
        token = secrets.token_hex(6)
        self.path = self.final.with_name(f".{self.final.name}.{token}.tmp")
        """Write here."""
        self._old = self.final.with_name(f".{self.final.name}.{token}.old.tmp")

    def __enter__(self) -> "NewFolder":
        try:
            self._check()
            self.path.mkdir(parents=True)
        except OSError as error:
            raise self._clear(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._commit()
        except OSError as failed:
            raise self._clear(failed) from failed
        finally:
            _remove(self.path)
        if isinstance(error, StorageError) and str(self.path) in str(error):
            # A writer said where it wrote; a person knows that place by its final name.
            raise StorageError(str(error).replace(str(self.path), str(self.final))) from error
        # One of ours is an OSError, too, and is clear already.
        if isinstance(error, OSError) and not isinstance(error, SegmentationError):
            raise self._clear(error) from error

    def _check(self) -> None:
        if not os.path.lexists(self.final):
            return
        if not self.final.is_dir() or self.final.is_symlink():
            raise InputError(f"{self.final} is in the way: it is no folder; choose another place")
        if not self._replace and any(self.final.iterdir()):
            raise InputError(
                f"{self.final} is there already and not empty: choose another place, or --force "
                "to replace it"
            )

    def _commit(self) -> None:
        _sync_all(self.path)
        self._check()  # someone may have filled it meanwhile
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.final, self._old)
        try:
            os.rename(self.path, self.final)
        except OSError:
            with contextlib.suppress(OSError):
                os.rename(self._old, self.final)
            raise
        _remove(self._old)
        _sync(self.final.parent)

    def _clear(self, error: OSError) -> SegmentationError:
        if isinstance(error, SegmentationError):
            return error
        clear: StorageError = storage_error(self.final, error, doing="write")
        return clear


def files_in(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those within it, relative to it, ascending.

    Holds some thousand names, however many there are: names are looked through again for the next
    ones. Files that were given may be gone by then.
    """
    last = ""
    while True:
        with os.scandir(folder) as entries:
            later = ((e.name, e.is_dir(follow_symlinks=False)) for e in entries if e.name > last)
            batch = heapq.nsmallest(_BATCH, later)
        for name, is_folder in batch:
            if is_folder:
                yield from (Path(name, inner) for inner in files_in(folder / name))
            else:
                yield Path(name)
        if len(batch) < _BATCH:
            return
        last = batch[-1][0]


def _remove(folder: Path) -> None:
    """Remove a folder as far as possible. Unlike shutil.rmtree it holds no list of all files."""
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove(folder / entry.name)
                else:
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)
        os.rmdir(folder)


def _sync_all(folder: Path) -> None:
    """Make the bytes of all files outlive a power cut.

    Several at a time: a disk's journal takes them together, and one after another the waiting for
    it is half of the time that a picture a frame takes.
    """
    files = files_in(folder)
    with ThreadPoolExecutor(_SYNCS) as pool:
        while batch := [folder / file for file in itertools.islice(files, 32 * _SYNCS)]:
            for _ in pool.map(_sync, batch):
                pass  # raises what went wrong


def _sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
