"""A run over pictures on the disk: what is done, and where a process continues."""

import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from samcore.chunks.plan import Chunk
from samcore.disk.files import FileRecord, is_intact, make_folder, write_atomic
from samcore.disk.locks import locked_if_free
from samcore.picture_runs.records import PictureEntry, PictureRunRecord, ShardRecord
from samcore.result.records import Record
from samcore.run.work_folder import WorkFolder, lost, remove


class PublishedRecord(Record):
    """`published.json`: the shards have gone into a result, and are not missing."""

    files: tuple[FileRecord, ...] = ()


class PictureRunFolder(WorkFolder):
    """One run's folder, `runs/<work key>`; a shard is a part of the work.

        request.json                what was asked
        list.jsonl                  the pictures, one a line
        chunks/00007/masks.parquet  the shard's masks
        chunks/00007/drawn.tar      the shard's drawn pictures
        chunks/00007/attempt.json   there while a process works on the shard
        chunks/00007/lock           held by the process that works on the shard
        chunks/00007/done.json      written last
        published.json              the result is there, and shards were removed
        lock                        held by who lays the run out or publishes it

    Any number of processes may do shards of one run at a time.
    """

    def create(self, record: PictureRunRecord, entries: Sequence[PictureEntry]) -> None:
        """Write down what is asked, if it is not there already.

        Raises:
            StorageError: The folder cannot be written to.
        """
        make_folder(self.path / "chunks")
        with contextlib.suppress(OSError):
            os.utime(self.path)  # in use, though all may be there already: see janitor.py
        remove(self._published_path)
        if not is_intact(self._list_path, record.entries):
            write_atomic(self._list_path, list_content(entries))
        path = self.path / "request.json"
        if self.read_record(path, PictureRunRecord) != record:
            self.write_record(path, record)

    def record(self) -> PictureRunRecord:
        """What was asked.

        Raises:
            LostWorkError: It is not there or damaged.
        """
        return self.need(self.path / "request.json", PictureRunRecord)

    def entries(self, start: int, stop: int) -> list[PictureEntry]:
        """Places [start, stop) of the list.

        Raises:
            LostWorkError: It is not there or damaged.
        """
        try:
            with self._list_path.open(encoding="utf-8") as file:
                lines = itertools.islice(file, start, stop)
                found = [PictureEntry.model_validate_json(line) for line in lines]
        except (OSError, ValidationError, UnicodeDecodeError) as error:
            raise lost(self._list_path) from error
        if len(found) != stop - start:
            raise lost(self._list_path)
        return found

    def drawn_path(self, index: int) -> Path:
        """A shard's drawn pictures."""
        return self.chunk_path(index) / "drawn.tar"

    def finished_shard(self, index: int) -> ShardRecord | None:
        """A shard's record, if it is done and its files are whole; reads all of them."""
        record = self.shard_record(index)
        if record is None:
            return None
        whole = is_intact(self.masks_path(index), record.masks) and is_intact(
            self.drawn_path(index), record.drawn
        )
        return record if whole else None

    def shard_record(self, index: int) -> ShardRecord | None:
        """What a shard's record says, if it is done; its files are not looked at."""
        return self.read_record(self.done_path(index), ShardRecord)

    def finish_shard(self, record: ShardRecord) -> None:
        """Say that a shard is done."""
        self.write_record(self.done_path(record.index), record)

    def lock_shard(self, shard: Chunk) -> contextlib.AbstractContextManager[bool]:
        """Keep other processes of this machine from a shard; False if one is at it."""
        make_folder(self.chunk_path(shard.index))
        return locked_if_free(self.chunk_path(shard.index) / "lock")

    def finish(self) -> None:
        """Say that the result is published, and remove the shards. Only with the lock held."""
        self.write_record(self._published_path, PublishedRecord())
        self.clear()

    @property
    def is_published(self) -> bool:
        """Whether the shards went into a result that was published since the run was laid out."""
        return self.read_record(self._published_path, PublishedRecord) is not None

    @property
    def _list_path(self) -> Path:
        return self.path / "list.jsonl"

    @property
    def _published_path(self) -> Path:
        return self.path / "published.json"


def list_content(entries: Sequence[PictureEntry]) -> bytes:
    """The content of `list.jsonl`."""
    lines = (entry.model_dump_json(exclude_defaults=True) + "\n" for entry in entries)
    return "".join(lines).encode()
