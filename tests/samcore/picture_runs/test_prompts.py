"""Prompts for pictures: by options, cells and files, without a frame."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from samcore.errors import InputError
from samcore.picture_runs.prompts import (
    anchored,
    check_common_masks,
    held_against,
    mask_marks,
    picture_prompts,
    prompts_of_options,
)


def test_options_number_objects() -> None:
    """Each box an object; all points are of object 1; an id in front says otherwise."""
    spec = prompts_of_options(["1,2,30,40", "7:5,5,9,9"], ["8,9", "3,4,0", "7:6,6"], [])
    assert spec is not None

    prompts = held_against(spec, height=50, width=60)

    assert [(one.obj_id, one.box_xyxy_px, one.points_xy_px) for one in prompts] == [
        (1, (1, 2, 30, 40), ((8, 9), (3, 4))),
        (7, (5, 5, 9, 9), ((6, 6),)),
    ]
    assert prompts[0].point_labels == (1, 0)
    assert prompts_of_options([], [], []) is None


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((["1,2,3"], [], []), "--box '1,2,3': got 3 numbers; wanted x1,y1,x2,y2"),
        ((["a,b,c,d"], [], []), "--box 'a,b,c,d'; wanted"),
        (([], ["1,2,5"], []), "the third number is 1 (on the object) or 0"),
        (([], ["1"], []), "--point '1': got 1 numbers"),
        ((["9,9,1,1"], [], []), "object 1, prompts[0]: box: wanted x1 < x2"),
    ],
)
def test_a_bad_option_is_quoted(options: tuple[list[str], ...], wanted: str) -> None:
    """One line with the wanted form."""
    with pytest.raises(InputError, match=re.escape(wanted)):
        prompts_of_options(*options)


def test_cells_may_have_either_form() -> None:
    """A list is an object each; labels go to objects in their order."""
    short = picture_prompts('[{"box": [1, 2, 3, 4]}, {"points": [[1, 1, 1]]}]', ["cat", "dog"])
    long = picture_prompts(
        {
            "objects": [
                {"id": 1, "label": "cat", "prompts": [{"frame": 0, "box": [1, 2, 3, 4]}]},
                {"id": 2, "label": "dog", "prompts": [{"points": [[1, 1, 1]]}]},
            ]
        }
    )

    assert short == long
    assert [one.label for one in held_against(short, height=9, width=9)] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("raw", "labels", "wanted"),
    [
        ('[{"frame": 3, "box": [1, 2, 3, 4]}]', (), "leave out frame and time"),
        ('[{"time": 3, "box": [1, 2, 3, 4]}]', (), "leave out frame and time"),
        ('[{"from_here": true, "box": [1, 2, 3, 4]}]', (), "from_here too"),
        ("[{]", (), "prompts: not valid JSON"),
        ("3", (), "wanted a list, or an object"),
        ('[{"box": [1, 2, 3, 4]}]', ("a", "b"), "labels: wanted one for each of 1 objects, got 2"),
        ('[{"bx": [1, 2, 3, 4]}]', (), "unknown key 'bx'"),
    ],
)
def test_a_bad_cell_is_refused(raw: str, labels: tuple[str, ...], wanted: str) -> None:
    """One line that names the field."""
    with pytest.raises(InputError, match=re.escape(wanted)):
        picture_prompts(raw, labels)


def test_masks_lie_beside_their_prompts(tmp_path: Path) -> None:
    """Unless a person named them; a changed mask changes the marks."""
    mask = np.zeros((9, 9), np.uint8)
    mask[2:5, 2:5] = 255
    inside = tmp_path / "in"
    inside.mkdir()
    for path in (inside / "a.png", tmp_path / "b.png"):
        path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    near, far = picture_prompts('[{"mask": "a.png"}]'), picture_prompts('[{"mask": "../b.png"}]')

    found = anchored(near, inside, anywhere=False)
    (prompt,) = held_against(found, height=9, width=9)
    assert prompt.mask_hw is not None
    assert prompt.mask_hw.sum() == 9
    before = mask_marks(found)
    (inside / "a.png").write_bytes(b"else")
    assert mask_marks(found) != before
    with pytest.raises(InputError, match="lies outside"):
        anchored(far, inside, anywhere=False)
    assert held_against(anchored(far, inside, anywhere=True), height=9, width=9)
    with pytest.raises(InputError, match="there is no mask file"):
        anchored(picture_prompts('[{"mask": "c.png"}]'), inside, anywhere=False)


def test_a_mask_for_all_pictures_that_fits_none_is_refused_at_once(tmp_path: Path) -> None:
    """No mask, no such index, or two sizes: before a picture is looked at."""
    for name, side in (("a.png", 9), ("b.png", 8)):
        mask = np.zeros((side, side), np.uint8)
        mask[2:5, 2:5] = 255
        (tmp_path / name).write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    (tmp_path / "text.png").write_bytes(b"hello")

    def check(text: str) -> None:
        check_common_masks(anchored(picture_prompts(text), tmp_path, anywhere=False))

    check('[{"mask": "a.png"}, {"box": [1, 1, 5, 5]}]')
    check('[{"box": [100, 100, 500, 500]}]')
    with pytest.raises(InputError, match="different sizes"):
        check('[{"mask": "a.png"}, {"mask": "b.png"}]')
    with pytest.raises(InputError, match=r"text\.png"):
        check('[{"mask": "text.png"}]')
    with pytest.raises(InputError, match="7"):
        check('[{"mask": "a.png#7"}]')
