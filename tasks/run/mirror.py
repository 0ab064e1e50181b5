"""Work in progress in the bucket of the destination, for another machine to continue.

    DEST/.longtake/index/<name>.parquet                    the index of a video's frames
    DEST/.longtake/runs/<work>/chunks/00007/masks.parquet  as in the folder of this work key
    DEST/.longtake/runs/<work>/chunks/00007/state.safetensors
    DEST/.longtake/runs/<work>/chunks/00007/done.json      put last: without it there is no chunk
    DEST/.longtake/runs/<work>/chunks/00007/partial.*      where a machine was told to go away
    DEST/.longtake/runs/<work>/plan/*.json                 of a run whose units others track

What is not mirrored is quick to make again: the prompt pass, the seams.
"""

import contextlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from samcore.chunks.plan import Chunk
from samcore.disk.files import (
    FileRecord,
    file_record,
    is_intact,
    make_folder,
    move,
    write_atomic,
)
from samcore.errors import (
    DamagedObjectError,
    MissingObjectError,
    StorageConflictError,
)
from samcore.picture_runs.folder import PictureRunFolder
from samcore.picture_runs.records import ShardRecord
from samcore.result.records import ChunkRecord
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import (
    PartialChunk,
    PartialRecord,
    checkpoint_path,
    find_partial_chunk,
)
from samcore.run.work_folder import WorkFolder
from tasks.run.refs import RunRef
from tasks.store.locations import S3Location, parse_location
from tasks.store.object_info import ObjectInfo

if TYPE_CHECKING:
    from tasks.store.object_store import ObjectStore

_log = logging.getLogger(__name__)
_M = TypeVar("_M", bound=BaseModel)
_NAME = re.compile(
    r"chunks/(\d{5,9})/(masks\.parquet|state\.safetensors|drawn\.tar|done\.json"
    r"|partial\.(parquet|safetensors|json))"
    r"|plan/(request|video|names|prompts)\.json"
)
_PLAN = ("video", "names", "prompts", "request")
"""Records of what is asked; the last one says that the others are there."""
_MAX_RECORD_BYTES = 16 << 20
_NOT_THERE = (MissingObjectError, StorageConflictError, DamagedObjectError)
"""What cannot be had whole is made again here."""


