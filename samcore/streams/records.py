"""The records of a stream that is watched: what each frame was, what is done, where it goes on."""

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Literal

from pydantic import Field

from samcore.disk.files import FileRecord
from samcore.masks.ledger import ResultObject
from samcore.result.published import StreamCounts
from samcore.result.records import ChunkRecord, Record

FORMAT: Literal[1] = 1
"""Raised when an older checkpoint can no longer be continued."""


class FrameStamp(Record):
    """One tracked frame: a row of `frames.parquet`, before its masks are written."""

    frame: int
    """Its number in the masks: that of the tracked frames, without a gap."""
    received: int
    """Its number among all frames that came: a step of more than 1 is of frames that were dropped.
    """
    captured_us: int
    """When it came, in microseconds since 1970, UTC: the `pts` of its masks."""
    checksum: int
    """Adler-32 of the decoded picture."""
    gap: str | None = None
    """What is missing before it: `dropped`, `reconnected` or `restarted`."""


class StreamChunk(Record):
    """A chunk that is done."""

    done: ChunkRecord
    frames: FileRecord
    """The table of its frames."""
    first_us: int
    """When its first frame came."""
    last_us: int
    digest: str
    """SHA-256 over the times and checksums of all frames up to its end."""
    counts: StreamCounts


class PartRecord(Record):
    """What becomes one result: an hour, or whatever `roll` says."""

    name: str
    """Of its folder or prefix: the time at which it begins, UTC."""
    start_us: int
    stop_us: int
    """When it ends by the clock, in microseconds since 1970, UTC."""
    chunks: tuple[StreamChunk, ...] = ()
    found: tuple[ResultObject, ...] = ()
    """What is known of objects that detectors found, by ascending id."""

    @property
    def frames(self) -> tuple[int, int]:
        """The frames [start, stop) that it has."""
        return self.chunks[0].done.start, self.chunks[-1].done.stop


def new_part(
    at_us: int, *, roll_s: float, is_first: bool, is_taken: Callable[[str], bool]
) -> PartRecord:
    """The part that a frame begins: named for the hour, or whatever `roll_s` is, in which it came.

    Args:
        at_us: When the frame came, in microseconds since 1970, UTC.
        roll_s: Seconds of a part.
        is_first: Whether it is the first one of a process, which is named for the frame itself: the
            hour may have a part already.
        is_taken: Whether a name is in use; then a number follows it.
    """
    roll_us = int(roll_s * 1_000_000)
    start_us = at_us - at_us % roll_us
    named_s = (at_us if is_first else start_us) // 1_000_000
    name = free = f"{datetime.fromtimestamp(named_s, timezone.utc):%Y%m%dT%H%M%SZ}"
    number = 1
    while is_taken(free):
        number += 1
        free = f"{name}-{number}"
    return PartRecord(name=free, start_us=start_us, stop_us=start_us + roll_us)


class Checkpoint(Record):
    """`checkpoint.json`: all that is done, and where the next process goes on.

    Written whole at each chunk's end, after the files that it names: what it does not name does
    not exist.
    """

    format: Literal[1] = FORMAT
    key: str
    """What is asked; another request does not go on here."""
    size_wh: tuple[int, int]
    first_us: int
    """When the stream's first frame came."""
    codec: str
    container: str
    next_frame: int
    """The number of the next frame that is tracked."""
    received: int
    """The number of the next frame that comes."""
    written: int
    """`FrameStamp.received` of the last frame whose masks are in a chunk; -1 if there is none."""
    last_us: int
    """When the last tracked frame came."""
    digest: str
    state: FileRecord
    held: tuple[FrameStamp, ...]
    """Tracked frames whose masks are in the state and are written later."""
    seen: tuple[tuple[int, int], ...] = Field(default=(), max_length=2048)
    """The last frames' own time stamps and checksums, by which they are known again."""
    open: PartRecord | None = None
    """What is not complete yet."""
    closed: tuple[PartRecord, ...] = ()
    """What is complete, and not published yet."""
