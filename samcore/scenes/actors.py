"""Moving shapes as pure functions of the frame number."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.scenes.recipes import Recipe
from samcore.scenes.textures import skin_hwc

Array = NDArray[np.float64]

NUM_VERTICES = 64
_THETA = np.linspace(0, 2 * np.pi, NUM_VERTICES, endpoint=False)
_EXIT_RAMP = 26.0
"""Frames that a shape takes to leave the picture or to come back."""


@dataclass(frozen=True, slots=True, eq=False)
class Wave:
    """A sum of sines of the frame number: smooth, bounded, and known at any frame at once."""

    amplitude: Array
    """One per sine."""
    period: Array
    """Frames, one per sine."""
    phase: Array
    """Radians, one per sine."""

    def at(self, frame_idx: int) -> float:
        """The value at one frame."""
        return float(self.amplitude @ np.sin(2 * np.pi * frame_idx / self.period + self.phase))


def draw_wave(rng: np.random.Generator, amplitude: float, period: tuple[float, float]) -> Wave:
    """Two sines of unlike periods whose sum stays within `amplitude`."""
    share = rng.uniform(0.55, 0.8)
    long = rng.uniform(*period)
    return Wave(
        amplitude=np.array([share, 1 - share]) * amplitude,
        period=np.array([long, long / rng.uniform(1.7, 2.6)]),
        phase=rng.uniform(0, 2 * np.pi, 2),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Excursion:
    """A shape's regular way out of the picture."""

    period: float
    """Frames from one exit to the next."""
    away: float
    """Frames from the start of the way out to the end of the way back."""
    start: float
    """Frame at which the first exit begins; below 0 for a shape that is outside at frame 0."""
    out_xy: Array
    """World offset that takes the shape out of sight."""
    back_xy: Array
    """World offset from which it comes back; another edge, or the same as `out_xy`."""

    def offset_xy(self, frame_idx: int) -> Array:
        """Where the shape is pushed to at this frame."""
        into = (frame_idx - self.start) % self.period
        if into >= self.away or frame_idx < self.start:
            return np.zeros(2)
        # Leaving and returning meet halfway, when the shape is out of sight for both.
        if into < self.away / 2:
            return self.out_xy * _smooth(into / _EXIT_RAMP)
        return self.back_xy * _smooth((self.away - into) / _EXIT_RAMP)


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """One shape: outline, skin and motion. World units are the picture's short side."""

    home_xy: Array
    radius: float
    outline_r: Array
    """Distance of each vertex from the centre, of mean 1, at rest."""
    skin_hwc: NDArray[np.uint8]
    hue: float
    x: Wave
    y: Wave
    angle: Wave
    spin: float
    """Radians per frame on top of `angle`."""
    size: Wave
    """Relative change of the radius."""
    harmonics: tuple[Wave, ...]
    """Change of the outline: wave k swings the outline's harmonic k + 2."""
    excursion: Excursion | None

    def pose(self, frame_idx: int) -> tuple[Array, float, float]:
        """Centre in world units, radius, and angle in radians at one frame."""
        centre_xy = self.home_xy + np.array([self.x.at(frame_idx), self.y.at(frame_idx)])
        if self.excursion is not None:
            centre_xy = centre_xy + self.excursion.offset_xy(frame_idx)
        angle = self.angle.at(frame_idx) + self.spin * frame_idx
        return centre_xy, self.radius * (1 + self.size.at(frame_idx)), angle

    def outline_xy(self, frame_idx: int) -> Array:
        """The outline about its own centre, NUM_VERTICES x 2, in radii, not yet turned."""
        radii = self.outline_r.copy()
        for k, wave in enumerate(self.harmonics):
            radii += wave.at(frame_idx) * np.cos((k + 2) * _THETA)
        radii = np.maximum(radii, 0.2)
        return np.stack([radii * np.cos(_THETA), radii * np.sin(_THETA)], axis=1)


