"""Run lengths in reading order."""

import numpy as np
import pytest

from samcore.masks.rle import decode_box, encode_box, encode_masks, overlap, run_lengths
from samcore.masks.row_runs import row_runs, row_runs_in


def picture(runs, height, width):
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(height, width)


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (13, 17)])
def test_runs_are_the_picture(size, density):
    """Painted one after another the runs give the picture; none but the first is empty."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = rng.random(size) < density
        runs = row_runs(mask)
        np.testing.assert_array_equal(picture(runs, *size), mask)
        assert (runs[1:] > 0).all()


@pytest.mark.parametrize("place", [(0, 0), (3, 2), (8, 5)])
def test_runs_of_a_part_are_those_of_the_whole(place):
    """A part in an empty picture has the runs of that picture, also where it touches the edges."""
    rng = np.random.default_rng(1)
    x, y = place
    for density in (0.3, 1.0):
        crop = rng.random((6, 9)) < density
        whole = np.zeros((11, 17), bool)
        whole[y : y + 6, x : x + 9] = crop
        np.testing.assert_array_equal(row_runs_in(crop, place, whole.shape), row_runs(whole))
    full = np.ones((4, 17), bool)
    whole = np.zeros((11, 17), bool)
    whole[y : y + 4] = True
    np.testing.assert_array_equal(row_runs_in(full, (0, y), whole.shape), row_runs(whole))


def test_a_box_stands_for_the_whole():
    """The part in the box is that of the mask, whatever the box, if it is around the mask; encoded
    again it is the very same bytes."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        mask = np.zeros((11, 17), bool)
        x, y = rng.integers(0, 10, 2)
        w, h = rng.integers(1, 17 - x + 1), rng.integers(1, max(11 - y, 1) + 1)
        mask[y : y + h, x : x + w] = rng.random(mask[y : y + h, x : x + w].shape) < 0.5
        (rle,) = encode_masks(mask[None])
        assert run_lengths(rle).sum() == mask.size
        for box in (rle.box_xywh, (0, 0, 17, 11)):
            left, top, width, height = box
            wanted = mask[top : top + height, left : left + width]
            np.testing.assert_array_equal(decode_box(rle, box), wanted)
            assert encode_box(wanted, (left, top), height=11, width=17) == rle


def test_a_box_that_cuts_the_mask_is_refused():
    """A row whose box does not fit its mask is damaged."""
    (rle,) = encode_masks(np.ones((1, 5, 6), bool))
    with pytest.raises(ValueError, match="reaches out of its box"):
        decode_box(rle, (1, 0, 4, 5))
    with pytest.raises(ValueError, match="not in a picture of 6 x 5"):
        decode_box(rle, (3, 0, 4, 5))


def test_overlap_is_a_shared_pixel():
    """One pixel is enough; touching is not; damaged masks are an error, and no endless loop."""
    masks = np.zeros((3, 6, 6), bool)
    masks[0, :3, :3] = masks[1, :3, 3:] = masks[2, 2:, 2:3] = True
    a, b, c = encode_masks(masks)
    assert not overlap([a, b])
    assert overlap([a, b, c])
    assert not overlap([])
    damaged = type(a)(a.height, a.width, a.counts[:-1])
    with pytest.raises(ValueError, match="damaged"):
        overlap([damaged, b])
