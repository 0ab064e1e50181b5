"""The synthetic videos: masks are the truth, and a frame depends on nothing but its number.

The tests over `SCENE_KINDS` are what a new kind of scene has to pass.
"""

import numpy as np
import pytest

from samcore.errors import InputError
from samcore.scenes import SCENE_KINDS, Difficulty, Scene, SyntheticVideo, box_of, make_video

DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")


def make(kind: str, seed: int, height: int, width: int) -> SyntheticVideo:
    """A video of three objects."""
    return make_video(kind, seed, num_frames=120, height=height, width=width, num_objects=3)


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_a_frame_does_not_depend_on_the_order_of_calls(kind):
    """Frames asked for backwards, twice and from a second scene are the same bytes."""
    scene, again = make(kind, 11, 64, 96), make(kind, 11, 64, 96)

    forward = [scene.frame(frame_idx) for frame_idx in range(0, 40, 7)]

    for frame in reversed(forward):
        other = again.frame(frame.frame_idx)
        assert np.array_equal(frame.image_rgb_hwc_u8, other.image_rgb_hwc_u8)
        assert np.array_equal(frame.masks_nhw, other.masks_nhw)


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_masks_exclude_each_other_and_agree_with_presence(kind):
    """No pixel belongs to two objects, and an object is present exactly where it has a pixel."""
    scene = make(kind, 5, 72, 72)

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


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_the_same_seed_is_the_same_scene_at_any_size(kind):
    """Masks at twice the size, shrunk, cover the same places."""
    small = make(kind, 3, 96, 128).masks_nhw(50)
    large = make(kind, 3, 192, 256).masks_nhw(50)

    shrunk = large[:, ::2, ::2]
    overlap = (small & shrunk).sum()

    assert overlap / (small | shrunk).sum() > 0.8


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_objects_move_and_are_seen(kind):
    """Most objects show most of the time, and none stands still; pictures are not flat."""
    seen, still = [], []
    for seed in range(6):
        scene = make(kind, seed, 48, 48)
        first, later = scene.masks_nhw(10), scene.masks_nhw(50)
        seen += [*first.any(axis=(1, 2)), *later.any(axis=(1, 2))]
        still += [(a == b).all() for a, b in zip(first, later, strict=True) if a.any()]

    assert np.mean(seen) > 0.75
    assert not any(still)
    assert scene.frame(10).image_rgb_hwc_u8.std() > 2


@pytest.mark.parametrize("kind", [k for k in SCENE_KINDS if k not in DIFFICULTIES])
def test_objects_are_of_all_sizes(kind):
    """Of the kinds with puppets, objects cover less than 2 % of the picture, and more than 10 %."""
    shares = np.concatenate(
        [
            make_video(
                kind, seed, num_frames=1, height=48, width=48, num_objects=2
            ).masks_nhw(0).mean(axis=(1, 2))
            for seed in range(10)
        ]
    )  # fmt: skip

    assert (shares < 0.03).sum() >= 2
    assert (shares > 0.10).sum() >= 2
    assert shares.max() < 0.5


def test_an_unknown_kind_of_scene_names_the_known_ones():
    """A misspelt kind is an input error that lists the kinds."""
    with pytest.raises(InputError, match=r"'sprite', known are easy, .*sprites"):
        make("sprite", 1, 32, 32)


def test_photographs_that_are_not_there_are_one_line(monkeypatch):
    """Without the packages that have them, the error says what to install."""
    from samcore.scenes import photos

    absent = photos.Photograph("no_such_package", "data/cat.png", "a cat", "nobody", "none")
    monkeypatch.setattr(photos, "PHOTOGRAPHS", (absent,))

    with pytest.raises(InputError, match=r"cat\.png of no_such_package.*longtake\[train\]"):
        photos.photographs.__wrapped__()


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


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_first_visible_is_a_fair_place_for_a_prompt(kind):
    """At its first visible frame an object has a box of some size, and none before it does."""
    for seed in range(3):
        scene = make(kind, seed, 64, 64)
        for obj_id in scene.obj_ids:
            first = scene.first_visible(obj_id)
            x1, y1, x2, y2 = box_of(scene.masks_nhw(first)[obj_id - 1])
            # Of the other kinds some objects are thin and cover 0.5 % of the picture.
            assert (x2 - x1) * (y2 - y1) >= (16 if kind in DIFFICULTIES else 4)
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
