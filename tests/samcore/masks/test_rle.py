"""Masks to run lengths and back."""

import numpy as np
import pytest

from samcore.masks.rle import (
    Rle,
    decode_box,
    decode_mask,
    decode_masks,
    encode_masks,
    rle_from_coco,
    rle_iou,
    run_lengths,
)


def blobs(count, height, width, seed=0, density=0.5):
    """Random masks: the worst case for run lengths."""
    return np.random.default_rng(seed).random((count, height, width)) < density


@pytest.mark.parametrize(
    "masks_nhw",
    [
        pytest.param(np.zeros((1, 7, 9), bool), id="empty mask"),
        pytest.param(np.ones((2, 7, 9), bool), id="full masks"),
        pytest.param(np.array([[[True, False, True, True, False]]]), id="one row"),
        pytest.param(np.array([[[False], [True], [True]]]), id="one column"),
        pytest.param(np.array([[[True]]]), id="one pixel"),
        pytest.param(blobs(3, 31, 17), id="noise"),
        pytest.param(blobs(2, 300, 400, density=0.001), id="long runs"),
        pytest.param(blobs(5, 20, 30).transpose(0, 2, 1), id="not contiguous"),
        pytest.param(np.zeros((0, 7, 9), bool), id="no masks"),
    ],
)
def test_masks_come_back_as_they_were(masks_nhw):
    """Decoding gives the very pixels that were encoded, in order."""
    rles = encode_masks(masks_nhw)

    assert len(rles) == len(masks_nhw)
    assert all((rle.height, rle.width) == masks_nhw.shape[1:] for rle in rles)
    decoded = decode_masks(rles)
    assert decoded.dtype == np.bool_
    if rles:
        np.testing.assert_array_equal(decoded, masks_nhw)
        np.testing.assert_array_equal(decode_mask(rles[-1]), masks_nhw[-1])


def test_area_and_box_are_those_of_the_pixels():
    """Area and box, taken from the run lengths, agree with a count over the pixels."""
    shapes = [(1, 40), (40, 1), (23, 37)]
    masks = [
        mask for h, w in shapes for d in (0.005, 0.1, 0.9) for mask in blobs(8, h, w, density=d)
    ]
    for mask_hw in masks:
        (rle,) = encode_masks(mask_hw[None])
        ys, xs = np.nonzero(mask_hw)
        box = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) if len(xs) else (0, 0, 0, 0)
        assert rle.area == mask_hw.sum()
        assert rle.box_xywh == box


def test_counts_are_in_coco_order():
    """Runs go down the columns and begin with background, as other COCO tools expect."""
    (rle,) = encode_masks(np.array([[[False, True], [False, True], [True, False]]]))

    assert rle.counts == b"231"  # two off, three on, one off


def test_iou_is_that_of_the_pixels():
    """IoU without decoding agrees with IoU over the pixels; two empty masks count as 1."""
    empty = np.zeros((1, 19, 23), bool)
    masks = np.concatenate(
        [empty, ~empty, blobs(2, 19, 23, 1), blobs(2, 19, 23, 2, 0.02), blobs(1, 19, 23, 3, 0.98)]
    )
    rles = encode_masks(masks)
    for left, left_rle in zip(masks, rles, strict=True):
        for right, right_rle in zip(masks, rles, strict=True):
            union = (left | right).sum()
            expected = (left & right).sum() / union if union else 1.0
            assert rle_iou(left_rle, right_rle) == pytest.approx(expected)


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"0", id="too few pixels"),
        pytest.param(b"d1", id="too many pixels"),
        pytest.param(b"\xff\xff", id="not text"),
        pytest.param(b"PPP", id="ends inside a run"),
        pytest.param(b"PPPPPPPPPPPP0", id="run without end"),
        pytest.param(b"9Kd0", id="negative run"),
    ],
)
def test_damaged_run_lengths_are_refused(counts):
    """Runs that do not cover the picture are an error, never memory that nobody wrote."""
    damaged = Rle(4, 5, counts)
    with pytest.raises(ValueError, match="damaged mask"):
        decode_mask(damaged)
    with pytest.raises(ValueError, match="damaged mask"):
        rle_iou(damaged, damaged)


def test_rle_iou_refuses_masks_of_two_sizes():
    """Masks of two sizes are neither compared nor stacked."""
    (small,) = encode_masks(np.zeros((1, 3, 4), bool))
    (large,) = encode_masks(np.zeros((1, 4, 3), bool))
    with pytest.raises(ValueError, match="one size"):
        rle_iou(small, large)
    with pytest.raises(ValueError, match="one size"):
        decode_masks([small, large])


@pytest.mark.parametrize(
    "array", [np.zeros((3, 4), bool), np.zeros((1, 3, 4), np.uint8)], ids=["H x W", "not bool"]
)
def test_rle_encodes_boolean_stacks_only(array):
    """Logits or a single mask passed by mistake are an error."""
    with pytest.raises(ValueError, match="N x H x W bool"):
        encode_masks(array)


@pytest.mark.parametrize(
    ("height", "width"), [(1080, 1920), (2160, 3840)], ids=["1080p", "more than 2 ** 22"]
)
@pytest.mark.parametrize("kind", ["empty", "full", "last pixel", "one pixel in two halves"])
def test_rle_long_runs_are_read_back(height, width, kind):
    """A run may be as long as the picture: 524,288 pixels and more need a fifth byte, and the
    difference to a short run before needs one below zero."""
    mask_hw = np.full((height, width), kind == "full")
    if kind == "last pixel":
        mask_hw[-1, -1] = True
    if kind == "one pixel in two halves":
        # Two short runs, and a long run after each: differences up and down.
        mask_hw[0, 1], mask_hw[2, 1], mask_hw[0, width // 2 :] = True, True, True
    (rle,) = encode_masks(mask_hw[None])

    assert run_lengths(rle).max() > 524_287
    assert run_lengths(rle).sum() == height * width
    np.testing.assert_array_equal(decode_mask(rle), mask_hw)
    box = rle.box_xywh
    x, y, w, h = box
    np.testing.assert_array_equal(decode_box(rle, box), mask_hw[y : y + h, x : x + w])
    assert rle_iou(rle, rle) == 1.0


@pytest.mark.parametrize("bits", range(18, 32))
def test_a_run_of_any_length_is_read(bits):
    """On both sides of each power of two, as far as a run length of 32 bits reaches."""
    for pixels in (2**bits - 1, 2**bits):
        rle = rle_from_coco(
            {"size": [1, pixels], "counts": [pixels - 3, 3]}, height=1, width=pixels
        )
        assert run_lengths(rle).tolist() == [pixels - 3, 3]
