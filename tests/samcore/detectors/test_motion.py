"""What moves before a background that stands still."""

import numpy as np
import pytest

from samcore.detectors.detector import DETECTORS
from samcore.detectors.motion import MotionBlobs
from samcore.prompts.automatic import AutomaticPrompts
from tests.samcore.detectors.examples import moving_square, square_at

ENTRY = DETECTORS.get("motion")


def detector():
    return MotionBlobs(None, AutomaticPrompts(detector="motion"), batch=1)


@pytest.fixture(scope="module")
def images():
    return moving_square(330)


def boxes(found):
    return [[item.box_xyxy_px for item in of_one] for of_one in found]


def test_a_moving_square_is_found_where_it_is(images):
    """One box around the square, within a few pixels; nothing on the first frames."""
    found = detector().detect(images[:120])
    assert not any(found[:60])
    for frame in range(60, 120):
        (box,) = boxes(found)[frame]
        assert np.allclose(box, square_at(frame), atol=4), frame


def test_a_result_does_not_depend_on_where_one_began(images):
    """Across the border of a block, and within one, from the first needed frame on: the same boxes
    as of the whole video."""
    whole = detector().detect(images)
    assert len(list(filter(None, whole[60:]))) > 260
    for frame in (150, 299, 300, 320):
        first = ENTRY.first_needed(frame)
        part = detector().detect(images[first : frame + 1], first_frame=first)
        assert boxes(part)[-1] == boxes(whole)[frame]
    in_two = detector()
    in_two.detect(images[240:290], first_frame=240)
    assert boxes(in_two.detect(images[290:330], first_frame=290))[10:] == boxes(whole)[300:]


def test_a_background_begins_anew_with_a_block(images):
    """What was seen before the 60 frames of a block's warm-up has no effect on it."""
    other = [255 - image for image in images[:240]] + images[240:]
    one, two = detector().detect(images), detector().detect(other)
    assert boxes(one)[300:] == boxes(two)[300:]
    assert boxes(one)[240:300] != boxes(two)[240:300]


def test_frames_without_their_lookback_are_empty(images):
    """Who begins in the middle of a block is told nothing until the next one; a gap begins anew."""
    begun_late = detector()
    found = begun_late.detect(images[230:330], first_frame=230)
    assert not any(found[:70])
    assert all(found[70:])
    assert not any(begun_late.detect(images[:5], first_frame=500))


def test_a_camera_that_moves_finds_nothing():
    """Where most of the picture changes there is no background to tell objects from."""
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(80)]
    assert not any(detector().detect(noise))
