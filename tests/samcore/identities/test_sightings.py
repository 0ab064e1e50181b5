"""What of a detector's answers is looked at."""

import numpy as np
import pytest

from samcore.detectors.detector import Detection
from samcore.identities.config import AssociationConfig
from samcore.identities.overlap import blanked, box_iou, cleaned, exclusive_shares, iou_matrix
from samcore.identities.sightings import distinct, likely
from tests.samcore.identities.play import logits_of, mask_of

CONFIG = AssociationConfig()


def _box(rect, score=0.9, label=None):
    return Detection(score=score, picture_hw=(100, 200), box_xyxy_px=rect, label=label)


def _mask(rect, score=0.9, label=None):
    return Detection(score=score, picture_hw=(48, 48), mask_hw=mask_of(rect), label=label)


def test_weak_detections_are_left_out():
    """The score has to be above a half, as it is written with four digits."""
    kept = likely([_box((0, 0, 9, 9), 0.5), _box((20, 0, 29, 9), 0.50004)], CONFIG)
    assert kept == []
    assert len(likely([_box((0, 0, 9, 9), 0.5001)], CONFIG)) == 1


def test_of_boxes_on_one_place_the_best_is_kept():
    """Of one label; boxes beside masks are compared as masks later on."""
    one, near = _box((0, 0, 20, 20), 0.8), _box((2, 0, 22, 20), 0.9)
    assert likely([one, near], CONFIG) == [near]
    dog = _box((0, 0, 20, 20), 0.8, "dog")
    assert likely([dog, near], CONFIG) == [near, dog]


def test_of_masks_on_one_place_the_best_is_kept():
    """More than a tenth in common, of one label, is one thing; an empty mask is none."""
    items = [_mask((0, 0, 20, 20)), _mask((10, 0, 30, 20), 0.8), _mask((30, 30, 40, 40), 0.7)]
    items += [_mask((0, 0, 20, 20), 0.6, "dog"), _mask(None, 0.55)]
    kept = likely(items, CONFIG)
    found = distinct(kept, [item.region((48, 48)) for item in kept], CONFIG)
    assert [(item.score, item.label) for item in found] == [(0.9, None), (0.7, None), (0.6, "dog")]
    assert found[0].detection is items[0]


def test_a_border_can_be_left_out():
    """By the middle of the box."""
    config = AssociationConfig(border=0.025)
    inside, outside = _box((0, 0, 20, 20)), _box((0, 40, 8, 60))
    assert likely([inside, outside], config) == [inside]
    assert likely([inside, outside], CONFIG) == [outside, inside][::-1]


def test_labels_are_such_as_a_state_can_hold():
    """One line, and not without end."""
    (item,) = distinct(
        [_mask((0, 0, 9, 9), label="a\nb" + "c" * 999)], [mask_of((0, 0, 9, 9))], CONFIG
    )
    assert item.label.startswith("a b")
    assert len(item.label) == 200


def test_overlaps_are_counted_exactly():
    """IoU of masks and of boxes; of nothing with nothing it is 0."""
    one, other = mask_of((0, 0, 10, 10)), mask_of((5, 0, 15, 10))
    np.testing.assert_array_equal(
        iou_matrix([one, mask_of(None)], [one, other, mask_of(None)]), [[1, 0.3333, 0], [0, 0, 0]]
    )
    assert iou_matrix([one], []).shape == (1, 0)
    assert box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_a_pixel_goes_to_the_highest_logit():
    """Of equal ones to the lower id."""
    left, right = logits_of((0, 0, 20, 10)), logits_of((10, 0, 30, 10))
    assert exclusive_shares({2: left, 5: right}) == {2: 1.0, 5: 0.5}
    assert exclusive_shares({2: left, 5: right + np.float32(0.1)}) == {2: 0.5, 5: 1.0}
    assert exclusive_shares({1: logits_of(None)}) == {1: 1.0}
    assert (blanked(left) <= -10).all()


def test_small_holes_and_specks_go():
    """In proportion to the size of the mask; a mask of one speck stays."""
    logits_hw = np.full((288, 288), -3, np.float32)
    logits_hw[10:60, 10:60] = 3
    logits_hw[20:24, 20:24] = -3
    logits_hw[100:104, 100:104] = 3
    logits_hw[30:35, 30:34] = -3
    inside_hw = cleaned(logits_hw, area=16) > 0
    assert inside_hw[20:24, 20:24].all()
    assert not inside_hw[100:104, 100:104].any()
    assert not inside_hw[30:35, 30:34].any()
    alone_hw = np.full((288, 288), -3, np.float32)
    alone_hw[5:9, 5:8] = 3
    assert cleaned(alone_hw, area=16) is alone_hw
    small_hw = logits_hw[:64, :64]
    assert cleaned(small_hw, area=16) is small_hw
