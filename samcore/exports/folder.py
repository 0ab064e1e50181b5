"""A folder that appears whole or not at all."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType

from samcore.atomic import storage_error
from samcore.errors import InputError, SegmentationError, StorageError


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
            shutil.rmtree(self.path, ignore_errors=True)
        if isinstance(error, StorageError) and str(self.path) in str(error):
            # A writer said where it wrote; a person knows that place by its final name.
            raise StorageError(str(error).replace(str(self.path), str(self.final))) from error
        # One of ours is an OSError, too, and is clear already.
        if isinstance(error, OSError) and not isinstance(error, SegmentationError):
            raise self._clear(error) from error

    def files(self) -> list[Path]:
        """What is in it so far, relative to it, ascending."""
        return sorted(
            path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file()
        )

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
        for file in self.files():
            _sync(self.path / file)
        self._check()  # someone may have filled it meanwhile
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.final, self._old)
        try:
            os.rename(self.path, self.final)
        except OSError:
            with contextlib.suppress(OSError):
                os.rename(self._old, self.final)
            raise
        shutil.rmtree(self._old, ignore_errors=True)
        _sync(self.final.parent)

    def _clear(self, error: OSError) -> SegmentationError:
        if isinstance(error, SegmentationError):
            return error
        clear: StorageError = storage_error(self.final, error, doing="write")
        return clear


def _sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
