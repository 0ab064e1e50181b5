"""Scenes of flat figures with soft edges, thin and hollow parts, and surfaces of their own."""

import numpy as np

from samcore.scenes.figures import draw_figure
from samcore.scenes.sprite import SPRITE_SIDE, Sprite, make_sprite
from samcore.scenes.stage import StageVideo
from samcore.scenes.surfaces import make_surface

_SALT = 11


def make_video(
    seed: int, *, num_frames: int, height: int, width: int, num_objects: int
) -> StageVideo:
    """A video of this kind; see `StageVideo`."""
    return StageVideo(
        seed,
        num_frames=num_frames,
        height=height,
        width=width,
        num_objects=num_objects,
        salt=_SALT,
        make_puppet=_draw_sprite,
        make_ground=make_surface,
    )


def _draw_sprite(rng: np.random.Generator) -> Sprite:
    cover_hw = draw_figure(rng)
    colour_hwc = make_surface(rng, SPRITE_SIDE, SPRITE_SIDE)
    return make_sprite(rng, colour_hwc, cover_hw, softness=rng.choice([0.0, 0.01, 0.03]))