class Mirror:
    """What of a run's folder is in the bucket. Any part of it may be missing, damaged or forged:
    what is fetched is believed only if it has the digests that its record names."""

    def __init__(self, prefix: S3Location, store: "ObjectStore") -> None:
        """Connect to nothing yet.

        Args:
            prefix: The destination.
            store: Where its bucket is.
        """
        self._prefix = prefix
        self._store = store

    def push_index(self, path: Path) -> None:
        """Copy the index of a video's frames to the bucket, if it is not there.

        Raises:
            StorageError: The bucket cannot be written to.
        """
        self._put(path, self._prefix.join(f".longtake/index/{path.name}"), file_record(path))

    def pull_index(self, path: Path) -> None:
        """Fetch the index of a video's frames, if it is in the bucket and not here.

        Raises:
            StorageError: The bucket cannot be read.
        """
        if not path.exists():
            make_folder(path.parent)
            with contextlib.suppress(*_NOT_THERE):
                self._store.get_file(self._prefix.join(f".longtake/index/{path.name}"), path)

    def push_chunk(self, folder: RunFolder, index: int) -> None:
        """Copy a finished chunk to the bucket, if it is not there; its record comes last.

        Raises:
            StorageError: The bucket cannot be written to.
        """
        record = folder.finished_chunk(index)
        if record is None:
            return
        self._push(folder, folder.masks_path(index), record.masks)
        if record.state is not None and folder.has_state(index):
            self._push(folder, folder.state_path(index), record.state)
        done = folder.done_path(index)
        self._push(folder, done, file_record(done))
        if index >= 2:
            # As in the folder: nothing can need it any more.
            self._store.delete(self._at(folder, folder.state_path(index - 2)))

    def push_plan(self, folder: RunFolder) -> None:
        """Copy to the bucket what is asked of a run, if it is not there.

        Raises:
            StorageError: The bucket cannot be written to.
        """
        for name in _PLAN:
            path = folder.path / f"{name}.json"
            if path.exists():
                self._put(path, self._plan_at(folder, name), file_record(path))

    def pull_plan(self, folder: RunFolder) -> None:
        """Fetch what is asked of a run, if it is in the bucket and not here. Each record is
        believed as one of this machine is: if it is whole and of this run.

        Raises:
            StorageError: The bucket cannot be read, or the folder not be written to.
        """
        if (folder.path / "request.json").exists():
            return
        make_folder(folder.path / "chunks")
        for name in _PLAN:
            with contextlib.suppress(MissingObjectError):
                location = self._plan_at(folder, name)
                data = self._store.get_bytes(location, limit=_MAX_RECORD_BYTES)
                write_atomic(folder.path / f"{name}.json", data)

    def _plan_at(self, folder: RunFolder, name: str) -> S3Location:
        return self._prefix.join(f".longtake/runs/{folder.path.name}/plan/{name}.json")

    def push_shard(self, folder: PictureRunFolder, record: ShardRecord) -> None:
        """Copy a finished shard of pictures to the bucket, if it is not there; its record last.

        Raises:
            StorageError: The bucket cannot be written to.
        """
        self._push(folder, folder.masks_path(record.index), record.masks)
        self._push(folder, folder.drawn_path(record.index), record.drawn)
        done = folder.done_path(record.index)
        self._push(folder, done, file_record(done))

    def pull_shards(self, folder: PictureRunFolder, shards: Iterable[int]) -> None:
        """Fetch those of some shards that are in the bucket and not here.

        Raises:
            StorageError: The bucket cannot be read, or the folder not be written to.
        """
        there = self._list(folder.path.name)
        for index in shards:
            done = folder.done_path(index)
            info = there.get(self._name(folder, done))
            if info is None or folder.shard_record(index) is not None:
                continue
            with contextlib.suppress(*_NOT_THERE):
                record = self._read_record(folder, done, info, ShardRecord)
                make_folder(done.parent)
                if (
                    record is not None
                    and self._pull_file(folder, folder.masks_path(index), record.masks, there)
                    and self._pull_file(folder, folder.drawn_path(index), record.drawn, there)
                ):
                    folder.write_record(done, record)

    def push_partial_chunk(self, folder: RunFolder, index: int) -> None:
        """Copy a chunk that was stopped on its way to the bucket; the record comes last.

        Raises:
            StorageError: The bucket cannot be written to.
        """
        found = find_partial_chunk(folder, index)
        if found is None:
            return
        if found.record.handed_on is not None:
            self._push(folder, folder.state_path(index), found.record.handed_on)
        self._push(folder, found.masks_path, found.record.masks)
        self._push(folder, found.state_path, found.record.state)
        self._push(folder, found.record_path, file_record(found.record_path))

    def pull(self, folder: RunFolder) -> list[int]:
        """Fetch the finished chunks that are in the bucket and not here; which ones.

        Raises:
            StorageError: The bucket cannot be read, or the folder not be written to.
        """
        there = self._list(folder.path.name)
        fetched = []
        for chunk in folder.record().chunks:
            name = self._name(folder, folder.done_path(chunk.index))
            # One that another machine is just tracking again is not there for a moment.
            with contextlib.suppress(*_NOT_THERE):
                if name in there and self._pull_chunk(folder, chunk, there):
                    fetched.append(chunk.index)
            with contextlib.suppress(*_NOT_THERE):
                self._pull_partial_chunk(folder, chunk, there)
        return fetched

    def has(self, key: str) -> bool:
        """Whether anything of a run is in the bucket.

        Raises:
            StorageError: The bucket cannot be read.
        """
        return bool(self._list(key))

    def remove(self, key: str) -> None:
        """Remove all of a run from the bucket, records first; and, where server and rights let it,
        what killed uploads left there.

        Raises:
            StorageError: The bucket cannot be written to.
        """
        from tasks.store.object_store import remove_stale_uploads  # late, like all of boto3

        there = self._list(key)
        for name in sorted(there, key=lambda name: not name.endswith("done.json")):
            self._store.delete(there[name].location)
        # No other process works at this run; but others may at other runs, and at the result.
        remove_stale_uploads(self._store, self._folder(key), at_once=True)
        remove_stale_uploads(self._store, self._prefix)

    def _pull_chunk(self, folder: RunFolder, chunk: Chunk, there: dict[str, ObjectInfo]) -> bool:
        """Bring what lacks here of one chunk; False if nothing does, or there is nothing better."""
        here = folder.finished_chunk(chunk.index)
        masks, state = folder.masks_path(chunk.index), folder.state_path(chunk.index)
        if here is not None:
            if folder.has_state(chunk.index) or here.state is None:
                return False
            return self._pull_file(folder, state, here.state, there)
        done = folder.done_path(chunk.index)
        record = self._read_record(folder, done, there[self._name(folder, done)], ChunkRecord)
        if record is None:
            return False
        make_folder(done.parent)
        if not self._pull_file(folder, masks, record.masks, there):
            return False
        if record.state is not None:
            self._pull_file(folder, state, record.state, there)
        folder.write_record(done, record)
        return True

    def _pull_partial_chunk(
        self, folder: RunFolder, chunk: Chunk, there: dict[str, ObjectInfo]
    ) -> None:
        """Bring where another machine stopped in a chunk, if it came further than this one."""
        index = chunk.index
        here = find_partial_chunk(folder, index)
        path = checkpoint_path(folder, index)
        info = there.get(self._name(folder, path))
        if info is None or folder.finished_chunk(index) is not None:
            return
        record = self._read_record(folder, path, info, PartialRecord)
        if record is None or not chunk.start < record.next_frame < chunk.stop:
            return
        if here is not None and here.record.next_frame >= record.next_frame:
            return
        make_folder(folder.chunk_path(index))
        wanted = PartialChunk.of(folder, index, record).files(folder, index)
        if all(self._pull_file(folder, file_path, file, there) for file_path, file in wanted):
            folder.write_record(path, record)

    def _pull_file(
        self, folder: WorkFolder, path: Path, wanted: FileRecord, there: dict[str, ObjectInfo]
    ) -> bool:
        """Fetch one file; False if it is not in the bucket, or not the one that is wanted."""
        found = there.get(self._name(folder, path))
        if is_intact(path, wanted):
            return True
        if found is None or found.size != wanted.size:
            return False
        # To a name of its own first: what is here may be better than what is there.
        fetched = path.with_name(f".{path.name}.fetched.tmp")
        self._store.get_file(found.location, fetched)
        if not is_intact(fetched, wanted):
            _log.info("%s is not what its record says", found.location)
            fetched.unlink(missing_ok=True)
            return False
        move(fetched, path)
        return True

    def _list(self, key: str) -> dict[str, ObjectInfo]:
        """A run's objects by name; only such names as a run gives."""
        folder = self._folder(key)
        found = self._store.list(folder)
        names = ((info.location.key.removeprefix(folder.key), info) for info in found)
        return {name: info for name, info in names if _NAME.fullmatch(name)}

    def _folder(self, key: str) -> S3Location:
        """Where a run's objects are; it ends in a slash."""
        return S3Location(self._prefix.bucket, self._prefix.join(f".longtake/runs/{key}").key + "/")

    def _read_record(
        self, folder: WorkFolder, path: Path, info: ObjectInfo, kind: type[_M]
    ) -> _M | None:
        """The record that the bucket has for a place in the folder; None if it is not of it."""
        data = self._store.get_bytes(info.location, limit=_MAX_RECORD_BYTES)
        return folder.parse_record(path, data, kind)

    def _push(self, folder: WorkFolder, path: Path, record: FileRecord) -> None:
        self._put(path, self._at(folder, path), record)

    def _put(self, path: Path, location: S3Location, record: FileRecord) -> None:
        self._store.put_file(path, location, sha256=record.sha256)

    def _at(self, folder: WorkFolder, path: Path) -> S3Location:
        name = self._name(folder, path)
        return self._prefix.join(f".longtake/runs/{folder.path.name}/{name}")

    def _name(self, folder: WorkFolder, path: Path) -> str:
        return path.relative_to(folder.path).as_posix()


def push_partial_chunk(run: RunRef, index: int) -> None:
    """Copy a chunk that was stopped on its way to the bucket of the result, if that is where it
    goes: this machine may be going away.

    Raises:
        StorageError: The bucket cannot be written to.
    """
    mirror = open_mirror(run)
    if mirror is not None:
        mirror.push_partial_chunk(RunFolder.from_ref(run), index)


def open_mirror(
    destination: RunRef | Path | S3Location, credentials: str | None = None
) -> Mirror | None:
    """The mirror of work whose result goes there; None if that is a folder, which needs none.

    Args:
        destination: A run, or where its result goes.
        credentials: Name of the AwsCredentials block; a run knows its own.

    Raises:
        InputError: No such credentials.
    """
    if isinstance(destination, RunRef):
        credentials = destination.credentials
        place = parse_location(destination.destination)
        if not isinstance(place, S3Location):
            return None
        destination = place
    if isinstance(destination, Path):
        return None
    # Late: boto3 takes its time to import, and runs in a folder do without it.
    from tasks.store.object_store import shared_store

    return Mirror(destination, shared_store(credentials))
