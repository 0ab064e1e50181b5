"""Joining the objects of chunks that found their own: who goes on, ends, begins, splits, merges."""

from collections.abc import Mapping

import numpy as np
import pytest

from samcore.chunks.matching import (
    ChunkObjects,
    Numbered,
    SeamJoin,
    SeamTally,
    join_seam,
    number_first,
)
from samcore.masks.rle import Rle, encode_masks

Boxes = Mapping[int, tuple[int, int, int, int] | None]
"""Left, top, right, bottom by object; None where it is absent."""

NOBODY = ChunkObjects(prompted={})


def rles(boxes: Boxes) -> dict[int, Rle]:
    masks = np.zeros((len(boxes), 40, 60), np.bool_)
    for mask, box in zip(masks, boxes.values(), strict=True):
        if box is not None:
            left, top, right, bottom = box
            mask[top:bottom, left:right] = True
    return dict(zip(boxes, encode_masks(masks), strict=True)) if boxes else {}


def tally_of(*frames: tuple[Boxes, Boxes]) -> SeamTally:
    tally = SeamTally()
    for left, right in frames:
        tally.add(rles(left), rles(right))
    return tally


def join(
    *frames: tuple[Boxes, Boxes],
    left: ChunkObjects = NOBODY,
    right: ChunkObjects = NOBODY,
    free: int = 10,
) -> tuple[dict[int, int], SeamJoin]:
    """The right objects' numbers, where the left ones keep theirs, and what is said of the seam."""
    tally = tally_of(*frames)
    before = {obj_id: Numbered(obj_id) for obj_id in tally.left}
    numbers, said = join_seam(tally, before, left, tally.right, right, free)
    return {own: item.object_id for own, item in numbers.items()}, said


A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 20, 50, 30)


def test_objects_go_on_under_their_numbers_whatever_the_chunks_call_them() -> None:
    """Each object meets the one with its masks; nothing is doubtful where they lie apart."""
    numbers, said = join(({1: A, 2: B}, {1: B, 2: A}), ({1: A, 2: B}, {1: B, 2: A}))
    assert numbers == {1: 2, 2: 1}
    assert [(item.object_id, item.mean_iou, item.frames) for item in said.joined] == [
        (1, 1.0, 2),
        (2, 1.0, 2),
    ]
    assert said.doubtful == 0


def test_objects_end_and_begin() -> None:
    """Who has no partner ends, and who is new gets a number that nobody had."""
    numbers, said = join(({1: A, 2: B}, {1: A, 2: C}), free=7)
    assert numbers == {1: 1, 2: 7}
    assert [(item.object_id, item.other) for item in said.ended] == [(2, None)]
    assert [(item.object_id, item.other) for item in said.begun] == [(7, None)]
    assert said.doubtful == 0


def test_a_split_goes_on_as_its_larger_part() -> None:
    """One object of which the later chunk makes two: one goes on, the other says what it was."""
    numbers, said = join(({5: (0, 0, 20, 10)}, {1: (0, 0, 14, 10), 2: (14, 0, 20, 10)}))
    assert numbers == {1: 5, 2: 10}
    (begun,) = said.begun
    assert (begun.object_id, begun.other, begun.doubtful) == (10, 5, True)
    assert not said.ended


def test_a_merge_goes_on_as_its_larger_part() -> None:
    """Two objects of which the later chunk makes one: the smaller one ends in the other."""
    numbers, said = join(({1: (0, 0, 6, 10), 2: (6, 0, 20, 10)}, {9: (0, 0, 20, 10)}))
    assert numbers == {9: 2}
    (ended,) = said.ended
    assert (ended.object_id, ended.other, ended.doubtful) == (1, 2, True)
    assert not said.begun


def test_look_alikes_side_by_side_are_doubtful() -> None:
    """Where a second partner is nearly as good, the best sum is taken, and the join is in doubt."""
    first, second = (0, 0, 10, 10), (4, 0, 14, 10)
    numbers, said = join(({1: first, 2: second}, {1: (1, 0, 11, 10), 2: (2, 0, 12, 10)}))
    assert numbers == {1: 1, 2: 2}
    assert all(item.doubtful and item.margin < 0.2 for item in said.joined)


