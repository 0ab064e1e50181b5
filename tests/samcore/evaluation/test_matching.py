"""Pairs of true and found objects."""

import itertools

import numpy as np

from samcore.evaluation.matching import OverlapTally, assign
from samcore.masks.rle import encode_masks


def _best_by_trying(scores):
    rows, columns = scores.shape
    if rows > columns:
        return _best_by_trying(scores.T)
    return max(
        sum(scores[row, column] for row, column in enumerate(chosen))
        for chosen in itertools.permutations(range(columns), rows)
    )


def test_the_assignment_is_the_best_one():
    """No other way to pair has a higher sum, whatever the shape, and with ties and zeros."""
    rng = np.random.default_rng(5)
    for trial in range(200):
        scores = rng.random(rng.integers(1, 6, 2))
        if trial % 2:
            scores = np.round(scores * 3) / 3
        pairs = assign(scores)

        assert len(pairs) == min(scores.shape) == len(set(pairs.values()))
        assert np.isclose(sum(scores[pair] for pair in pairs.items()), _best_by_trying(scores))


def test_objects_are_paired_by_all_of_their_frames():
    """Two objects that cross are paired with who they overlap most with in all; one that overlaps
    with nobody stays alone."""

    def at(*places):
        masks_nhw = np.zeros((len(places), 10, 40), dtype=bool)
        for mask_hw, place in zip(masks_nhw, places, strict=True):
            mask_hw[:, place : place + 5] = True
        return encode_masks(masks_nhw)

    tally = OverlapTally()
    for frame in range(6):
        a, b = (0, 20) if frame < 4 else (20, 0)
        tally.add(
            dict(zip((1, 2), at(0, 20), strict=True)), dict(zip((8, 9), at(a, b), strict=True))
        )
    tally.add({3: at(35)[0]}, {})

    assert tally.matches() == {1: 8, 2: 9}
