"""Masks as COCO's JSON has them, and all overlaps of two sets of masks."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from samcore.masks.rle import decode_mask, encode_masks, iou_matrix, rle_from_coco, rle_iou

HEIGHT, WIDTH = 12, 17


@pytest.fixture
def masks():
    rng = np.random.default_rng(2)
    masks_nhw = rng.random((5, HEIGHT, WIDTH)) < 0.4
    masks_nhw[4] = False
    return masks_nhw


def test_runs_of_every_form_are_the_same_mask(masks):
    """Compressed as text or bytes, and as a list of numbers."""
    for mask_hw, rle in zip(masks, encode_masks(masks), strict=True):
        columns = mask_hw.T.ravel()
        edges = np.flatnonzero(np.diff(columns.astype(int), prepend=0)).tolist()
        plain = np.diff([0, *edges, columns.size]).tolist()
        for counts in (rle.counts, rle.counts.decode(), plain):
            segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
            assert rle_from_coco(segmentation, height=HEIGHT, width=WIDTH) == rle


@pytest.mark.parametrize(
    "runs",
    [
        [10, 0, 0, 5, 189],
        [4, 0, 6, 5, 189],
        [10, 2, 0, 3, 189],
        [10, 2, 0, 2, 0, 1, 100, 0, 89, 0],
        [10, 5, 0, 0, 189, 0, 0, 0],
    ],
    ids=str,
)
def test_empty_runs_make_no_other_mask(runs):
    """However the runs are cut, as numbers or packed, it is the same mask with the same bytes."""
    mask_hw = np.zeros(HEIGHT * WIDTH, bool)
    mask_hw[10:15] = True
    (expected,) = encode_masks(mask_hw.reshape(WIDTH, HEIGHT).T[None])
    packed = coco_mask.frPyObjects({"size": [HEIGHT, WIDTH], "counts": runs}, HEIGHT, WIDTH)

    for counts in (runs, packed["counts"], packed["counts"].decode()):
        segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
        found = rle_from_coco(segmentation, height=HEIGHT, width=WIDTH)
        assert found == expected
        assert rle_iou(found, expected) == 1.0


@pytest.mark.parametrize("runs", [[204], [0, 204], [0, 100, 0, 104], [0, 0, 204, 0], [100, 0, 104]])
def test_masks_of_one_run_are_one(runs):
    """All inside or all outside, in whatever pieces."""
    found = rle_from_coco({"size": [HEIGHT, WIDTH], "counts": runs}, height=HEIGHT, width=WIDTH)
    inside = sum(runs[1::2]) > 0
    assert found == encode_masks(np.full((1, HEIGHT, WIDTH), inside))[0]


def test_polygons_are_filled():
    """Several are one mask."""
    two = [[2, 1, 5, 1, 5, 4, 2, 4], [10, 6, 14, 6, 14, 9, 10, 9]]
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[1:4, 2:5] = expected[6:9, 10:14] = True

    found = decode_mask(rle_from_coco(two, height=HEIGHT, width=WIDTH))

    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "bad",
    [
        {"size": [HEIGHT, WIDTH], "counts": [1, 2]},
        {"size": [HEIGHT, WIDTH], "counts": "zzz"},
        {"size": [HEIGHT, WIDTH], "counts": [-5, 209]},
        {"size": [HEIGHT, WIDTH], "counts": ["a"]},
        {"size": [HEIGHT, WIDTH], "counts": None},
        {"size": [HEIGHT, WIDTH + 1], "counts": [HEIGHT * (WIDTH + 1)]},
        {"size": HEIGHT, "counts": []},
        {"counts": "0"},
        [],
        [[1, 2]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, "x"]],
        [["a"] * 6],
        "text",
        5,
    ],
    ids=str,
)
def test_coco_segmentations_that_are_no_mask_are_refused(bad):
    """Always by the same kind of error, never by a wrong mask."""
    with pytest.raises(ValueError, match=r"\w"):
        rle_from_coco(bad, height=HEIGHT, width=WIDTH)


def test_rle_overlaps_of_many_masks_are_those_of_pairs(masks):
    """Each is what the pair alone gives; empty masks overlap with nothing, and none has no rows."""
    rles = encode_masks(masks)

    found = iou_matrix(rles, rles[:3])

    assert found.shape == (5, 3)
    for row in range(4):
        for column in range(3):
            assert found[row, column] == pytest.approx(rle_iou(rles[row], rles[column]))
    assert (found[4] == 0).all()
    assert iou_matrix([rles[4]], [rles[4]])[0, 0] == 0.0
    assert iou_matrix([], rles).shape == (0, 5)
    other = encode_masks(np.ones((1, 3, 3), dtype=bool))
    with pytest.raises(ValueError, match="one size"):
        iou_matrix(rles, other)
