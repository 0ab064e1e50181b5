"""What a camera does to a picture: where it looks, its light, its lens, its file format."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.scenes.actors import Wave, draw_wave

Array = NDArray[np.float64]

_NOISE_STEP = 61
"""Noise is one plane that moves by steps which share no factor with this many places."""


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Where the camera looks at each frame. World units are the picture's short side."""

    pan: tuple[Wave, Wave]
    shake: tuple[Wave, Wave]
    zoom: Wave
    roll: Wave

    def look(self, frame_idx: int) -> tuple[Array, float, float]:
        """The way from the middle in world units, the zoom, and the roll in radians."""
        look_xy = np.array(
            [self.pan[k].at(frame_idx) + self.shake[k].at(frame_idx) for k in (0, 1)]
        )
        return look_xy, 1 + self.zoom.at(frame_idx), self.roll.at(frame_idx)


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera that rests, glides, or is held in a hand."""
    glide = rng.choice([0.0, 0.05, 0.16])
    hand = rng.choice([0.0, 0.0, 0.012])
    return Camera(
        pan=(draw_wave(rng, glide, (90, 300)), draw_wave(rng, glide, (90, 300))),
        shake=(draw_wave(rng, hand, (7, 19)), draw_wave(rng, hand, (7, 19))),
        zoom=draw_wave(rng, rng.choice([0.0, 0.08, 0.2]), (90, 300)),
        roll=draw_wave(rng, rng.choice([0.0, 0.0, 0.15]), (60, 240)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Optics:
    """Light, lens, sensor and file format."""

    light: Wave
    cast: tuple[Wave, Wave, Wave]
    """One per colour channel."""
    slope: Wave
    """Difference of the light between two sides of the picture, of the mean."""
    slope_angle: Wave
    gamma: float
    saturation: float
    focus: Wave
    """Blur of the lens: standard deviation of the short side; below 0 is sharp."""
    quality: int
    """Of the JPEG, 0 to 100; above 100 there is none."""
    coarse: float
    """Pixels of the camera for one of the picture, at most 1."""
    noise_hwc: NDArray[np.float32]

    def expose(self, canvas_hwc: NDArray[np.uint8], frame_idx: int) -> NDArray[np.uint8]:
        """The canvas as this camera stores it."""
        height, width = canvas_hwc.shape[:2]
        picture = canvas_hwc
        sigma = self.focus.at(frame_idx) * min(height, width)
        if sigma > 0.25:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma))
        lit = picture.astype(np.float32)
        if self.saturation != 1:
            grey = lit.mean(axis=2, keepdims=True)
            lit = grey + (lit - grey) * np.float32(self.saturation)
        gains = 1 + self.light.at(frame_idx)
        lit *= np.array([gains * (1 + wave.at(frame_idx)) for wave in self.cast], np.float32)
        slope, angle = self.slope.at(frame_idx), self.slope_angle.at(frame_idx) * np.pi
        if abs(slope) > 0.01:
            xs = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(np.cos(angle))
            ys = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(np.sin(angle))
            lit *= (1 + np.float32(slope) * (ys[:, None] + xs))[..., None]
        dy = (frame_idx * 17 + frame_idx // _NOISE_STEP * 5) % _NOISE_STEP
        dx = (frame_idx * 29) % _NOISE_STEP
        lit += self.noise_hwc[dy : dy + height, dx : dx + width]
        stored = np.clip(lit, 0, 255).astype(np.uint8)
        if self.gamma != 1:
            curve = (255 * (np.arange(256) / 255) ** self.gamma).astype(np.uint8)
            stored = curve[stored]
        if self.coarse < 1:
            size = (max(8, int(width * self.coarse)), max(8, int(height * self.coarse)))
            small = cv2.resize(stored, size, interpolation=cv2.INTER_AREA)
            stored = np.asarray(cv2.resize(small, (width, height)), np.uint8)
        if self.quality <= 100:
            _, coded = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            stored = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        return stored


def draw_optics(rng: np.random.Generator, height: int, width: int) -> Optics:
    """Anything from a still, clean picture to a poor one. Draws the noise last: its count depends
    on the size."""
    flicker = rng.choice([0.03, 0.15, 0.35])
    tint = rng.choice([0.0, 0.04, 0.1])
    light = draw_wave(rng, flicker, (25, 200))
    cast = tuple(draw_wave(rng, tint, (40, 200)) for _ in range(3))
    slope = draw_wave(rng, rng.choice([0.0, 0.15, 0.4]), (60, 300))
    slope_angle = draw_wave(rng, 2.0, (100, 400))
    gamma = float(rng.choice([1.0, rng.uniform(0.6, 1.6)]))
    saturation = float(rng.choice([1.0, rng.uniform(0.0, 1.4)]))
    focus = draw_wave(rng, rng.choice([0.0, 0.004, 0.012]), (40, 200))
    quality = int(rng.choice([101, int(rng.integers(12, 90))]))
    coarse = float(rng.choice([1.0, 1.0, 1.0, rng.uniform(0.4, 0.8)]))
    sigma, coloured = rng.choice([1.0, 4.0, 10.0]), rng.uniform() < 0.5
    shape = (height + _NOISE_STEP, width + _NOISE_STEP, 3 if coloured else 1)
    noise_hwc = rng.standard_normal(shape, np.float32) * np.float32(sigma)
    return Optics(
        light, (cast[0], cast[1], cast[2]), slope, slope_angle, gamma, saturation, focus, quality,
        coarse, noise_hwc,
    )  # fmt: skip
