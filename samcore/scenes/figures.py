"""Outlines of flat things: whole, thin, hollow and in several pieces."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.scenes.surfaces import LETTERS
from samcore.scenes.textures import clouds_hw

_SIDE = 192
_MIDDLE = _SIDE / 2
_REACH = 0.92 * _MIDDLE
"""How far a figure goes from the middle, so that its edge is its own."""

Cover = NDArray[np.uint8]


def draw_figure(rng: np.random.Generator) -> Cover:
    """The cover of one figure, square, 0 to 255; never empty."""
    figure = _FIGURES[int(rng.integers(len(_FIGURES)))]
    cover_hw = figure(rng)
    if (cover_hw >= 128).mean() < 0.03:
        cv2.circle(cover_hw, (_SIDE // 2, _SIDE // 2), _SIDE // 4, 255, -1)
    return cover_hw


def _blank() -> Cover:
    return np.zeros((_SIDE, _SIDE), np.uint8)


def _round(rng: np.random.Generator, *, low: float, rough: float) -> NDArray[np.float64]:
    """Points of a closed outline about the middle."""
    theta = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radii = np.ones(72)
    for k in range(1, 9):
        radii += rng.normal() * rough / k * np.cos(k * theta + rng.uniform(0, 6.3))
    radii = np.clip(radii, low, None)
    aspect = rng.uniform(0.35, 1.0)
    points = np.stack([radii * np.cos(theta), radii * np.sin(theta) * aspect], axis=1)
    return np.asarray(points / np.abs(points).max() * _REACH + _MIDDLE)


def _fill(cover_hw: Cover, points: NDArray[np.float64], value: int = 255) -> Cover:
    cv2.fillPoly(cover_hw, [np.round(points).astype(np.int32)], value)
    return cover_hw


def _blob(rng: np.random.Generator) -> Cover:
    return _fill(_blank(), _round(rng, low=0.25, rough=rng.uniform(0.05, 0.5)))


def _hollow(rng: np.random.Generator) -> Cover:
    """A ring, a frame or a crescent: the ground shows through."""
    points = _round(rng, low=0.4, rough=rng.uniform(0, 0.25))
    cover_hw = _fill(_blank(), points)
    inner = (points - _MIDDLE) * rng.uniform(0.45, 0.85) + _MIDDLE
    return _fill(cover_hw, inner + rng.choice([0, 1]) * rng.uniform(-30, 30, 2), 0)


def _holes(rng: np.random.Generator) -> Cover:
    cover_hw = _blob(rng)
    for _ in range(int(rng.integers(1, 5))):
        x, y = (int(v) for v in rng.uniform(0.25, 0.75, 2) * _SIDE)
        cv2.circle(cover_hw, (x, y), int(rng.uniform(0.05, 0.14) * _SIDE), 0, -1)
    return cover_hw


def _polygon(rng: np.random.Generator) -> Cover:
    count = int(rng.integers(3, 9))
    theta = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = rng.uniform(0.35, 1.0, count) * _REACH
    return _fill(_blank(), np.stack([np.cos(theta), np.sin(theta)], 1) * radii[:, None] + _MIDDLE)


def _star(rng: np.random.Generator) -> Cover:
    points = 2 * int(rng.integers(3, 11))
    radii = np.where(np.arange(points) % 2, rng.uniform(0.25, 0.8), 1.0) * _REACH
    theta = np.arange(points) * 2 * np.pi / points
    return _fill(_blank(), np.stack([np.cos(theta), np.sin(theta)], 1) * radii[:, None] + _MIDDLE)


def _branches(rng: np.random.Generator) -> Cover:
    """Thin arms from one body: a tree, a spider, a fork."""
    cover_hw = _blank()
    thick = int(rng.integers(6, 20))
    for _ in range(int(rng.integers(3, 9))):
        spot, angle = np.full(2, _MIDDLE), rng.uniform(0, 2 * np.pi)
        for _ in range(4):
            ahead = spot + np.array([np.cos(angle), np.sin(angle)]) * _REACH / 4
            a, b = (tuple(int(v) for v in end) for end in (spot, ahead))
            cv2.line(cover_hw, a, b, 255, thick)
            spot, angle = ahead, angle + rng.uniform(-0.8, 0.8)
    cv2.circle(cover_hw, (_SIDE // 2, _SIDE // 2), int(rng.uniform(0.05, 0.25) * _SIDE), 255, -1)
    return cover_hw


def _rod(rng: np.random.Generator) -> Cover:
    """A long thing: a stick, a bottle, a snake."""
    cover_hw = _blank()
    xs = np.linspace(-0.85, 0.85, 24)
    bend = rng.uniform(0, 0.35) * np.sin(xs * rng.uniform(1, 6) + rng.uniform(0, 6))
    wide = rng.uniform(0.05, 0.22) * (1 + rng.uniform(0, 0.8) * np.sin(xs * 5 + rng.uniform(0, 6)))
    upper, lower = np.stack([xs, bend - wide], 1), np.stack([xs, bend + wide], 1)[::-1]
    return _fill(cover_hw, np.concatenate([upper, lower]) * _MIDDLE + _MIDDLE)


def _ladder(rng: np.random.Generator) -> Cover:
    """A grid of thin bars: a ladder, a fence, a comb."""
    cover_hw = _blank()
    low, high = int(0.06 * _SIDE), int(0.94 * _SIDE)
    thick = int(rng.integers(7, 16))
    for x in np.linspace(low, high, int(rng.integers(2, 6))).astype(int):
        cv2.line(cover_hw, (int(x), low), (int(x), high), 255, thick)
    for y in np.linspace(low, high, int(rng.integers(1, 6))).astype(int):
        cv2.line(cover_hw, (low, int(y)), (high, int(y)), 255, thick)
    return cover_hw


def _letters(rng: np.random.Generator) -> Cover:
    cover_hw = _blank()
    text = "".join(rng.choice(list(LETTERS), int(rng.integers(1, 4))))
    font, thick = int(rng.choice([0, 2, 3, 4])), int(rng.integers(8, 22))
    (w, h), _ = cv2.getTextSize(text, font, 1.0, 1)
    scale = 1.6 * _REACH / max(w, h)
    at = int(_MIDDLE - w * scale / 2), int(_MIDDLE + h * scale / 2)
    cv2.putText(cover_hw, text, at, font, scale, 255, thick, cv2.LINE_AA)
    return cover_hw


def _pieces(rng: np.random.Generator) -> Cover:
    """Several ellipses that hang together: a body with a head, a cluster."""
    cover_hw = _blank()
    spot = np.full(2, _MIDDLE)
    for _ in range(int(rng.integers(2, 6))):
        axes = tuple(int(v) for v in rng.uniform(0.12, 0.4, 2) * _MIDDLE)
        middle = tuple(int(v) for v in spot)
        cv2.ellipse(cover_hw, middle, axes, rng.uniform(0, 180), 0, 360, 255, -1)
        angle = rng.uniform(0, 2 * np.pi)
        spot = np.clip(spot + np.array([np.cos(angle), np.sin(angle)]) * max(axes) * 0.9, 60, 132)
    return cover_hw


def _island(rng: np.random.Generator) -> Cover:
    """The largest piece of a landscape above the water."""
    ys, xs = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    hills_hw = clouds_hw(rng, _SIDE, _SIDE, cells=2) * rng.uniform(0.4, 1.0)
    land_hw = (hills_hw + 0.75 - 1.1 * np.hypot(xs, ys) > 0).astype(np.uint8)
    count, piece_hw, stats, _ = cv2.connectedComponentsWithStats(land_hw)
    if count < 2:
        return _blank()
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return np.where(piece_hw == largest, 255, 0).astype(np.uint8)


_FIGURES: tuple[Callable[[np.random.Generator], Cover], ...] = (
    _blob, _blob, _hollow, _holes, _polygon, _star, _branches, _rod, _rod, _ladder, _letters,
    _pieces, _pieces, _island,
)  # fmt: skip
