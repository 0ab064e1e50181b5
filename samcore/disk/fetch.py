"""Fetch a large file: resumed where it broke off, checked, and whole or not there at all.

opener --blocks--> .dog.mp4.part          what has come; its lock is held while it grows
                   .dog.mp4.part.json     of which content that is
                        |
                        v  all of it has come, with the right checksum, and is on the disk
                    dog.mp4
"""

import contextlib
import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from samcore.disk.atomic import storage_errors, sync_folder
from samcore.disk.locks import open_locked
from samcore.errors import (
    DamagedObjectError,
    InputError,
    StorageError,
    TransientStorageError,
)

_log = logging.getLogger(__name__)

_BLOCK = 1 << 20
_WORTH_GOING_ON = 8 << 20
"""Bytes. A connection that breaks later than this is opened again for the rest, in the same call:
that is not a retry, since nothing is done twice."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far, and the bytes in all if they are known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source sends."""

    validator: str | None
    """What the source names this very content by, as with an ETag; None if it does not."""
    total: int | None
    """Bytes of the whole file; None if the source does not say."""
    begin: int
    """Where in the file the blocks begin: at the offset that was asked for, or at 0."""
    blocks: Iterable[bytes]
    """The bytes from there on."""


Opener = Callable[[int, str | None], AbstractContextManager[Answer]]
"""Opens a source at an offset; the second argument is the validator of the bytes before that.

Raises TransientStorageError, then or while blocks are read, if another try may help, and another
SegmentationError if none will.
"""


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


def fetch(
    opener: Opener,
    path: Path,
    *,
    what: str,
    source: str,
    size: int | None = None,
    checksum: str | None = None,
    limit: int | None = None,
    on_progress: Progress | None = None,
    only_if_absent: bool = False,
    mode: int = 0o600,
    attempts: int = 1,
    backoff_s: float = 0.0,
    worth: int = _WORTH_GOING_ON,
) -> None:
    """Have the file at `path`; it appears whole and checked, never half.

    What a call that failed has fetched stays beside it. The next one goes on with it, also in
    another process and on another day, if it is of the same content. Two that want one file wait
    for each other.

    Args:
        opener: Opens the source.
        path: Where to, in a folder that exists.
        what: Begins each error, such as `cannot read s3://bucket/key`.
        source: Names the source, and the content if that is known: what has come of another one is
            not gone on with.
        size: Bytes that it must have.
        checksum: `algorithm:hex` that it must have; algorithms are crc32 and what hashlib knows.
        limit: Bytes that it may have.
        on_progress: Called as bytes arrive.
        only_if_absent: Do nothing if `path` is there.
        mode: Permissions; the umask applies. By default only the user may read it: the video may
            be a private one.
        attempts: Tries in a row that bring less than `worth` before giving up.
        backoff_s: Wait before the second try; doubled for each next one.
        worth: Bytes. A try that brings so many does not count.

    Raises:
        DamagedObjectError: It does not have its checksum.
        TransientStorageError: The connection broke, or the source is busy.
        InputError: It is larger than `limit`.
        StorageError: Disk full, no permission; the source gives another file.
        SegmentationError: Whatever else the opener raises.
    """
    if limit is not None and size is not None and size > limit:
        raise _too_large(what, limit)
    if only_if_absent and path.is_file():
        return
    with _Part.opened(path, source=source, checksum=checksum, mode=mode) as part:
        if only_if_absent and path.is_file():  # another one was faster
            part.discard()
            return
        failures, most = 0, part.size
        resumed, restarted = part.size > 0, False
        while True:
            try:
                if size is None or part.size != size:
                    _transfer(opener, part, what, size, limit, on_progress)
                part.commit(what)
                return
            except DamagedObjectError:
                if restarted or not resumed:
                    part.discard()
                    raise
                # Perhaps the old bytes were of another version: the whole file anew decides.
                _log.info("%s: what was resumed is damaged; starting anew", what)
                part.restart(None)
                restarted = True
            except TransientStorageError as error:
                failures = 0 if part.size - most >= worth else failures + 1
                most = max(most, part.size)
                if failures >= attempts:
                    raise
                _log.info("%s; going on", error)
                resumed = True
                time.sleep(backoff_s * 2 ** max(0, failures - 1))


def has_checksum(data: bytes, checksum: str | None) -> bool:
    """Whether `data` has the checksum, `algorithm:hex`; True if there is none."""
    if checksum is None:
        return True
    digest = _new_digest(checksum)
    digest.update(data)
    return digest.hexdigest() == checksum.partition(":")[2]


