"""Pictures, read and decoded in threads while the model works on those before them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from samcore.errors import InputError, SegmentationError, TransientError
from samcore.images.picture import Picture, decode_picture, read_picture
from samcore.limits import Limits
from samcore.machine.out_of_memory import memory_failure
from samcore.picture_runs.records import PictureEntry

_WORKERS = 4
_MOST_BYTES = 1 << 30
"""Of decoded pictures that wait for the model."""

Fetch = Callable[[str], bytes]
"""Gives the content of an object in a bucket by its address; raises StorageError."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadPicture:
    """One entry of the list, and what came of reading it."""

    index: int
    """Place in the list."""
    entry: PictureEntry
    picture: Picture | None
    """None if it cannot be read."""
    error: str
    """Why not, in one line; empty otherwise."""


def read_ahead(
    entries: Sequence[PictureEntry],
    *,
    first: int,
    batch: int,
    fetch: Fetch | None,
    limits: Limits,
) -> Iterator[list[ReadPicture]]:
    """The entries in their order, read, `batch` at a time.

    Holds the batch that was given and at most two that wait, which have a gigabyte together at
    most unless single pictures are larger. Threads end with the iterator.

    Args:
        entries: Of one shard.
        first: The first one's place in the list.
        batch: How many are given at once.
        fetch: For pictures in buckets.
        limits: How large pictures may be.

    Raises:
        TransientError: A store does not answer; what is wrong with one picture is in its `error`.
    """
    waiting: deque[Future[ReadPicture]] = deque()
    mean_bytes, at = 0, 0
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="pictures") as pool:
        try:
            while at < len(entries) or waiting:
                fitting = 2 * batch if not mean_bytes else _MOST_BYTES // mean_bytes
                while at < len(entries) and len(waiting) < max(1, min(2 * batch, fitting)):
                    waiting.append(pool.submit(_read, first + at, entries[at], fetch, limits))
                    at += 1
                given: list[ReadPicture] = []
                while waiting and len(given) < batch:
                    given.append(waiting.popleft().result())
                    picture = given[-1].picture
                    if picture is not None:
                        mean_bytes = max(picture.image_rgb_hwc_u8.nbytes, mean_bytes // 2)
                yield given
        finally:
            for future in waiting:
                future.cancel()


def _read(index: int, entry: PictureEntry, fetch: Fetch | None, limits: Limits) -> ReadPicture:
    try:
        return ReadPicture(index, entry, _decoded(entry, fetch, limits), "")
    except TransientError:
        raise
    except (SegmentationError, OSError) as error:
        if memory_failure(error) is not None:
            raise
        return ReadPicture(index, entry, None, " ".join(str(error).split()))


def _decoded(entry: PictureEntry, fetch: Fetch | None, limits: Limits) -> Picture:
    if entry.fault:
        raise InputError(entry.fault)
    if not entry.place.startswith("s3://"):
        return read_picture(Path(entry.place), limits=limits)
    if fetch is None:
        raise InputError(f"{entry.place}: buckets are not read here")
    return decode_picture(fetch(entry.place), name=entry.place, limits=limits)
