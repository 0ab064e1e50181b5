"""A chunk of a stream on its way: masks, and what each of its frames was."""

import contextlib
import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from samcore.disk.atomic import atomic, storage_errors
from samcore.disk.files import FileRecord, fsync_and_record, make_folder
from samcore.errors import StorageError
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskWriter
from samcore.result.published import StreamCounts
from samcore.streams.records import FrameStamp
from samcore.video.live_queue import RECONNECTED, RESTARTED

FRAMES_SCHEMA = pa.schema(
    [
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("received", pa.int64(), nullable=False),
        pa.field("captured_us", pa.int64(), nullable=False),
        pa.field("latency_ms", pa.float32(), nullable=False),
        pa.field("gap", pa.string()),
    ]
)
"""The columns of `frames.parquet`, as `FrameStamp` has them; `latency_ms` is from the arrival of a
frame to its rows."""


def warm_up() -> None:
    """Have pyarrow look for pandas, as it does for its first table: that takes a second, in which
    frames that come would be dropped."""
    pa.table({name: [] for name in FRAMES_SCHEMA.names}, schema=FRAMES_SCHEMA)


class OpenChunk:
    """Takes masks, frame by frame. Holds a row group, and numbers of the chunk's frames."""

    def __init__(self, folder: Path, index: int, *, size_wh: tuple[int, int], start_us: int):
        """Begin the files.

        Args:
            folder: Of the part.
            index: Place in the part.
            size_wh: Of the pictures.
            start_us: When its first frame came.

        Raises:
            StorageError: They cannot be written.
        """
        make_folder(folder)
        self.index = index
        self.start_us = start_us
        self.began = time.monotonic()
        self.stamps: list[FrameStamp] = []
        """Of the frames whose masks are written."""
        self.ids: set[int] = set()
        """The objects that have rows."""
        self._latencies_ms: list[float] = []
        self._masks = folder / f"{index:05d}.parquet"
        self._frames = folder / f"{index:05d}.frames.parquet"
        self._stack = contextlib.ExitStack()
        width, height = size_wh
        self._writer = self._stack.enter_context(
            MaskWriter(self._masks, height=height, width=width)
        )

    def write(self, output: FrameMasks, stamp: FrameStamp) -> None:
        """Add a frame's masks; of the same frame as the stamp."""
        if output.frame_idx != stamp.frame:
            raise RuntimeError(f"masks of frame {output.frame_idx} with times of {stamp.frame}")
        self._writer.write(output, stamp.captured_us)
        self.ids.update(output.obj_ids, output.retired)
        self.stamps.append(stamp)
        self._latencies_ms.append((time.time_ns() // 1000 - stamp.captured_us) / 1000)

    @property
    def latency_ms(self) -> float:
        """Of the frame that was written last."""
        return self._latencies_ms[-1]

    def finish(self) -> tuple[FileRecord, FileRecord]:
        """Close both files; their records.

        Raises:
            StorageError: They cannot be written.
        """
        self._stack.close()
        columns = {
            name: [getattr(stamp, name) for stamp in self.stamps]
            for name in ("frame", "received", "captured_us", "gap")
        }
        table = pa.table({**columns, "latency_ms": self._latencies_ms}, schema=FRAMES_SCHEMA)
        with storage_errors(self._frames, "write"), atomic(self._frames) as file:
            pq.write_table(table, file, compression="zstd")
        return fsync_and_record(self._masks), fsync_and_record(self._frames)

    def abandon(self) -> None:
        """Leave nothing behind."""
        error = RuntimeError("abandoned")
        self._stack.__exit__(type(error), error, None)

    def counts(self, received_before: int) -> StreamCounts:
        """What became of its frames.

        Args:
            received_before: `received` of the frame before its first one; -1 if there is none.
        """
        gaps = [stamp.gap for stamp in self.stamps]
        received = self.stamps[-1].received - received_before
        return StreamCounts(
            received=received,
            dropped=received - len(self.stamps),
            reconnected=gaps.count(RECONNECTED),
            restarted=gaps.count(RESTARTED),
            latency_sum_ms=round(sum(self._latencies_ms), 3),
            latency_max_ms=round(max(self._latencies_ms), 3),
        )


def digest_after(digest: str, stamps: Iterable[FrameStamp]) -> str:
    """The digest of a stream up to some frames, from the one before them."""
    added = hashlib.sha256(digest.encode())
    for stamp in stamps:
        added.update(f"\n{stamp.captured_us} {stamp.checksum}".encode())
    return added.hexdigest()


def join_frames(parts: Sequence[Path], out: Path) -> None:
    """Join tables of frames; holds one of them at a time.

    Raises:
        StorageError: One is damaged, or `out` cannot be written.
    """
    with (
        storage_errors(out, "write"),
        atomic(out) as file,
        pq.ParquetWriter(file, FRAMES_SCHEMA, compression="zstd") as writer,
    ):
        for part in parts:
            try:
                writer.write_table(pq.read_table(part))
            except (OSError, pa.ArrowException) as error:
                raise StorageError(f"cannot read {part}: {error}") from error