class _Part:
    """What has come of a file so far, under a name of its own beside the final one."""

    def __init__(
        self, path: Path, part: Path, descriptor: int, source: str, checksum: str | None
    ) -> None:
        self.size = 0
        """Bytes that have come."""
        self.validator: str | None = None
        """Of the content that they are of."""
        self._path = path
        self._part = part
        self._note = part.with_name(f"{part.name}.json")
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self._source = source
        self._checksum = checksum
        self._digest = _new_digest(checksum)

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, path: Path, *, source: str, checksum: str | None, mode: int
    ) -> Iterator["_Part"]:
        """Go on with what an earlier try left of this source, or begin."""
        # Short enough for any file system.
        stem = path.name.encode(errors="ignore")[:150].decode(errors="ignore")
        name = path.with_name(f".{stem}.part")
        with contextlib.ExitStack() as stack:
            part = cls(path, name, open_locked(name, mode=mode), source, checksum)
            stack.enter_context(part._file)
            part._resume()
            yield part

    @property
    def is_resumable(self) -> bool:
        """Whether anything can tell if what has come and what will come belong together."""
        return self.validator is not None or self._checksum is not None

    def write(self, data: bytes) -> None:
        """Append."""
        with storage_errors(self._path, "write"):
            view = memoryview(data)
            while view:
                count = self._file.write(view)
                # A full disk may take a part of a block: that part has come, and counts.
                self._digest.update(bytes(view[:count]))
                self.size += count
                view = view[count:]

    def restart(self, validator: str | None) -> None:
        """Forget what has come; what comes now is of this content."""
        with storage_errors(self._path, "write"):
            self._file.seek(0)
            self._file.truncate(0)
            self.size, self.validator = 0, validator
            self._digest = _new_digest(self._checksum)
            self._note.write_text(json.dumps({"source": self._source, "validator": validator}))

    def commit(self, what: str) -> None:
        """Check the bytes, bring them to the disk and give the file its name."""
        wanted = (self._checksum or "").partition(":")[2]
        if wanted and self._digest.hexdigest() != wanted:
            raise DamagedObjectError(
                f"{what}: what came does not have its checksum; the bytes were damaged on their "
                "way, or in the store if this stays so: upload it again then"
            )
        with storage_errors(self._path, "write"):
            os.fsync(self._file.fileno())
            os.replace(self._part, self._path)
            self._note.unlink(missing_ok=True)
            sync_folder(self._path.parent)

    def discard(self) -> None:
        """Leave nothing."""
        with storage_errors(self._path, "write"):
            self._note.unlink(missing_ok=True)
            self._part.unlink(missing_ok=True)

    def _resume(self) -> None:
        try:
            note = json.loads(self._note.read_text())
            self.validator = note["validator"]
            is_same = note["source"] == self._source and isinstance(self.validator, str | None)
        except (OSError, ValueError, KeyError, TypeError):
            is_same = False
        if not is_same or not self.is_resumable:
            self.validator = None
            with storage_errors(self._path, "write"):
                self._file.truncate(0)
            return
        with storage_errors(self._path, "read"):
            while block := self._file.read(_BLOCK):
                self._digest.update(block)
                self.size += len(block)


def _transfer(
    opener: Opener,
    part: _Part,
    what: str,
    size: int | None,
    limit: int | None,
    on_progress: Progress | None,
) -> None:
    """One connection: append what is still to come."""
    if part.size and (not part.is_resumable or (size is not None and part.size > size)):
        part.restart(None)
    with opener(part.size, part.validator) as answer:
        total = size if answer.total is None else answer.total
        if size is not None and total != size:
            raise StorageError(f"{what}: the server's file has {total} bytes, wanted {size}")
        if answer.begin == 0:
            part.restart(answer.validator)  # also where the server knows no ranges
        elif answer.begin != part.size or (total is not None and part.size > total):
            part.restart(None)
            raise TransientStorageError(f"{what}: the server sent another part than was asked for")
        for block in answer.blocks:
            if limit is not None and part.size + len(block) > limit:
                part.discard()
                raise _too_large(what, limit)
            if total is not None and part.size + len(block) > total:
                raise StorageError(f"{what}: the server sends more than the {total} bytes it said")
            part.write(block)
            if on_progress is not None:
                on_progress(part.size, total)
    if total is not None and part.size != total:
        raise TransientStorageError(f"{what}: the connection broke")


def _too_large(what: str, limit: int) -> InputError:
    return InputError(f"{what}: at most {limit} bytes are taken")


def _new_digest(checksum: str | None) -> _Digest:
    algorithm = (checksum or "crc32").partition(":")[0]
    if algorithm == "crc32":
        return _Crc32()
    # ETags are MD5 by definition: a checksum here, no protection against anyone.
    return hashlib.new(algorithm, usedforsecurity=False)
