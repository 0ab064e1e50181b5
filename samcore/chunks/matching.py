"""Which objects of two neighbouring chunks are one, where each chunk has found its own.

    chunk 0   11111111            frames that both have tracked: every pair of objects is compared
              22222222            there by mask IoU, and pairs are chosen so that the sum is largest
    chunk 1         1111111111
                    3333333333

Nothing here knows of files or of time: the same masks give the same joins, and a run makes them in
the order of its chunks, whatever the order in which these were tracked.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from samcore.evaluation.matching import assign
from samcore.masks.rle import Rle, iou_matrix

MIN_IOU = 0.3
"""Mean IoU from which on two objects may be one."""
SURE_IOU = 0.6
"""Mean IoU below which a join is doubtful."""
SURE_MARGIN = 0.2
"""A join is doubtful if another pair of one of its objects comes as near as this."""
DOUBTFUL_IOU = 0.1
"""An object without a partner is doubtful if it has this in common with one."""
INSIDE = 0.5
"""Part of an object's pixels that lie in another one's, from which on it came out of that one, or
went into it."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JoinedObject(_Value):
    """An object that goes on over the seam."""

    object_id: int
    """Its number, on both sides."""
    mean_iou: float
    """Of the two chunks' masks, over the shared frames on which either shows it."""
    frames: int
    """Those frames."""
    margin: float
    """How much better this is than the second best partner of either side, 0 to 1."""
    doubtful: bool
    """Whether `mean_iou` or `margin` is small."""


class LoneObject(_Value):
    """An object that only one side of a seam has."""

    object_id: int
    """Its number."""
    best_iou: float
    """Mean IoU with the object of the other side that is most like it; 0 if there is none."""
    other: int | None = None
    """The object that it came out of, or went into: a split, or a merge; None if neither."""
    frames: int
    """Shared frames that show it. On 0 it was absent, so nobody can tell whether it goes on."""
    doubtful: bool
    """Whether it may be one of the other side's, after all."""


class SeamJoin(_Value):
    """What became of the objects on both sides of a seam."""

    joined: tuple[JoinedObject, ...]
    """By ascending number, like the others."""
    ended: tuple[LoneObject, ...]
    """Objects of the earlier chunk that end with it; `other` is the one that they merged into."""
    begun: tuple[LoneObject, ...]
    """Objects of the later chunk that begin there; `other` is the one that they split off."""

    @property
    def doubtful(self) -> int:
        """How many of all these somebody should look at."""
        each: list[JoinedObject | LoneObject] = [*self.joined, *self.ended, *self.begun]
        return sum(item.doubtful for item in each)


class SeamTally:
    """Adds up, frame by frame, how like each other the objects of two chunks are.

    Holds some numbers for each pair, however many frames there are.
    """

    def __init__(self) -> None:
        self._iou: dict[tuple[int, int], float] = {}
        self._both: dict[tuple[int, int], int] = {}
        self._shared: dict[tuple[int, int], float] = {}
        self._left: dict[int, list[int]] = {}
        self._right: dict[int, list[int]] = {}

    def add(self, left: Mapping[int, Rle], right: Mapping[int, Rle]) -> None:
        """Take one frame's masks by object; empty masks say that an object is absent."""
        left = self._noted(self._left, left)
        right = self._noted(self._right, right)
        if not left or not right:
            return
        iou_lr = iou_matrix(list(left.values()), list(right.values()))
        for row, (left_id, left_rle) in enumerate(left.items()):
            for column, (right_id, right_rle) in enumerate(right.items()):
                pair, iou = (left_id, right_id), float(iou_lr[row, column])
                self._both[pair] = self._both.get(pair, 0) + 1
                if iou:
                    # iou = shared / (a + b - shared)
                    shared = iou * (left_rle.area + right_rle.area) / (1 + iou)
                    self._iou[pair] = self._iou.get(pair, 0.0) + iou
                    self._shared[pair] = self._shared.get(pair, 0.0) + shared

    def _noted(self, side: dict[int, list[int]], masks: Mapping[int, Rle]) -> dict[int, Rle]:
        """Count frames and pixels of a frame's objects; those that are present."""
        for obj_id, rle in masks.items():
            counts = side.setdefault(obj_id, [0, 0])
            counts[0] += rle.area > 0
            counts[1] += rle.area
        return {obj_id: rle for obj_id, rle in sorted(masks.items()) if rle.area}

    @property
    def left(self) -> tuple[int, ...]:
        """The earlier chunk's objects, ascending."""
        return tuple(sorted(self._left))

    @property
    def right(self) -> tuple[int, ...]:
        """The later chunk's objects, ascending."""
        return tuple(sorted(self._right))

    def frames(self, left_id: int | None, right_id: int | None) -> int:
        """Frames that show either of two objects, or the one that is given."""
        left = 0 if left_id is None else self._left[left_id][0]
        right = 0 if right_id is None else self._right[right_id][0]
        if left_id is None or right_id is None:
            return left + right
        return left + right - self._both.get((left_id, right_id), 0)

    def mean_iou(self, left_id: int, right_id: int) -> float:
        """Over the frames that show either of them."""
        frames = self.frames(left_id, right_id)
        return self._iou.get((left_id, right_id), 0.0) / frames if frames else 0.0

    def inside(self, left_id: int, right_id: int) -> tuple[float, float]:
        """The part of each one's pixels that lie in the other."""
        shared = self._shared.get((left_id, right_id), 0.0)
        left, right = self._left[left_id][1], self._right[right_id][1]
        return (shared / left if left else 0.0), (shared / right if right else 0.0)


