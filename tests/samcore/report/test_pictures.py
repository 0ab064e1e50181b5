"""Small pictures with what was given drawn in."""

import io

import numpy as np
import pytest
from PIL import Image

from samcore.drawing import object_colour
from samcore.prompts.prompt import Prompt
from samcore.report.pictures import draw_picture
from tests.samcore.report.conftest import square

GREY = np.full((96, 128, 3), 90, np.uint8)


def changed(prompt, *, image=GREY, **options):
    """Which pixels of the small picture a prompt changes, and the picture."""
    plain, drawn = (
        np.asarray(Image.open(io.BytesIO(draw_picture(0, image, {}, **options, prompts=p).jpeg)))
        for p in ((), (prompt,))
    )
    return np.abs(drawn.astype(int) - plain).max(axis=2) > 60, drawn


def test_a_box_is_a_line_around_the_object():
    """All of the line is where the box is; nothing is drawn inside of it or far outside, and it is
    white and of the object's colour by turns."""
    is_other, drawn = changed(Prompt(3, 0, box_xyxy_px=(20, 30, 100, 80)))

    rows, columns = np.nonzero(is_other)
    assert 18 <= columns.min() <= 21 <= 99 <= columns.max() <= 102
    assert 28 <= rows.min() <= 31 <= 79 <= rows.max() <= 82
    assert not is_other[35:75, 25:95].any()
    for side in (is_other[29:32, 25:95], is_other[79:82, 25:95], is_other[35:75, 19:22].T):
        assert side.any(axis=0).mean() > 0.85
    line = drawn[30, 22:98].astype(int)
    assert (np.abs(line - 255).max(axis=1) < 60).mean() > 0.3
    assert (np.abs(line - object_colour(3)).max(axis=1) < 60).mean() > 0.3


def test_a_mask_is_its_outline():
    """The outline of the mask that was given is drawn, its inside is not."""
    is_other, _ = changed(Prompt(1, 0, mask_hw=square(30, 20, 40)))
    assert not is_other[26:54, 36:64].any()
    assert is_other[19:22, 32:68].any(axis=0).mean() > 0.9
    assert not is_other[:15].any()


@pytest.mark.parametrize("label", [0, 1])
def test_a_click_says_which_way(label):
    """A click on the object is a disc of its colour, one beside it is a white disc."""
    is_other, drawn = changed(Prompt(2, 0, points_xy_px=((64, 48),), point_labels=(label,)))
    rows, columns = np.nonzero(is_other)
    assert max(np.abs(rows - 48).max(), np.abs(columns - 64).max()) <= 9
    fill = drawn[44, 60].astype(int)
    wanted = object_colour(2) if label else (255, 255, 255)
    assert np.abs(fill - wanted).max() < 60


def test_what_is_drawn_follows_the_picture_that_became_small():
    """In a large frame the prompt is drawn where it lies in the small picture."""
    large = np.full((960, 1280, 3), 90, np.uint8)
    is_other, _ = changed(Prompt(1, 0, box_xyxy_px=(640, 480, 1280, 960)), image=large)
    assert is_other.shape == (360, 480)
    rows, columns = np.nonzero(is_other)
    assert 237 <= columns.min() <= 241
    assert 177 <= rows.min() <= 181
    assert (columns.max(), rows.max()) == (479, 359)


@pytest.mark.parametrize(
    "prompt",
    [
        {"box_xyxy_px": (-9, -9, 300, 300)},
        {"box_xyxy_px": (5.2, 5.2, 5.4, 5.4)},
        {"mask_hw": square(0, 0, 1)},
        {"points_xy_px": ((0, 0), (127.9, 95.9)), "point_labels": (1, 0)},
    ],
    ids=["outside", "less than a pixel", "one pixel", "corners"],
)
def test_whatever_was_given_is_seen(prompt):
    """Also what reaches out of the picture or is smaller than a pixel."""
    is_other, _ = changed(Prompt(1, 0, **prompt))
    assert is_other.any()