def test_objects_that_cross_are_told_apart_by_all_frames() -> None:
    """On one frame both partners are equal; the mean over the overlap decides."""
    crossing = ({1: A, 2: A}, {1: A, 2: A})
    apart = ({1: A, 2: B}, {1: B, 2: A})
    numbers, _ = join(crossing, apart, apart)
    assert numbers == {1: 2, 2: 1}


def test_the_sum_decides_not_the_single_best() -> None:
    """Hungarian: the greedy choice would leave an object without a partner."""
    left = {1: (0, 0, 10, 10), 2: (8, 0, 18, 10)}
    right = {1: (4, 0, 14, 10), 2: (0, 0, 7, 10)}
    # 1-1: 0.43, 2-1: 0.43, 1-2: 0.7
    numbers, _ = join((left, right))
    assert numbers == {1: 2, 2: 1}


def test_too_little_in_common_is_no_join_but_a_doubt() -> None:
    """Below the least IoU both sides stand alone, and say that they were near."""
    numbers, said = join(({1: (0, 0, 10, 10)}, {1: (7, 0, 17, 10)}))
    assert numbers == {1: 10}
    assert said.ended[0].doubtful
    assert said.begun[0].doubtful
    assert 0.1 < said.begun[0].best_iou < 0.3


def test_things_of_different_labels_never_meet() -> None:
    """A dog where a cat was is a new object, however alike; without a label anything may be."""
    frames = ({1: A}, {1: A})
    dog, cat = ChunkObjects({}, {1: "dog"}), ChunkObjects({}, {1: "cat"})
    assert join(frames, left=dog, right=cat)[0] == {1: 10}
    assert join(frames, left=dog, right=dog)[0] == {1: 1}
    assert join(frames, left=dog)[0] == {1: 1}


def test_absent_objects_cannot_be_joined_and_say_so() -> None:
    """An object without a mask on any shared frame ends there, after 0 frames."""
    numbers, said = join(({1: None, 2: B}, {1: B}))
    assert numbers == {1: 2}
    assert [(item.object_id, item.frames, item.doubtful) for item in said.ended] == [(1, 0, False)]


def test_a_persons_numbers_stay() -> None:
    """What a person prompts in both chunks is one, also where masks say something else."""
    prompted = ChunkObjects({3: 0})
    numbers, said = join(({3: A}, {3: C, 11: A}), left=prompted, right=ChunkObjects({3: 8}))
    assert numbers == {3: 3, 11: 10}
    assert said.joined[0].object_id == 3
    assert said.joined[0].doubtful


def test_what_was_found_gives_way_where_a_person_prompts_the_same_object_later() -> None:
    """A found object goes on as the person's, up to the frame where the person's own begins."""
    tally = tally_of(({3: A}, {11: A}))
    numbers, _ = join_seam(
        tally,
        {3: Numbered(3)},
        ChunkObjects({3: 0}),
        (3, 11),
        ChunkObjects({3: 40}),
        10,
    )
    assert numbers == {3: Numbered(3), 11: Numbered(3, stop=40)}


def test_the_first_chunk_numbers_from_the_first_free_number() -> None:
    """A person's objects keep their numbers; what is found comes after all of a person's."""
    numbers = number_first((4, 9, 12), ChunkObjects({4: 0}), 8)
    assert {own: item.object_id for own, item in numbers.items()} == {4: 4, 9: 8, 12: 9}


@pytest.mark.parametrize(
    ("left", "right"), [({}, {}), ({1: A}, {}), ({}, {1: A})], ids=["none", "ends", "begins"]
)
def test_sides_may_be_empty(left: Boxes, right: Boxes) -> None:
    """A chunk may have found nothing."""
    numbers, said = join((left, right))
    assert numbers == dict.fromkeys(right, 10)
    assert len(said.ended) == len(left)
    assert len(said.begun) == len(right)
