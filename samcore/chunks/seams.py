"""Where two chunks meet: whose masks are published, and whether both chunks agree."""

import heapq
import itertools
import logging
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from samcore.chunks.matching import SeamJoin
from samcore.chunks.plan import Chunk
from samcore.errors import SeamError, StorageError
from samcore.masks.rle import rle_iou
from samcore.masks.table import MaskReader, MaskRow

_log = logging.getLogger(__name__)


class ObjectAgreement(BaseModel):
    """How far two chunks agree about one object, over the frames that they share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    object_id: int
    """The caller's number of the object."""
    frames: int
    """Shared frames on which either chunk has the object, present or absent."""
    mean_iou: float
    """Mean mask IoU over those frames; two empty masks agree, a missing one agrees with none."""
    min_iou: float
    """IoU on the worst of those frames."""
    worst_frame: int
    """The first frame with that IoU."""
    left_only: int
    """Frames on which only the earlier chunk has the object."""
    right_only: int
    """Frames on which only the later chunk has the object."""


class SeamReport(BaseModel):
    """How far two chunks agree about the frames that they share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    left_index: int
    """The earlier chunk's place in the plan."""
    right_index: int
    """The later chunk's place in the plan."""
    start: int
    """First shared frame."""
    stop: int
    """One past the last shared frame."""
    frames: int
    """Shared frames; 0 when chunks do not overlap."""
    identical: bool
    """True if every row is the same to the last bit, scores and time stamps included."""
    agreement: float
    """Mean mask IoU over all objects and frames; 1.0 where there is nothing to compare."""
    objects: tuple[ObjectAgreement, ...]
    """One for each object on the shared frames, by ascending id."""
    left_only: tuple[int, ...]
    """Objects that the later chunk lacks on some shared frame."""
    right_only: tuple[int, ...]
    """Objects that the earlier chunk lacks on some shared frame."""
    join: SeamJoin | None = None
    """Which objects were found to be one, where each chunk finds its own; `agreement` is then that
    of the joined ones."""

    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Where objects are handed over, the file says nothing of it.
        found: dict[str, Any] = serialize(self)
        return found if self.join is not None else {k: v for k, v in found.items() if k != "join"}


class _Tally:
    """Running sums for one object."""

    def __init__(self) -> None:
        self.frames = 0
        self.sum_iou = 0.0
        self.min_iou = 2.0
        self.worst_frame = -1
        self.left_only = 0
        self.right_only = 0

    def add(self, frame: int, left: MaskRow | None, right: MaskRow | None) -> None:
        iou = 0.0
        if left is None:
            self.right_only += 1
        elif right is None:
            self.left_only += 1
        else:
            iou = rle_iou(left.rle, right.rle)
        self.frames += 1
        self.sum_iou += iou
        if iou < self.min_iou:
            self.min_iou, self.worst_frame = iou, frame

    def result(self, object_id: int) -> ObjectAgreement:
        return ObjectAgreement(
            object_id=object_id,
            frames=self.frames,
            mean_iou=self.sum_iou / self.frames,
            min_iou=self.min_iou,
            worst_frame=self.worst_frame,
            left_only=self.left_only,
            right_only=self.right_only,
        )


