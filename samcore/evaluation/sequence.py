"""One video's masks held against its ground truth, a frame at a time."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from samcore.errors import InputError, StorageError
from samcore.evaluation.davis import (
    Statistics,
    contour_accuracy,
    region_similarity,
    summarise,
)
from samcore.evaluation.identity import IdentityScores, IdentityTally, can_measure_identity
from samcore.evaluation.matching import OverlapTally
from samcore.evaluation.truth import GroundTruth, TruthFrame
from samcore.masks.rle import Rle, decode_mask, run_lengths
from samcore.masks.table import MaskReader, MaskRow
from samcore.video.tracked import TrackedFrames

Match = Literal["number", "overlap"]
"""Whether objects with the same number belong together, or those that overlap most in all."""

_T = TypeVar("_T")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectScores(_Record):
    """How well one true object was found."""

    truth_id: int
    """The ground truth's number of it."""
    object_id: int | None
    """The result's number of it; None if the result has no such object."""
    frames: int
    """Frames judged."""
    j: Statistics
    """Region similarity."""
    f: Statistics
    """Contour accuracy."""
    j_and_f: float
    """Mean of the means of both."""


class SequenceScores(_Record):
    """How well all objects of one video were found."""

    sequence: str
    """What it is called."""
    match: Match
    """How objects of the result and of the ground truth were paired."""
    frames: int
    """Annotated frames that were tracked."""
    frames_outside: int
    """Annotated frames that were not asked to be tracked; not judged."""
    objects: tuple[ObjectScores, ...]
    """By ascending number of the ground truth."""
    too_short: tuple[int, ...]
    """True objects without a frame to judge: seen first on the last frame, or on one only."""
    unmatched: tuple[int, ...]
    """Objects of the result that belong to no true one. J and F do not count them, as in DAVIS;
    the identity measures do."""
    j: float
    """Mean over objects of their mean J."""
    f: float
    """Mean over objects of their mean F."""
    j_and_f: float
    """Mean of both."""
    identity: IdentityScores | None
    """None with a single object on both sides, or without TrackEval."""


def evaluate_sequence(
    reader: MaskReader,
    truth: GroundTruth,
    *,
    sequence: str,
    object_ids: Iterable[int],
    span: tuple[int, int],
    tracked: TrackedFrames | None = None,
    match: Match | None = None,
    all_frames: bool = False,
) -> SequenceScores:
    """Measure the masks of one video.

    As in DAVIS's semi-supervised benchmark neither an object's first frame counts, where its
    prompt is given, nor the last frame of all; between them a frame without the object counts 1.0
    if nothing was found there, and an object that the result lacks counts as found nowhere.

    Args:
        reader: The result's masks.
        truth: What is true, for some or all frames.
        sequence: What to call it.
        object_ids: The objects that the result was asked for.
        span: Frames [start, stop) that were tracked; others are not judged.
        tracked: Which of these were; None if all were.
        match: Which objects belong together; None is by number for DAVIS, else by overlap, since
            other ground truth numbers objects in its own way.
        all_frames: Judge first and last frames, too.

    Raises:
        InputError: Ground truth of another size, or with no frame to judge.
        StorageError: The masks are damaged.
    """
    if (reader.height, reader.width) != (truth.height, truth.width):
        raise InputError(
            f"the ground truth of {sequence} is {truth.width} x {truth.height} pixels, the result "
            f"{reader.width} x {reader.height}: not of the same video, or resized"
        )
    if match is None:
        match = "number" if truth.kind == "davis" else "overlap"
    asked = sorted(object_ids)
    pairs = _by_overlap(reader, truth, span, tracked) if match == "overlap" else None
    identity = IdentityTally()
    objects: dict[int, _ObjectTally] = {}
    num_frames = num_outside = 0
    for (true_frame, rows), is_last in _with_last(_aligned(reader, truth, span, tracked)):
        if rows is None:
            num_outside += 1
            continue
        num_frames += 1
        void_hw = _union(true_frame)
        identity.add(true_frame.masks, {n: row.rle for n, row in rows.items() if row.area}, void_hw)
        for true_id in true_frame.masks:
            if true_id not in objects:
                object_id = pairs.get(true_id) if pairs is not None else true_id
                known = object_id if object_id in asked else None
                objects[true_id] = _ObjectTally(known, true_frame.frame)
        for true_id, tally in objects.items():
            if all_frames or (tally.first_frame < true_frame.frame and not is_last):
                tally.add(true_frame.masks.get(true_id), rows, void_hw, reader)
    judged = {n: tally for n, tally in sorted(objects.items()) if tally.j_values}
    if not judged:
        hint = "" if all_frames else "; first and last frames count with --all-frames"
        raise InputError(
            f"no frame of {sequence} to judge: {num_frames} annotated frames with "
            f"{len(objects)} objects were tracked{hint}"
        )
    scores = tuple(tally.scores(true_id) for true_id, tally in judged.items())
    paired = {item.object_id for item in objects.values()}
    j = float(np.mean([item.j.mean for item in scores]))
    f = float(np.mean([item.f.mean for item in scores]))
    several = len(objects) > 1 or len(asked) > 1
    return SequenceScores(
        sequence=sequence,
        match=match,
        frames=num_frames,
        frames_outside=num_outside,
        objects=scores,
        too_short=tuple(sorted(objects.keys() - judged.keys())),
        unmatched=tuple(number for number in asked if number not in paired),
        j=j,
        f=f,
        j_and_f=(j + f) / 2,
        identity=identity.scores() if several and can_measure_identity() else None,
    )


