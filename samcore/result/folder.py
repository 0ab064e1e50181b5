"""Published results in a folder."""

import contextlib
import errno
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from samcore.disk.files import (
    FileRecord,
    copy_atomic,
    exclusive,
    fsync_and_record,
    is_intact,
    is_listed,
    make_folder,
    move,
    storage_errors,
    write_json,
)
from samcore.disk.janitor import remove_abandoned_exports
from samcore.errors import InputError, StorageError
from samcore.exports.source import ExportSource
from samcore.result.manifest import (
    MANIFEST,
    M,
    Manifest,
    listed_files,
    published_key,
    with_files,
    without_files,
)
from samcore.result.reader import Result
from samcore.result.store import Link, ResultStore, check_name, is_plain_name

_OWN = ".longtake"


class LocalResults(ResultStore[M]):
    """A folder. A lock in it keeps publishers apart; the kernel frees it when its holder ends."""

    def __init__(
        self,
        folder: Path,
        kind: type[M] = Manifest,  # type: ignore[assignment]  # the default of M, too
    ) -> None:
        """Read and write nothing yet.

        Args:
            folder: The destination.
            kind: The kind of manifests that are taken for results.
        """
        self._kind = kind
        self.folder = folder
        self.location = str(folder)

    def published_key(self) -> str | None:
        return published_key(self.folder)

    def read_manifest(self, key: str | None = None) -> M | None:
        return self._manifest_if(is_intact, key)

    def listed(self, key: str | None = None) -> M | None:
        return self._manifest_if(is_listed, key)

    def _manifest_if(
        self, is_whole: Callable[[Path, FileRecord], bool], key: str | None
    ) -> M | None:
        try:
            manifest = self._kind.model_validate_json((self.folder / MANIFEST).read_bytes())
        except (OSError, ValidationError):
            return None
        if key not in (None, manifest.key):
            return None
        whole = all(
            is_plain_name(file.name) and is_whole(self.folder / file.name, file)
            for file in manifest.files
        )
        return manifest if whole else None

    def fetch(self, name: str) -> Path:
        record = self.record_of(name)
        path = self.folder / name
        if not is_listed(path, record):
            raise StorageError(f"{path} is gone or damaged; run again")
        return path

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        remove_abandoned_exports(self.folder / _OWN / "new")
        folder = self.folder / _OWN / "new" / uuid.uuid4().hex[:12]
        make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process works there
                folder.parent.rmdir()

    def publish(
        self, files: Mapping[str, Path], manifest: M, *, check: Callable[[str | None], None]
    ) -> M:
        with self._lock():
            check(self.published_key())
            self._unpublish({check_name(name) for name in files})
            for name, path in files.items():
                self._take(name, path)
            write_json(self.folder / MANIFEST, manifest)
        return manifest

    def add_files(self, files: Mapping[str, Path], key: str) -> M:
        for name in files:
            check_name(name)
        with self._lock():
            manifest = self.listed(key)
            if manifest is None:
                raise StorageError(f"the result in {self.location} is gone or damaged; run again")
            if any(file.name in files for file in manifest.files):
                # A file that is replaced must not be listed while it is not the one listed.
                manifest = without_files(manifest, files)
                write_json(self.folder / MANIFEST, manifest)
            records = [
                fsync_and_record(self._take(name, path)).model_copy(update={"name": name})
                for name, path in files.items()
            ]
            manifest = with_files(manifest, records)
            write_json(self.folder / MANIFEST, manifest)
        return manifest

    def open_masklets(
        self: "LocalResults[Manifest]", named: str, *, whole: bool
    ) -> tuple[Manifest, ExportSource]:
        found = Result(self.folder)
        if whole:
            found.check()
        return found.manifest, found.masklets

    def require(self, named: str) -> M:
        try:
            return super().require(named)
        except InputError:
            if (self.folder / MANIFEST).is_file():
                Result(self.folder).check()  # names the file
            raise

    def address(self, name: str) -> str:
        return str(self.folder / name)

    def link(self, name: str) -> Link:
        return Link((self.folder / name).absolute().as_uri(), None)

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return exclusive(self.folder / _OWN / "lock")

    def _unpublish(self, keep: set[str]) -> None:
        """Make what lies there no result any more: its manifest goes first."""
        path = self.folder / MANIFEST
        if self.published_key() is None:
            return
        stale: set[str] = set()
        with contextlib.suppress(OSError):
            stale = set(filter(is_plain_name, listed_files(path.read_bytes()))) - keep
        with storage_errors(path, "write"):
            path.unlink()
            for name in stale:
                (self.folder / name).unlink(missing_ok=True)

    def _take(self, name: str, path: Path) -> Path:
        """Bring a file to its place: moved if it was made here for that, else copied."""
        target = self.folder / name
        if path == target:
            return target
        make_folder(target.parent)
        if self.folder / _OWN in path.parents:
            try:
                move(path, target)
                return target
            except StorageError as error:
                # A work folder may be a link to another disk.
                if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EXDEV:
                    raise
        copy_atomic(path, target)
        return target
