"""The frame index: which frame number has which time stamp, and what its pixels add up to."""

import hashlib
import itertools
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from samcore.disk.atomic import atomic, storage_error
from samcore.video.info import VideoInfo

logger = logging.getLogger(__name__)

NO_PTS = -(1 << 63)
"""Stands for a time stamp that the decoder did not give."""

_FORMAT = b"longtake-frame-index-2"


_DIGEST = b"sha256"
"""Key in the metadata of a digest over everything else that the file says."""


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Every frame of a video in presentation order, as one full decode gave it.

    13 bytes a frame: 2.8 MB for an hour at 60 frames per second.
    """

    pts_n: NDArray[np.int64]
    """Time stamps in units of the time base; NO_PTS where there is none."""
    key_n: NDArray[np.bool_]
    """True where decoding may start, according to the decoder. It is not always right."""
    checksum_n: NDArray[np.uint32]
    """Adler-32 of the decoded picture; for a folder of images, of the file."""

    def __post_init__(self) -> None:
        if not self.pts_n.shape == self.key_n.shape == self.checksum_n.shape == (len(self),):
            raise ValueError("a frame index needs three vectors of the same length")

    def __len__(self) -> int:
        return len(self.pts_n)

    @cached_property
    def seekable(self) -> bool:
        """True if time stamps name frames: none is missing and each is above the one before."""
        if (self.pts_n == NO_PTS).any():
            return False
        return bool((np.diff(self.pts_n) > 0).all())

    def seek_points(self, frame_idx: int) -> list[int | None]:
        """Where to start decoding in order to get `frame_idx`, best first.

        Returns:
            Time stamps of keyframes at or before the frame: the closest, then each time twice as
            far back, for streams where a keyframe alone does not restore the picture. So all tries
            together cost about twice the one that works. The last entry is always None: from the
            beginning, without a seek.
        """
        if not self.seekable:
            return [None]
        keys = np.flatnonzero(self.key_n[: frame_idx + 1])
        # the first keyframe is where the beginning is: no need to seek there
        closest = keys[1:][::-1]
        steps = itertools.takewhile(
            lambda step: step < len(closest),
            ((1 << doubling) - 1 for doubling in itertools.count()),
        )
        return [*(int(self.pts_n[closest[step]]) for step in steps), None]


def save_index(path: Path, info: VideoInfo, index: FrameIndex, *, decoder: str) -> None:
    """Write the index and what is known of the video; complete or not at all.

    Args:
        path: The Parquet file; folders are made as needed.
        info: Goes into the file's metadata.
        index: The frames.
        decoder: Version of the ffmpeg that decoded: another one may round pixels differently.

    Raises:
        StorageError: The file cannot be written.
    """
    metadata = {b"format": _FORMAT, b"decoder": decoder.encode(), b"info": info.model_dump_json()}
    table = pa.table(
        {
            "pts": pa.array(index.pts_n),
            "key": pa.array(index.key_n),
            "checksum": pa.array(index.checksum_n),
        }
    ).replace_schema_metadata(metadata)
    table = table.replace_schema_metadata(metadata | {_DIGEST: _digest(table)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error, doing="write") from error
    with atomic(path) as file:
        pq.write_table(table, file, compression="zstd")


def load_index(
    path: Path, *, size_bytes: int, digest: str, decoder: str
) -> tuple[VideoInfo, FrameIndex] | None:
    """Read an index back, or None if it is absent, damaged or of another file or decoder."""
    try:
        # one handle, read whole: the file may be replaced by another process meanwhile
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        metadata = table.schema.metadata or {}
        if metadata.pop(_DIGEST, None) != _digest(table):
            logger.debug("scanning again: the frame index %s is damaged", path)
            return None
        if metadata.get(b"format") != _FORMAT or metadata.get(b"decoder") != decoder.encode():
            return None
        info = VideoInfo.model_validate_json(metadata[b"info"])
        index = FrameIndex(
            pts_n=table["pts"].to_numpy().astype(np.int64, copy=False),
            key_n=table["key"].to_numpy().astype(np.bool_, copy=False),
            checksum_n=table["checksum"].to_numpy().astype(np.uint32, copy=False),
        )
    except FileNotFoundError:
        return None
    except (OSError, KeyError, ValueError, pa.ArrowException, ValidationError) as error:
        logger.debug("scanning again: the frame index %s cannot be used: %s", path, error)
        return None
    if (info.size_bytes, info.digest) != (size_bytes, digest) or info.num_frames != len(index):
        logger.debug("scanning again: the frame index %s is of another file", path)
        return None
    return info, index


def _digest(table: pa.Table) -> bytes:
    """SHA-256 (hex) over all columns and metadata, but for the digest itself."""
    digest = hashlib.sha256()
    said = {**(table.schema.metadata or {})}
    said.pop(_DIGEST, None)
    digest.update(repr(sorted(said.items())).encode())
    for field, column in zip(table.schema, table.columns, strict=True):
        digest.update(f"{field.name} {field.type} {len(column)} {column.null_count}".encode())
        for chunk in column.chunks:
            values = chunk.to_numpy(zero_copy_only=False)
            if values.dtype == object:
                digest.update("".join(f"{value!r}\n" for value in values).encode())
            else:
                digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest().encode()
