"""Published results under a prefix of a bucket."""

import contextlib
import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from samcore.disk.files import (
    FileRecord,
    file_record,
    is_intact,
    is_listed,
    make_folder,
    move,
    storage_errors,
)
from samcore.errors import StorageConflictError, StorageError, TransientStorageError
from samcore.result.manifest import (
    MANIFEST,
    AnyManifest,
    M,
    Manifest,
    listed_files,
    manifest_key,
    with_files,
    without_files,
)
from samcore.result.store import Link, ResultStore, check_name, is_plain_name
from tasks.store.lease import claimed
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

_MAX_MANIFEST_BYTES = 256 << 20
_LARGE_BYTES = 8 << 20
"""A larger file is sent alone, in parallel parts; smaller files are sent in parallel."""
_WORKERS = 8
_LOOKED_AT = 64
"""Up to so many files are looked at one by one; of more (a picture a frame), those in folders are
only listed, which gives their sizes and one request a thousand files."""
_TURNS = 10
_LINK_LASTS_S = 7 * 86_400
"""The most that a presigned address may last."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A manifest as it lies in the bucket."""

    data: bytes
    etag: str


class BucketResults(ResultStore[M]):
    """A prefix in a bucket.

    A bucket can neither rename nor lock, so a process publishes in this order:

        time   run A                                  what a reader sees
        |      take the claim                         the old result
        |      is my result there, and whole?         (then nothing is left to do)
        |      delete the old manifest                no result
        |      upload the files                       no result
        |      put the manifest if there is none      A's result
        |      look at every file once more           A's result
        v      give the claim up                      A's result

    The claim keeps publishers of different runs apart, but it can expire while its holder is
    paused. Then run B may overwrite a file of A. A's last look finds B's bytes: A deletes its own
    manifest and tries again.
    """

    def __init__(
        self,
        prefix: S3Location,
        store: ObjectStore,
        *,
        local: Path,
        kind: type[M] = Manifest,  # type: ignore[assignment]  # the default of M, too
    ) -> None:
        """Connect to nothing yet.

        Args:
            prefix: Where the result lies.
            store: Where the bucket is.
            local: Folder of this machine for copies of the result's files.
            kind: The kind of manifests that are taken for results.
        """
        self._kind = kind
        self.prefix = prefix
        self.location = prefix.uri
        self._store = store
        self._local = local
        self._whole_etag: str | None = None
        """Of the manifest whose files this store saw last, all of them."""

    def published_key(self) -> str | None:
        stored = self._read()
        return None if stored is None else manifest_key(stored.data)

    def read_manifest(self, key: str | None = None) -> M | None:
        self._whole_etag = None
        manifest = self.listed(key)
        for file in () if manifest is None else manifest.files:
            copy = self._copy_of(file)
            if copy.exists() and not is_intact(copy, file):
                copy.unlink(missing_ok=True)
        return manifest

    def listed(self, key: str | None = None) -> M | None:
        stored = self._read()
        manifest = self._parse(stored)
        if stored is None or manifest is None or key not in (None, manifest.key):
            return None
        if stored.etag != self._whole_etag:
            if not self._is_whole(manifest):
                return None
            self._whole_etag = stored.etag
        return manifest

    def fetch(self, name: str) -> Path:
        record = self.record_of(name)
        path = self._copy_of(record)
        if is_listed(path, record):
            return path
        # To a name of its own first: what lies under the final one was intact when it came there.
        fetched = path.with_name(f".{path.name}.fetched.tmp")
        self._store.get_file(self._at(name), fetched)
        if not is_intact(fetched, record):
            fetched.unlink(missing_ok=True)
            raise StorageError(f"{self.address(name)} is not what the manifest says; run again")
        move(fetched, path)
        return path

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        folder = self._local / f"new-{uuid.uuid4().hex[:12]}"
        make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self, files: Mapping[str, Path], manifest: M, *, check: Callable[[str | None], None]
    ) -> M:
        records = {record.name: record for record in manifest.files}
        with claimed(self._store, self.prefix, manifest.key) as renew:
            stored = self._read()
            check(None if stored is None else manifest_key(stored.data))
            there = self._parse(stored)
            if there is not None and there.is_same(manifest) and self._is_whole(there):
                return there
            self._unpublish(stored, keep=set(files))
            self._send([(records[name], path) for name, path in files.items()], renew)
            self._put_manifest(manifest)
        for name, path in files.items():
            self._keep(records[name], path)
        return manifest

    def add_files(self, files: Mapping[str, Path], key: str) -> M:
        records = [
            (file_record(path).model_copy(update={"name": check_name(name)}), path)
            for name, path in files.items()
        ]
        with claimed(self._store, self.prefix, key) as renew:
            there = self.listed(key)
            if there is None:
                raise StorageError(f"the result in {self.location} is gone or damaged; run again")
            present = {record.name: record for record in there.files}
            if all(present.get(record.name) == record for record, _ in records):
                return there
            if any(record.name in present for record, _ in records):
                # A file that is replaced must not be listed while it is not the one listed.
                self._change(key, lambda manifest: without_files(manifest, files))
            self._send(records, renew)
            added = [record for record, _ in records]
            manifest = self._change(key, lambda manifest: with_files(manifest, added))
        for record, path in records:
            self._keep(record, path)
        return manifest

    def address(self, name: str) -> str:
        return self._at(name).uri

    def link(self, name: str) -> Link:
        console = self._store.console_url(self._at(name))
        if console is not None:
            return Link(console, None)
        return Link(self._store.presign(self._at(name), seconds=_LINK_LASTS_S), _LINK_LASTS_S)

    def _at(self, name: str) -> S3Location:
        return self.prefix.join(name)

    def _read(self) -> _Stored | None:
        """The manifest and its ETag, of one moment."""
        location = self._at(MANIFEST)
        info = self._store.head(location)
        if info is None:
            return None
        data = self._store.get_bytes(location, limit=_MAX_MANIFEST_BYTES)
        if info.sha256 is not None and hashlib.sha256(data).hexdigest() != info.sha256:
            raise TransientStorageError(f"{location.uri} is being replaced; run again")
        return _Stored(data, info.etag)

    def _parse(self, stored: _Stored | None) -> M | None:
        """None if there is none, or one that this version cannot read, or of another kind."""
        with contextlib.suppress(ValidationError):
            return None if stored is None else self._kind.model_validate_json(stored.data)
        return None

    def _is_whole(self, manifest: M) -> bool:
        files = manifest.files
        if not all(is_plain_name(file.name) for file in files):
            return False
        if len(files) > _LOOKED_AT:
            listed = {info.location: info.size for info in self._store.list(self._folder())}
            if not all(listed.get(self._at(file.name)) == file.size for file in files):
                return False
            files = tuple(file for file in files if "/" not in file.name)
        return all(self._is_there(file) for file in files)

    def _folder(self) -> S3Location:
        key = self.prefix.key
        return S3Location(self.prefix.bucket, f"{key}/" if key else "")

    def _is_there(self, record: FileRecord) -> bool:
        info = self._store.head(self._at(record.name))
        return info is not None and (info.size, info.sha256) == (record.size, record.sha256)

    def _unpublish(self, stored: _Stored | None, *, keep: set[str]) -> None:
        """Make what lies there no result any more: its manifest goes first."""
        if stored is None:
            return
        self._store.delete(self._at(MANIFEST))
        for name in listed_files(stored.data):
            if is_plain_name(name) and name not in keep:
                self._store.delete(self._at(name))

    def _send(self, files: Iterable[tuple[FileRecord, Path]], renew: Callable[[], None]) -> None:
        def send(item: tuple[FileRecord, Path]) -> None:
            record, path = item
            self._store.put_file(
                path,
                self._at(record.name),
                sha256=record.sha256,
                on_progress=lambda _done, _total: renew(),
            )
            renew()

        items = list(files)
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="publish") as pool:
            # Consumed at once, so that what went wrong is raised.
            list(pool.map(send, (item for item in items if item[0].size <= _LARGE_BYTES)))
        for item in items:
            if item[0].size > _LARGE_BYTES:
                send(item)

    def _put_manifest(self, manifest: M) -> None:
        """Put the manifest where none is, and make sure that no other run published meanwhile.

        Raises:
            TransientStorageError: Another run did. Its result is published, or none.
        """
        data = _bytes_of(manifest)
        busy = TransientStorageError(
            f"another run was published to {self.location} at the same time; run again"
        )
        try:
            info = self._store.put_bytes(self._at(MANIFEST), data, only_if_absent=True)
        except StorageConflictError as error:
            raise busy from error
        if self._is_whole(manifest):
            self._whole_etag = info.etag
            return
        stored = self._read()
        if stored is not None and stored.data == data:
            self._store.delete(self._at(MANIFEST))
        raise busy

    def _change(self, key: str, change: Callable[[M], M]) -> M:
        """Change the manifest as it is at that moment.

        Each turn that fails is another writer's turn that succeeded.

        Raises:
            StorageError: There is none any more, or too many others change it.
        """
        for _ in range(_TURNS):
            stored = self._read()
            there = self._parse(stored)
            if stored is None or there is None or there.key != key:
                break
            changed = change(there)
            with contextlib.suppress(StorageConflictError):
                info = self._store.put_bytes(
                    self._at(MANIFEST), _bytes_of(changed), only_if_etag=stored.etag
                )
                if stored.etag == self._whole_etag:
                    self._whole_etag = info.etag  # what was sent for it was looked at then
                return changed
        raise TransientStorageError(
            f"the result in {self.location} was replaced while files were added; run again"
        )

    def _copy_of(self, record: FileRecord) -> Path:
        # Named for the content: what was fetched for an older result is not taken for this one's.
        return self._local / record.sha256[:16] / Path(record.name).name

    def _keep(self, record: FileRecord, path: Path) -> None:
        """Spare the download of what was made here."""
        if self._local in path.parents:
            copy = self._copy_of(record)
            make_folder(copy.parent)
            with storage_errors(copy, "write"):
                move(path, copy)


def _bytes_of(manifest: AnyManifest) -> bytes:
    return (manifest.model_dump_json(indent=2) + "\n").encode()