def draw_actor(
    rng: np.random.Generator,
    recipe: Recipe,
    *,
    home_xy: Array,
    extent_xy: Array,
    radius: float,
    hue: float,
    like: Actor | None = None,
    late: bool = False,
    leaves: bool = False,
) -> Actor:
    """Draw one shape.

    Args:
        rng: Source of all randomness; the shape is a function of it and the other arguments.
        recipe: The scene's difficulty.
        home_xy: Where the shape wanders about, world units.
        extent_xy: Width and height of the picture in world units.
        radius: Mean radius, world units.
        hue: Main colour, 0 to 1 around the wheel.
        like: Copy this shape's outline and skin, and move on its own.
        late: Outside at frame 0.
        leaves: Goes out of the picture now and then.
    """
    pace = 90 / recipe.speed, 240 / recipe.speed
    wander = rng.uniform(*recipe.wander, 2)
    if recipe.stays:
        room_xy = np.minimum(home_xy, extent_xy - home_xy) - 0.7 * radius - recipe.pan
        wander = np.minimum(wander, np.maximum(room_xy, 0.0))
    excursion = None
    if leaves or late:
        reach = radius * 1.7 + float(wander.max()) + recipe.pan + recipe.zoom + 0.04
        excursion = draw_excursion(rng, home_xy, extent_xy, reach, recipe.elsewhere, late)
    return Actor(
        home_xy=home_xy,
        radius=radius,
        outline_r=like.outline_r if like else _draw_outline(rng),
        skin_hwc=like.skin_hwc
        if like
        else skin_hwc(rng, hue=hue, patterned=bool(rng.uniform() < recipe.pattern)),
        hue=like.hue if like else hue,
        x=draw_wave(rng, float(wander[0]), pace),
        y=draw_wave(rng, float(wander[1]), pace),
        angle=draw_wave(rng, rng.uniform(0.2, 1.0), pace),
        spin=rng.uniform(-0.015, 0.015) * recipe.speed,
        size=draw_wave(rng, recipe.scale_swing, pace),
        harmonics=tuple(
            draw_wave(rng, recipe.deform / (1 + 0.5 * k), (40 / recipe.speed, 120 / recipe.speed))
            for k in range(3)
        ),
        excursion=excursion,
    )


def _draw_outline(rng: np.random.Generator) -> Array:
    """Blob, star, box, egg or polygon as radii of mean 1."""
    kind = rng.integers(5)
    turn = rng.uniform(0, 2 * np.pi)
    if kind == 0:
        radii = np.ones(NUM_VERTICES)
        for k in range(2, 6):
            radii += rng.uniform(0.03, 0.3) / (k - 0.5) * np.cos(k * _THETA + rng.uniform(0, 6.3))
    elif kind == 1:
        points = int(rng.integers(4, 8))
        radii = 1 + rng.uniform(0.18, 0.32) * np.cos(points * _THETA)
    elif kind == 2:
        aspect = rng.uniform(1.0, 2.0)
        power = rng.uniform(3, 7)
        radii = (np.abs(np.cos(_THETA) / aspect) ** power + np.abs(np.sin(_THETA)) ** power) ** (
            -1 / power
        )
    elif kind == 3:
        aspect = rng.uniform(1.2, 2.2)
        radii = 1 / np.hypot(np.cos(_THETA) / aspect, np.sin(_THETA))
        radii *= 1 + rng.uniform(0, 0.2) * np.cos(_THETA)
    else:
        sides = int(rng.integers(3, 7))
        wedge = 2 * np.pi / sides
        radii = (1 / np.cos((_THETA + turn) % wedge - wedge / 2)) ** rng.uniform(0.7, 1.0)
    return np.asarray(radii / radii.mean(), np.float64)


def draw_excursion(
    rng: np.random.Generator,
    home_xy: Array,
    extent_xy: Array,
    reach: float,
    elsewhere: bool,
    late: bool,
) -> Excursion:
    """A way out over the nearest edge, and back over it or over another one."""
    ways = np.array(
        [
            [-home_xy[0] - reach, 0],
            [extent_xy[0] - home_xy[0] + reach, 0],
            [0, -home_xy[1] - reach],
            [0, extent_xy[1] - home_xy[1] + reach],
        ]
    )
    order = np.argsort(np.abs(ways).sum(axis=1))
    back = order[int(rng.integers(1, 4))] if elsewhere else order[0]
    away = 2 * _EXIT_RAMP + rng.uniform(6, 34)
    start = rng.uniform(30, 90)
    if late:
        # In the middle of the way, out of sight, at frame 0.
        start = -away / 2
    return Excursion(
        period=away + rng.uniform(50, 110),
        away=away,
        start=start,
        out_xy=ways[order[0]],
        back_xy=ways[back],
    )


def _smooth(x: float) -> float:
    """0 to 1 with flat ends, for x from 0 to 1."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)