@dataclass
class _ObjectTally:
    """One true object's values so far: 16 bytes a frame."""

    object_id: int | None
    first_frame: int
    j_values: "array[float]" = field(default_factory=lambda: array("d"))
    f_values: "array[float]" = field(default_factory=lambda: array("d"))

    def add(
        self,
        true_rle: Rle | None,
        rows: Mapping[int, MaskRow],
        void_hw: NDArray[np.bool_] | None,
        reader: MaskReader,
    ) -> None:
        row = None if self.object_id is None else rows.get(self.object_id)
        found_rle = row.rle if row is not None and row.area else None
        if true_rle is None and found_rle is None:
            self.j_values.append(1.0)
            self.f_values.append(1.0)
            return
        empty_hw = np.zeros((reader.height, reader.width), dtype=np.bool_)
        true_hw = empty_hw if true_rle is None else decode_mask(true_rle)
        found_hw = empty_hw if found_rle is None else decode_mask(found_rle)
        self.j_values.append(region_similarity(found_hw, true_hw, void_hw))
        self.f_values.append(contour_accuracy(found_hw, true_hw, void_hw))

    def scores(self, true_id: int) -> ObjectScores:
        j, f = summarise(self.j_values), summarise(self.f_values)
        return ObjectScores(
            truth_id=true_id,
            object_id=self.object_id,
            frames=len(self.j_values),
            j=j,
            f=f,
            j_and_f=(j.mean + f.mean) / 2,
        )


def _by_overlap(
    reader: MaskReader, truth: GroundTruth, span: tuple[int, int], tracked: TrackedFrames | None
) -> dict[int, int]:
    """{true id: the result's id}, by overlap over all annotated frames."""
    tally = OverlapTally()
    for true_frame, rows in _aligned(reader, truth, span, tracked):
        if rows is not None:
            found = {number: row.rle for number, row in rows.items() if row.area}
            tally.add(dict(true_frame.masks), found)
    return tally.matches()


def _aligned(
    reader: MaskReader, truth: GroundTruth, span: tuple[int, int], tracked: TrackedFrames | None
) -> Iterator[tuple[TruthFrame, dict[int, MaskRow] | None]]:
    """Each annotated frame with the result's rows there by object; None where none was tracked."""
    found = reader.frames_iter(*span)
    pending = next(found, None)
    for true_frame in truth.frames():
        is_left_out = tracked is not None and true_frame.frame not in tracked
        if not span[0] <= true_frame.frame < span[1] or is_left_out:
            yield true_frame, None
            continue
        while pending is not None and pending[0] < true_frame.frame:
            pending = next(found, None)
        rows: dict[int, MaskRow] = {}
        if pending is not None and pending[0] == true_frame.frame:
            rows = {row.object_id: row for row in pending[1]}
            _check_masks(rows, reader)
        yield true_frame, rows


def _check_masks(rows: Mapping[int, MaskRow], reader: MaskReader) -> None:
    """Refuse a mask that cannot be decoded: whatever is measured later can be.

    Raises:
        StorageError: One is damaged, or of another size than the table says.
    """
    for row in rows.values():
        try:
            if (row.height, row.width) != (reader.height, reader.width):
                raise ValueError(f"damaged mask: it is {row.width} x {row.height} pixels")
            run_lengths(row.rle)
        except ValueError as error:
            raise StorageError(
                f"cannot read {reader.path}: frame {row.frame}, object {row.object_id}: {error}; "
                "track again"
            ) from error


def _with_last(items: Iterable[_T]) -> Iterator[tuple[_T, bool]]:
    """Each item, and whether it is the last one."""
    iterator = iter(items)
    for item in iterator:
        for following in iterator:
            yield item, False
            item = following
        yield item, True


def _union(true_frame: TruthFrame) -> NDArray[np.bool_] | None:
    """The pixels that are not judged; None if all are."""
    if not true_frame.void:
        return None
    void_hw: NDArray[np.bool_] = np.logical_or.reduce([decode_mask(rle) for rle in true_frame.void])
    return void_hw
