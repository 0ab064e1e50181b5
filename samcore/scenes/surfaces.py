"""Painted surfaces of many kinds, for objects and grounds alike."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.scenes.textures import clouds_hw, hue_rgb, pattern_hw

Plane = NDArray[np.float32]

LETTERS = "ABCDEFGHKMNPRSTXYZabdeghkmnqrs0123456789&?#%"


def draw_colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """Any colour: grey, muted or strong, dark or light; three floats in [0, 255]."""
    saturation = rng.choice([0.0, rng.uniform(0, 0.4), rng.uniform(0.3, 1)])
    return hue_rgb(rng.uniform(), float(saturation), rng.uniform(0.05, 1.0))


def make_surface(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A surface of one or two materials, H x W x 3."""
    picture = _material(rng, height, width)
    draw = rng.uniform()
    if draw < 0.45:
        other = _material(rng, height, width)
        if draw < 0.2:
            share_hw = np.clip(
                clouds_hw(rng, height, width, cells=int(rng.integers(1, 5))) * 8, 0, 1
            )
        else:
            # Two parts with a straight or bent border, as a shirt and trousers have.
            share_hw = np.clip(_slope(rng, height, width) * 20 + rng.uniform(-6, 6), 0, 1)
        picture = picture + (other - picture) * share_hw[..., None]
    if rng.uniform() < 0.4:
        lit_hw = 1 + rng.uniform(0.1, 0.6) * _slope(rng, height, width)
        picture = picture * lit_hw[..., None]
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _material(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Two colours mixed by one of the patterns below."""
    pattern = _PATTERNS[int(rng.integers(len(_PATTERNS)))]
    mix_hw1 = pattern(rng, height, width)[..., None]
    first, second = draw_colour(rng), draw_colour(rng)
    if rng.uniform() < 0.5:
        second = first + (second - first) * np.float32(rng.uniform(0.1, 0.5))
    return np.asarray(first + (second - first) * mix_hw1, np.float32)


def _plain(rng: np.random.Generator, height: int, width: int) -> Plane:
    return np.zeros((height, width), np.float32)


def _slope(rng: np.random.Generator, height: int, width: int) -> Plane:
    """A ramp in [-1, 1] along a straight line, or away from a point."""
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    if rng.uniform() < 0.6:
        angle = rng.uniform(0, 2 * np.pi)
        return np.asarray((xs * np.cos(angle) + ys * np.sin(angle)) / 1.42, np.float32)
    x, y = rng.uniform(-0.8, 0.8, 2)
    return np.asarray(np.clip(np.hypot(xs - x, ys - y) - 1, -1, 1), np.float32)


def _gradient(rng: np.random.Generator, height: int, width: int) -> Plane:
    return np.asarray(_slope(rng, height, width) * 0.5 + 0.5, np.float32)


def _clouds(rng: np.random.Generator, height: int, width: int) -> Plane:
    hills_hw = clouds_hw(rng, height, width, cells=int(rng.integers(1, 9)))
    return np.asarray(np.clip(hills_hw * rng.uniform(0.5, 2) + 0.5, 0, 1), np.float32)


def _marble(rng: np.random.Generator, height: int, width: int) -> Plane:
    hills_hw = clouds_hw(rng, height, width, cells=int(rng.integers(2, 5)))
    waves_hw = np.sin(
        _slope(rng, height, width) * rng.uniform(4, 25) + hills_hw * rng.uniform(2, 8)
    )
    return np.asarray(waves_hw * 0.5 + 0.5, np.float32)


def _regular(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Stripes, checks or dots."""
    return np.asarray(pattern_hw(rng, height, width, cells=rng.uniform(2, 14)) * 0.5 + 0.5)


def _speckle(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Grains: noise of one size, drawn on a grid of its own."""
    cells = int(rng.integers(16, 80))
    grid = rng.uniform(0, 1, (cells, cells)).astype(np.float32)
    flag = cv2.INTER_LINEAR if rng.uniform() < 0.7 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(grid, (width, height), interpolation=flag), np.float32)


def _tiles(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Cells about random points, each of one shade, as stones in a wall."""
    count = int(rng.integers(5, 30))
    seeds = rng.uniform(0, 1, (count, 2)).astype(np.float32)
    shades = rng.uniform(0, 1, count).astype(np.float32)
    side = 64
    ys, xs = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j].astype(np.float32)
    far = (ys[..., None] - seeds[:, 0]) ** 2 + (xs[..., None] - seeds[:, 1]) ** 2
    cells = shades[far.argmin(axis=2)]
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR))


def _writing(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Lines of text, as on a page or a sign."""
    page = np.zeros((128, 128), np.uint8)
    size = rng.uniform(0.25, 1.4)
    step = max(8, int(30 * size))
    for y in range(step, 128 + step, step):
        line = "".join(rng.choice(list(LETTERS + "   "), 14))
        at, font = (int(rng.integers(-8, 4)), y), int(rng.integers(0, 5))
        cv2.putText(page, line, at, font, size, 255, 1 + int(size), cv2.LINE_AA)
    return np.asarray(cv2.resize(page, (width, height)).astype(np.float32) / 255)


def _strokes(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Lines in all directions, as grass, hair or scratches."""
    page = np.zeros((128, 128), np.uint8)
    lean, spread = rng.uniform(0, np.pi), rng.choice([0.2, 0.8, 3.0])
    length = rng.uniform(8, 60)
    for _ in range(int(rng.integers(20, 120))):
        x, y = rng.uniform(-10, 138, 2)
        angle = lean + rng.uniform(-spread, spread)
        end = int(x + length * np.cos(angle)), int(y + length * np.sin(angle))
        shade, thick = int(rng.integers(60, 255)), int(rng.integers(1, 4))
        cv2.line(page, (int(x), int(y)), end, shade, thick, cv2.LINE_AA)
    return np.asarray(cv2.resize(page, (width, height)).astype(np.float32) / 255)


_PATTERNS: tuple[Callable[[np.random.Generator, int, int], Plane], ...] = (
    _plain, _gradient, _clouds, _marble, _regular, _regular, _speckle, _tiles, _writing, _strokes,
)  # fmt: skip