@dataclass(frozen=True, slots=True)
class Numbered:
    """What an object of a chunk is called in the whole result."""

    object_id: int
    """There."""
    stop: int | None = None
    """From this frame on its rows are left out: a person has prompted that very object there."""


@dataclass(frozen=True, slots=True)
class ChunkObjects:
    """What a chunk knows of its own objects beside the masks."""

    prompted: Mapping[int, int]
    """Those that a person prompts in the chunk, with the first such frame. Their numbers are the
    person's in every chunk, and nothing that is found has one of these."""
    labels: Mapping[int, str] = field(default_factory=dict)
    """What detectors call those that they found; none is like a thing of another label."""


def number_first(ids: tuple[int, ...], objects: ChunkObjects, next_id: int) -> dict[int, Numbered]:
    """The numbers of the first chunk's objects.

    Args:
        ids: Its own.
        objects: What it knows of them.
        next_id: The first number that is free.
    """
    return _numbered(ids, {}, objects, next_id)


def join_seam(
    tally: SeamTally,
    left: Mapping[int, Numbered],
    left_objects: ChunkObjects,
    right_ids: tuple[int, ...],
    right_objects: ChunkObjects,
    next_id: int,
) -> tuple[dict[int, Numbered], SeamJoin]:
    """Decide which of a chunk's objects are those of the chunk before; number them, and say so.

    What a person prompts in both chunks is one. Of all else those pairs are joined whose mean IoUs
    have the largest sum, each of at least `MIN_IOU`. Of a split, the part that is most like the
    whole goes on, and the others are new; of a merge, the object that is most like it goes on, and
    the others end.

    Args:
        tally: Of the frames that both have tracked, by the chunks' own numbers.
        left: How the earlier chunk's objects are numbered.
        left_objects: What the earlier chunk knows of them.
        right_ids: All objects of the later chunk.
        right_objects: What that chunk knows of them.
        next_id: The first number that is free.

    Returns:
        How the later chunk's objects are numbered, and what became of those on the shared frames.
    """
    score_lr = _scores(tally, left_objects, right_objects)
    persons = left_objects.prompted.keys() & right_objects.prompted.keys()
    persons &= set(tally.left) & set(tally.right)
    pairs = {obj_id: obj_id for obj_id in sorted(persons)}
    rows = [row for row, obj_id in enumerate(tally.left) if obj_id not in persons]
    columns = [
        column for column, obj_id in enumerate(tally.right) if obj_id not in right_objects.prompted
    ]
    open_lr = score_lr[np.ix_(rows, columns)]
    open_lr = np.where(open_lr >= MIN_IOU, open_lr, 0.0)
    chosen = assign(open_lr) if open_lr.size else {}
    for row, column in chosen.items():
        if open_lr[row, column] > 0:
            pairs[tally.left[rows[row]]] = tally.right[columns[column]]
    kept = {right_id: left[left_id].object_id for left_id, right_id in pairs.items()}
    numbers = _numbered(right_ids, kept, right_objects, next_id)
    return numbers, _report(tally, score_lr, pairs, left, numbers)


