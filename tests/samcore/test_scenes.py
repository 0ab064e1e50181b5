"""The synthetic videos: masks are the truth, and a frame depends on nothing but its number."""

import numpy as np
import pytest

from samcore.errors import InputError
from samcore.scenes import Difficulty, Scene, box_of

DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_a_frame_does_not_depend_on_the_order_of_calls(difficulty):
    """Frames asked for backwards, twice and from a second scene are the same bytes."""
    scene = Scene(11, difficulty=difficulty, num_frames=40, height=64, width=96, num_objects=3)
    again = Scene(11, difficulty=difficulty, num_frames=40, height=64, width=96, num_objects=3)

    forward = [frame for frame in scene if frame.frame_idx % 7 == 0]

    for frame in reversed(forward):
        other = again.frame(frame.frame_idx)
        assert np.array_equal(frame.image_rgb_hwc_u8, other.image_rgb_hwc_u8)
        assert np.array_equal(frame.masks_nhw, other.masks_nhw)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_masks_exclude_each_other_and_agree_with_presence(difficulty):
    """No pixel belongs to two objects, and an object is present exactly where it has a pixel."""
    scene = Scene(5, difficulty=difficulty, num_frames=120, height=72, width=72, num_objects=3)

    for frame_idx in range(0, 120, 9):
        frame = scene.frame(frame_idx)
        assert frame.masks_nhw.shape == (3, 72, 72)
        assert frame.masks_nhw.sum(axis=0).max() <= 1
        assert np.array_equal(frame.present_n, frame.masks_nhw.any(axis=(1, 2)))
        assert np.array_equal(frame.masks_nhw, scene.masks_nhw(frame_idx))


def test_masks_lie_on_what_is_painted():
    """Inside its mask an easy object has its own colour, just outside the picture has another."""
    for seed in range(6):
        frame = Scene(seed, num_frames=1, height=128, width=128, num_objects=1).frame(0)
        inside = frame.image_rgb_hwc_u8[frame.masks_nhw[0]].astype(float)
        x1, y1, x2, y2 = (int(edge) for edge in box_of(frame.masks_nhw[0]))
        near = np.zeros((128, 128), bool)
        near[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4] = True
        outside = frame.image_rgb_hwc_u8[near & ~frame.masks_nhw[0]].astype(float)
        saturation_in = np.ptp(inside, axis=1).mean()
        saturation_out = np.ptp(outside, axis=1).mean()

        assert saturation_in > saturation_out + 40


def test_the_same_seed_is_the_same_scene_at_any_size():
    """Masks at twice the size, shrunk, cover the same places."""
    small = Scene(3, difficulty="medium", height=96, width=128).frame(50)
    large = Scene(3, difficulty="medium", height=192, width=256).frame(50)

    shrunk = large.masks_nhw[:, ::2, ::2]
    overlap = (small.masks_nhw & shrunk).sum()

    assert overlap / (small.masks_nhw | shrunk).sum() > 0.85


def test_easy_objects_stay_and_others_come_and_go():
    """Easy objects are always in the picture; of medium and hard ones some leave and return."""

    def presence(difficulty: Difficulty) -> np.ndarray:
        scenes = [Scene(s, difficulty=difficulty, height=48, width=48) for s in range(8)]
        return np.stack(
            [[s.masks_nhw(i).any(axis=(1, 2)) for i in range(0, 200, 4)] for s in scenes]
        )

    assert presence("easy").mean() > 0.99
    for difficulty in ("medium", "hard"):
        seen = presence(difficulty)
        returns = (~seen[:, :-1] & seen[:, 1:]).sum()
        assert 0.5 < seen.mean() < 0.97
        assert returns >= 4


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_first_visible_is_a_fair_place_for_a_prompt(difficulty):
    """At its first visible frame an object has a box of some size, and none before it does."""
    for seed in range(5):
        scene = Scene(seed, difficulty=difficulty, height=64, width=64, num_objects=3)
        for obj_id in scene.obj_ids:
            first = scene.first_visible(obj_id)
            x1, y1, x2, y2 = box_of(scene.masks_nhw(first)[obj_id - 1])
            assert (x2 - x1) * (y2 - y1) >= 16
            assert 0 <= x1 < x2 <= 64
            assert 0 <= y1 < y2 <= 64


def test_frames_far_away_need_no_walk():
    """The last frame of a ten-hour video can be had at once."""
    scene = Scene(1, difficulty="hard", num_frames=1_000_000, height=64, width=64)

    assert scene.frame(999_999).present_n.shape == (2,)


@pytest.mark.parametrize(
    "options",
    [
        {"difficulty": "brutal"},
        {"num_objects": 0},
        {"num_objects": 300},
        {"height": 8},
        {"num_frames": 0},
        {"seed": -1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_impossible_scenes_are_refused(options):
    """A scene that cannot be drawn is an input error, not a strange picture."""
    with pytest.raises(InputError):
        Scene(**({"seed": 1} | options))


def test_frames_and_objects_that_do_not_exist_are_refused():
    """A frame past the end, an unknown object and an empty mask are input errors."""
    scene = Scene(1, num_frames=10, height=32, width=32)

    with pytest.raises(InputError, match="0 to 9"):
        scene.frame(10)
    with pytest.raises(InputError, match=r"\(1, 2\)"):
        scene.first_visible(3)
    with pytest.raises(InputError, match="empty"):
        box_of(np.zeros((4, 4), bool))