def compare_seam(
    left: Path, right: Path, *, start: int, stop: int, left_index: int, right_index: int
) -> SeamReport:
    """Compare two chunks' masks on the frames that both tracked.

    overlap of 3, frames [7, 10):

        left   0123456789
        right         789......

    Nothing is decoded, and a row group of each is in memory at a time.

    Args:
        left: The earlier chunk's mask table.
        right: The later chunk's mask table.
        start: First shared frame.
        stop: One past the last shared frame; equal to `start` when chunks do not overlap.
        left_index: The earlier chunk's place in the plan.
        right_index: The later chunk's place in the plan.

    Raises:
        StorageError: A table is missing or damaged.
        SeamError: The chunks' masks are not of one size.
    """
    tallies: dict[int, _Tally] = {}
    identical = True
    with MaskReader(left) as left_reader, MaskReader(right) as right_reader:
        sizes = [(reader.height, reader.width) for reader in (left_reader, right_reader)]
        if sizes[0] != sizes[1]:
            raise SeamError(
                f"chunks {left_index} and {right_index} have masks of different sizes, "
                f"{sizes[0][0]} x {sizes[0][1]} and {sizes[1][0]} x {sizes[1][1]}: not of one video"
            )
        try:
            for frame, left_rows, right_rows in paired_rows(left_reader, right_reader, start, stop):
                for object_id in left_rows.keys() | right_rows.keys():
                    one, other = left_rows.get(object_id), right_rows.get(object_id)
                    tallies.setdefault(object_id, _Tally()).add(frame, one, other)
                    if one is None or other is None or one.packed() != other.packed():
                        identical = False
        except ValueError as error:
            raise StorageError(
                f"cannot compare {left} with {right}: {error}; track those chunks again"
            ) from error
    objects = tuple(tallies[object_id].result(object_id) for object_id in sorted(tallies))
    compared = sum(item.frames for item in objects)
    return SeamReport(
        left_index=left_index,
        right_index=right_index,
        start=start,
        stop=stop,
        frames=stop - start,
        identical=identical,
        # From the tallies, so that exact agreement is exactly 1.0.
        agreement=sum(t.sum_iou for t in tallies.values()) / compared if compared else 1.0,
        objects=objects,
        left_only=tuple(item.object_id for item in objects if item.left_only),
        right_only=tuple(item.object_id for item in objects if item.right_only),
    )


def owned_ranges(chunks: Sequence[Chunk]) -> list[tuple[int, int]]:
    """The frames [start, stop) that each chunk's masks are published for, in order.

    A chunk owns the frames up to its successor's start, the last one all of its frames; together
    they cover the plan once, without gap.

    Raises:
        ValueError: The chunks are not in order, or leave a gap.
    """
    for left, right in itertools.pairwise(chunks):
        if not left.start <= right.start <= left.stop:
            raise ValueError(f"chunks must ascend without a gap, got {left} before {right}")
    starts = [chunk.start for chunk in chunks]
    stops = [*starts[1:], *(chunk.stop for chunk in chunks[-1:])]
    return list(zip(starts, stops, strict=True))


def judge_seam(
    report: SeamReport, *, min_agreement: float, on_disagreement: Literal["warn", "fail"]
) -> None:
    """Let a seam pass at `min_agreement` or above; else log a warning, or fail.

    Raises:
        SeamError: The agreement is below `min_agreement` and `on_disagreement` is `fail`.
    """
    if report.agreement >= min_agreement:
        return
    worst = min(report.objects, key=lambda item: (item.min_iou, item.object_id))
    message = (
        f"chunks {report.left_index} and {report.right_index} disagree about frames "
        f"[{report.start}, {report.stop}): agreement {report.agreement:.4f} is below "
        f"{min_agreement:g}; worst is object {worst.object_id} at frame {worst.worst_frame} with "
        f"IoU {worst.min_iou:.4f}"
    )
    if on_disagreement == "fail":
        raise SeamError(
            f"{message}; track chunk {report.right_index} again, or accept it with a lower "
            "minimum agreement or with warnings in place of failing"
        )
    _log.warning("%s", message)


def paired_rows(
    left: MaskReader, right: MaskReader, start: int, stop: int
) -> Iterator[tuple[int, dict[int, MaskRow], dict[int, MaskRow]]]:
    """Each frame on which either table has rows, with both tables' rows by object id."""
    merged = heapq.merge(
        ((frame, 0, rows) for frame, rows in left.frames_iter(start, stop)),
        ((frame, 1, rows) for frame, rows in right.frames_iter(start, stop)),
        key=itemgetter(0, 1),
    )
    for frame, group in itertools.groupby(merged, key=itemgetter(0)):
        rows_by_side: tuple[dict[int, MaskRow], dict[int, MaskRow]] = ({}, {})
        for _, side, rows in group:
            rows_by_side[side].update((row.object_id, row) for row in rows)
        yield frame, *rows_by_side