def _scores(tally: SeamTally, left: ChunkObjects, right: ChunkObjects) -> NDArray[np.float64]:
    """Mean IoU of each pair, 0 where their labels differ."""
    score_lr = np.zeros((len(tally.left), len(tally.right)))
    for row, left_id in enumerate(tally.left):
        for column, right_id in enumerate(tally.right):
            said = {side.labels.get(one) for side, one in ((left, left_id), (right, right_id))}
            if None in said or len(said) == 1:
                score_lr[row, column] = tally.mean_iou(left_id, right_id)
    return score_lr


def _numbered(
    ids: tuple[int, ...], kept: Mapping[int, int], objects: ChunkObjects, next_id: int
) -> dict[int, Numbered]:
    numbers: dict[int, Numbered] = {}
    free = itertools.count(next_id)
    for obj_id in sorted(ids):
        if obj_id in objects.prompted:
            numbers[obj_id] = Numbered(obj_id)
        elif obj_id in kept:
            number = kept[obj_id]
            numbers[obj_id] = Numbered(number, objects.prompted.get(number))
        else:
            numbers[obj_id] = Numbered(next(free))
    return numbers


def _report(
    tally: SeamTally,
    score_lr: NDArray[np.float64],
    pairs: Mapping[int, int],
    left: Mapping[int, Numbered],
    right: Mapping[int, Numbered],
) -> SeamJoin:
    joined, ended, begun = [], [], []
    place_l = {obj_id: row for row, obj_id in enumerate(tally.left)}
    place_r = {obj_id: column for column, obj_id in enumerate(tally.right)}
    for left_id, right_id in pairs.items():
        row, column = place_l[left_id], place_r[right_id]
        others = [*np.delete(score_lr[row], column), *np.delete(score_lr[:, column], row)]
        mean_iou = float(score_lr[row, column])
        margin = mean_iou - max(map(float, others), default=0.0)
        joined.append(
            JoinedObject(
                object_id=left[left_id].object_id,
                mean_iou=mean_iou,
                frames=tally.frames(left_id, right_id),
                margin=margin,
                doubtful=mean_iou < SURE_IOU or margin < SURE_MARGIN,
            )
        )
    for left_id in sorted(place_l.keys() - pairs.keys()):
        near = {r: tally.inside(left_id, r)[0] for r in tally.right}
        into = max(near, key=lambda r: (near[r], -r), default=None)
        best = float(score_lr[place_l[left_id]].max(initial=0.0))
        is_merge = into is not None and near[into] >= INSIDE
        ended.append(
            LoneObject(
                object_id=left[left_id].object_id,
                best_iou=best,
                other=right[into].object_id if is_merge and into is not None else None,
                frames=tally.frames(left_id, None),
                doubtful=best >= DOUBTFUL_IOU or is_merge,
            )
        )
    for right_id in sorted(place_r.keys() - set(pairs.values())):
        near = {one: tally.inside(one, right_id)[1] for one in tally.left}
        of = max(near, key=lambda one: (near[one], -one), default=None)
        best = float(score_lr[:, place_r[right_id]].max(initial=0.0))
        is_split = of is not None and near[of] >= INSIDE
        begun.append(
            LoneObject(
                object_id=right[right_id].object_id,
                best_iou=best,
                other=left[of].object_id if is_split and of is not None else None,
                frames=tally.frames(None, right_id),
                doubtful=best >= DOUBTFUL_IOU or is_split,
            )
        )
    return SeamJoin(
        joined=tuple(sorted(joined, key=lambda item: item.object_id)),
        ended=tuple(sorted(ended, key=lambda item: item.object_id)),
        begun=tuple(sorted(begun, key=lambda item: item.object_id)),
    )
