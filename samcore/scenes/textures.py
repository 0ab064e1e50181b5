"""Painted surfaces: backgrounds, the skin of shapes, sensor noise.

All are drawn from grids whose cell counts do not depend on the picture's size, so that a scene
looks the same at 128 and at 1024 pixels.
"""

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

SKIN_SIDE = 96
"""Pixels along each side of a shape's skin."""


def hue_rgb(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    """The colour as three floats in [0, 255], red first."""
    return np.asarray(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32) * 255


def clouds_hw(
    rng: np.random.Generator, height: int, width: int, *, cells: int
) -> NDArray[np.float32]:
    """Smooth random hills in about [-1, 1], H x W; the coarsest has `cells` bumps across."""
    hills_hw = np.zeros((height, width), np.float32)
    for octave in range(4):
        side = cells * 2**octave + 1
        grid = rng.uniform(-1, 1, (side, side)).astype(np.float32)
        hill_hw = np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))
        hills_hw = hills_hw + hill_hw.astype(np.float32) / np.float32(1.8**octave)
    return np.asarray(hills_hw / 1.6, np.float32)


def pattern_hw(
    rng: np.random.Generator, height: int, width: int, *, cells: float
) -> NDArray[np.float32]:
    """Stripes, checks or dots in [-1, 1], H x W, with about `cells` periods across."""
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    side = float(min(height, width))
    angle = rng.uniform(0, np.pi)
    along = (xs * np.cos(angle) + ys * np.sin(angle)) / side * cells * 2 * np.pi
    across = (ys * np.cos(angle) - xs * np.sin(angle)) / side * cells * 2 * np.pi
    kind = rng.integers(3)
    if kind == 0:
        wave = np.sin(along)
    elif kind == 1:
        wave = np.sin(along) * np.sin(across) * 2
    else:
        wave = np.sin(along) + np.sin(across) - 0.9
    # A steep slope instead of a step keeps the edges of the pattern free of jagged pixels.
    return np.asarray(np.clip(wave * 2.5, -1, 1), np.float32)


def background_hwc(
    rng: np.random.Generator, height: int, width: int, *, contrast: float, busy: bool
) -> NDArray[np.uint8]:
    """A muted landscape of two tones, H x W x 3, lit from one side."""
    hue = rng.uniform()
    value = rng.uniform(0.35, 0.75)
    tone_a = hue_rgb(hue, rng.uniform(0.08, 0.35), value)
    tone_b = hue_rgb(hue + rng.uniform(-0.15, 0.15), rng.uniform(0.08, 0.35), value)
    mix_hw = clouds_hw(rng, height, width, cells=3) * 0.5 + 0.5
    light_hw = clouds_hw(rng, height, width, cells=5) * contrast
    if busy:
        light_hw += pattern_hw(rng, height, width, cells=rng.uniform(4, 10)) * contrast * 0.55
    slope = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * rng.uniform(-0.12, 0.12)
    picture_hwc = tone_a + (tone_b - tone_a) * np.clip(mix_hw, 0, 1)[..., None]
    picture_hwc *= np.clip(1 + light_hw + slope, 0.15, 1.9)[..., None]
    return np.asarray(np.clip(picture_hwc, 0, 255), np.uint8)


def skin_hwc(rng: np.random.Generator, *, hue: float, patterned: bool) -> NDArray[np.uint8]:
    """The surface of one shape, SKIN_SIDE x SKIN_SIDE x 3: a lit colour, perhaps with a pattern."""
    ys, xs = np.mgrid[-1 : 1 : SKIN_SIDE * 1j, -1 : 1 : SKIN_SIDE * 1j].astype(np.float32)
    base = hue_rgb(hue, rng.uniform(0.6, 0.95), rng.uniform(0.75, 1.0))
    lamp = rng.uniform(-0.35, 0.35, 2)
    # Brighter towards the lamp, darker to the rim: a flat outline reads as a body.
    shade_hw = 1.12 - 0.42 * ((xs - lamp[0]) ** 2 + (ys - lamp[1]) ** 2)
    shade_hw = np.clip(shade_hw, 0.5, 1.15) + 0.06 * clouds_hw(rng, SKIN_SIDE, SKIN_SIDE, cells=4)
    skin = base * shade_hw[..., None]
    if patterned:
        second = hue_rgb(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.2, 0.9), rng.uniform(0.3, 1))
        cover_hw = pattern_hw(rng, SKIN_SIDE, SKIN_SIDE, cells=rng.uniform(2, 4)) * 0.5 + 0.5
        skin += (second * shade_hw[..., None] - skin) * (0.75 * cover_hw)[..., None]
    return np.asarray(np.clip(skin, 0, 255), np.uint8)
