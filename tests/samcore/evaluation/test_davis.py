"""J and F have the values that can be worked out by hand, and those of the definition."""

import math

import cv2
import numpy as np
import pytest

from samcore.evaluation.davis import boundary, contour_accuracy, region_similarity, summarise


def block(top, left, height, width, *, shape=(60, 80)):
    mask_hw = np.zeros(shape, dtype=bool)
    mask_hw[top : top + height, left : left + width] = True
    return mask_hw


EMPTY = np.zeros((60, 80), dtype=bool)


@pytest.mark.parametrize(
    ("found", "true", "j"),
    [
        (block(10, 10, 20, 20), block(10, 10, 20, 20), 1.0),
        (block(10, 10, 20, 20), block(10, 20, 20, 20), 200 / 600),
        (block(10, 10, 20, 20), block(40, 60, 10, 10), 0.0),
        (EMPTY, block(10, 10, 20, 20), 0.0),
        (block(10, 10, 20, 20), EMPTY, 0.0),
        (EMPTY, EMPTY, 1.0),
    ],
    ids=["same", "half", "apart", "missed", "made up", "both absent"],
)
def test_davis_region_measure_is_the_iou(found, true, j):
    """J is intersection over union, and 1 where both are empty."""
    assert region_similarity(found, true, None) == pytest.approx(j, abs=1e-12)


def test_the_boundary_is_a_pixel_wide_and_half_a_pixel_up_and_left():
    """A block of 2 x 3 has the 3 x 4 ring of pixels that look right and down into or out of it."""
    expected = block(9, 19, 3, 4, shape=(30, 40))
    expected[10, 20:22] = False

    assert np.array_equal(boundary(block(10, 20, 2, 3, shape=(30, 40))), expected)


def test_contours_match_up_to_the_tolerance():
    """At 60 x 80 the diagonal is 100 pixels and the tolerance one: a shift by one pixel costs
    nothing, by two nearly everything."""
    true = block(10, 10, 30, 40)

    assert contour_accuracy(block(11, 10, 30, 40), true, None) == 1.0
    # Two rows down: only the sides, which overlap but for their ends, are within a pixel.
    sides = contour_accuracy(block(12, 10, 30, 40), true, None)
    assert 0.3 < sides < 0.5
    assert contour_accuracy(block(14, 14, 30, 40), true, None) < 0.1


@pytest.mark.parametrize(
    ("found", "true", "f"),
    [
        (EMPTY, EMPTY, 1.0),
        (EMPTY, block(10, 10, 5, 5), 0.0),
        (block(10, 10, 5, 5), EMPTY, 0.0),
        (~EMPTY, ~EMPTY, 1.0),
        (block(0, 0, 5, 5), block(50, 70, 5, 5), 0.0),
    ],
    ids=["both absent", "missed", "made up", "all of the picture", "apart"],
)
def test_davis_contours_of_empty_masks(found, true, f):
    """What has no boundary matches only what has none either."""
    assert contour_accuracy(found, true, None) == f


def _f_by_definition(found, true):
    """F from the text of the definition: each boundary pixel asks for its nearest other one."""
    radius = math.ceil(0.008 * math.hypot(*found.shape))
    edges = []
    for mask in (found, true):
        right = np.pad(mask, ((0, 0), (0, 1)), mode="edge")[:, 1:]
        below = np.pad(mask, ((0, 1), (0, 0)), mode="edge")[1:]
        corner = np.pad(mask, ((0, 1), (0, 1)), mode="edge")[1:, 1:]
        edges.append(np.argwhere((mask != right) | (mask != below) | (mask != corner)))
    if not len(edges[0]) or not len(edges[1]):
        return float(len(edges[0]) == len(edges[1]))
    away = np.linalg.norm(edges[0][:, None] - edges[1][None], axis=2)
    precision = (away.min(axis=1) <= radius).mean()
    recall = (away.min(axis=0) <= radius).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_contours_of_any_shape_are_those_of_the_definition():
    """Ragged masks, also at the picture's edges, give the value that a slow reading gives."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        height, width = rng.integers(20, 150, 2)
        masks = []
        for _ in range(2):
            noise = rng.standard_normal((height, width)).astype(np.float32)
            smooth = cv2.GaussianBlur(noise, (0, 0), rng.uniform(2, 8))
            masks.append(smooth > np.quantile(smooth, rng.uniform(0, 1)))
        assert contour_accuracy(*masks, None) == pytest.approx(_f_by_definition(*masks), abs=1e-12)


def test_void_pixels_do_not_count():
    """What differs only where nothing is judged is the same."""
    void = block(0, 30, 60, 50)
    found, true = block(10, 10, 20, 30), block(10, 10, 20, 60)

    assert region_similarity(found, true, void) == 1.0
    assert contour_accuracy(found, true, void) == 1.0
    assert region_similarity(found, true, None) < 0.6


def test_davis_statistics_are_those_made_by_hand():
    """Mean, share above a half, and first quarter less last: quarters share the frames between."""
    statistics = summarise([1.0, 0.9, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])

    assert statistics.mean == pytest.approx(4.8 / 9)
    assert statistics.recall == pytest.approx(4 / 9)
    assert statistics.decay == pytest.approx((1.0 + 0.9 + 0.8) / 3 - (0.3 + 0.2 + 0.1) / 3)


def test_decay_of_a_long_sequence():
    """Quarters are quarters, also past 256 frames, where 8 bits are not enough for a place."""
    values = [1.0] * 500 + [0.25] * 500

    assert summarise(values).decay == pytest.approx(0.75)
    assert summarise([0.5]).decay == 0.0
