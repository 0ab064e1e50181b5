"""Flat puppets: a picture with a soft edge that is moved, turned and bent."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.scenes.actors import Wave, draw_wave
from samcore.scenes.stage import Patch, View

SPRITE_SIDE = 96
"""Pixels along each side of a sprite's picture."""
_SMALLEST = 12


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A picture and the share of each of its pixels that it covers, at several sizes."""

    levels: tuple[NDArray[np.uint8], ...]
    """Side x side x 4, the cover last; each half as large as the one before."""
    fill: float
    mean_rgb: NDArray[np.float32]
    stretch: Wave
    shear: Wave

    def paint(self, view: View, *, colour: bool) -> Patch | None:
        """The sprite in this view; None where nothing of it lies within the bounds."""
        reach = 1.42 * (1 + abs(self.shear.amplitude.sum())) + abs(self.stretch.amplitude.sum())
        area = view.square(reach)
        if area is None:
            return None
        x0, y0, x1, y1 = area
        level = next(
            (v for v in reversed(self.levels) if v.shape[0] >= 2 * view.radius), self.levels[0]
        )
        side = level.shape[0]
        stretch = float(np.exp(self.stretch.at(view.frame_idx)))
        shear = self.shear.at(view.frame_idx)
        cos, sin = np.cos(view.angle), np.sin(view.angle)
        bend = np.array([[1 / stretch, shear], [0, stretch]])
        matrix = bend @ np.array([[cos, sin], [-sin, cos]]) * (side / (2 * view.radius))
        origin = (side - 1) / 2 + matrix @ (np.array([x0, y0]) - (view.x, view.y))
        warped = cv2.warpAffine(
            level if colour else level[..., 3],
            np.hstack([matrix, origin[:, None]]),
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        painted = np.asarray(warped, np.uint8)
        if not colour:
            return Patch(x0, y0, painted, None)
        return Patch(x0, y0, painted[..., 3], painted[..., :3])

    def shadow(self, view: View) -> Patch | None:
        """Flat things throw no shadow of their own; the stage may draw one below them."""
        return None


def make_sprite(
    rng: np.random.Generator,
    colour_hwc: NDArray[np.uint8],
    cover_hw: NDArray[np.uint8],
    *,
    softness: float,
) -> Sprite:
    """A sprite from its colours and its cover.

    Args:
        rng: Source of its bending.
        colour_hwc: Square, of any side.
        cover_hw: Square, of the same side.
        softness: Width of the soft edge, of the side.
    """
    side = SPRITE_SIDE
    small = cv2.resize(colour_hwc, (side, side), interpolation=cv2.INTER_AREA)
    cover = cv2.resize(cover_hw, (side, side), interpolation=cv2.INTER_AREA)
    if softness * side > 0.4:
        cover = cv2.GaussianBlur(cover, (0, 0), softness * side)
    cover[[0, -1]] = 0
    cover[:, [0, -1]] = 0
    shown = cover >= 128
    levels = [np.dstack([small, cover]).astype(np.uint8)]
    while levels[-1].shape[0] // 2 >= _SMALLEST:
        half = levels[-1].shape[0] // 2
        levels.append(
            np.asarray(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA), np.uint8)
        )
    mean_rgb = small[shown].mean(axis=0) if shown.any() else small.mean(axis=(0, 1))
    bend = rng.choice([0.0, 0.08, 0.2])
    return Sprite(
        levels=tuple(levels),
        fill=max(4 * float(shown.mean()), 0.05),
        mean_rgb=np.asarray(mean_rgb, np.float32),
        stretch=draw_wave(rng, bend, (20, 120)),
        shear=draw_wave(rng, bend, (20, 120)),
    )
