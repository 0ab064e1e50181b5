"""Scenes of shaded bodies: boxes, cones, balls and rings that turn and cast shadows."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.scenes.actors import Wave, draw_wave
from samcore.scenes.stage import Patch, StageVideo, View
from samcore.scenes.surfaces import draw_colour, make_surface

Array = NDArray[np.float64]

_SALT = 13
_FINE = 2
"""Faces are drawn this many times larger and averaged down."""
_REACH = 1.05


def make_video(
    seed: int, *, num_frames: int, height: int, width: int, num_objects: int
) -> StageVideo:
    """A video of this kind; see `StageVideo`."""
    lamp = np.random.default_rng([seed, _SALT])
    light = np.array([*lamp.uniform(-0.8, 0.8, 2), 1.0])
    light /= np.linalg.norm(light)

    def make_puppet(rng: np.random.Generator) -> Solid:
        return _draw_solid(rng, light)

    def make_ground(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
        return _furnish(rng, make_surface(rng, height, width), make_puppet)

    return StageVideo(
        seed,
        num_frames=num_frames,
        height=height,
        width=width,
        num_objects=num_objects,
        salt=_SALT,
        make_puppet=make_puppet,
        make_ground=make_ground,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """A body of flat faces within a ball of radius 1; z points to the viewer."""

    points_v3: Array
    faces: NDArray[np.intp]
    """F x 4 corners, counter-clockwise seen from outside; a triangle repeats one."""
    colours_f3: NDArray[np.float32]
    light: Array
    """Towards the lamp, of length 1."""
    ambient: float
    shine: float
    turns: tuple[Wave, Wave]
    rolls: tuple[float, float]
    """Radians a frame about the two axes that lie in the picture."""
    start: Array
    """Angles about these axes at frame 0."""
    fill: float
    mean_rgb: NDArray[np.float32]

    def paint(self, view: View, *, colour: bool) -> Patch | None:
        """The body in this view; None where nothing of it lies within the bounds."""
        area = view.square(_REACH)
        if area is None:
            return None
        turned_v3 = self._turned(view)
        corners_f43 = turned_v3[self.faces]
        normals_f3 = np.cross(
            corners_f43[:, 2] - corners_f43[:, 0], corners_f43[:, 3] - corners_f43[:, 1]
        )
        front = np.flatnonzero(normals_f3[:, 2] > 0)
        order = front[np.argsort(corners_f43[front, :, 2].mean(axis=1))]
        shape_f42 = _to_pixels(corners_f43[order, :, :2], view, area)
        x0, y0, x1, y1 = area
        fine = np.zeros(((y1 - y0) * _FINE, (x1 - x0) * _FINE), np.uint8)
        for corners in shape_f42:
            cv2.fillConvexPoly(fine, corners, 255, shift=4)
        size = (x1 - x0, y1 - y0)
        cover_hw = np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), np.uint8)
        if not colour:
            return Patch(x0, y0, cover_hw, None)
        shades_f3 = self._shades(normals_f3[order], order)
        painted = np.empty((*fine.shape, 3), np.uint8)
        painted[:] = self.mean_rgb
        for corners, shade in zip(shape_f42, shades_f3.tolist(), strict=True):
            cv2.fillConvexPoly(painted, corners, shade, shift=4)
        colour_hwc = cv2.resize(painted, size, interpolation=cv2.INTER_AREA)
        return Patch(x0, y0, cover_hw, np.asarray(colour_hwc, np.uint8))

    def shadow(self, view: View) -> Patch | None:
        """What the body hides from the lamp on a plane behind it."""
        area = view.square(2.2)
        if area is None:
            return None
        x0, y0, x1, y1 = area
        turned_v3 = self._turned(view)
        away_v2 = turned_v3[:, :2] - self.light[:2] / self.light[2] * (turned_v3[:, 2:] + 1)
        hull = cv2.convexHull(away_v2.astype(np.float32))[:, 0].astype(np.float64)
        cover_hw = np.zeros((y1 - y0, x1 - x0), np.uint8)
        points = np.round((hull * view.radius + (view.x - x0, view.y - y0)) * 16).astype(np.int32)
        cv2.fillConvexPoly(cover_hw, points, 255, shift=4)
        side = max(1, int(view.radius * 0.2)) | 1
        return Patch(x0, y0, np.asarray(cv2.blur(cover_hw, (side, side)), np.uint8), None)

    def _turned(self, view: View) -> Array:
        a, b = (
            self.start[k] + self.turns[k].at(view.frame_idx) + self.rolls[k] * view.frame_idx
            for k in (0, 1)
        )
        turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        c, s = np.cos(view.angle), np.sin(view.angle)
        turn_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return np.asarray(self.points_v3 @ (turn_z @ turn_y @ turn_x).T)

    def _shades(self, normals_f3: Array, order: NDArray[np.intp]) -> NDArray[np.float64]:
        length = np.linalg.norm(normals_f3, axis=1, keepdims=True)
        towards = np.clip(normals_f3 / np.maximum(length, 1e-9) @ self.light, 0, 1)
        lit = self.ambient + (1 - self.ambient) * towards
        glare = self.shine * towards**20 * 255
        shades_f3 = self.colours_f3[order] * lit[:, None] + glare[:, None]
        return np.asarray(np.clip(shades_f3, 0, 255), np.float64)


def _to_pixels(points: Array, view: View, area: tuple[int, int, int, int]) -> NDArray[np.int32]:
    away = points * view.radius + (view.x - area[0], view.y - area[1])
    return np.asarray(np.round(away * (_FINE * 16)), np.int32)


def _draw_solid(rng: np.random.Generator, light: Array) -> Solid:
    points, faces = _BODIES[int(rng.integers(len(_BODIES)))](rng)
    points = points * rng.uniform(0.45, 1.0, 3)
    points = points / np.linalg.norm(points, axis=1).max()
    colours = np.tile(draw_colour(rng).astype(np.float64), (len(faces), 1))
    second = draw_colour(rng)
    pattern = rng.integers(4)
    if pattern == 1:
        colours[rng.uniform(size=len(faces)) < 0.4] = second
    elif pattern == 2:
        heights = points[faces].mean(axis=1) @ rng.normal(size=3)
        colours[np.sin(heights * rng.uniform(3, 9)) > 0] = second
    elif pattern == 3:
        colours = colours + rng.normal(0, 25, (len(faces), 3))
    pace = rng.choice([0.0, 1.0])
    solid = Solid(
        points_v3=points,
        faces=faces,
        colours_f3=np.asarray(np.clip(colours, 0, 255), np.float32),
        light=light,
        ambient=rng.uniform(0.15, 0.6),
        shine=float(rng.choice([0.0, 0.5])),
        turns=(draw_wave(rng, pace, (40, 160)), draw_wave(rng, pace, (40, 160))),
        rolls=(rng.uniform(-0.04, 0.04) * pace, rng.uniform(-0.04, 0.04) * pace),
        start=rng.uniform(0, 2 * np.pi, 2),
        fill=1.4,
        mean_rgb=np.asarray(np.clip(colours, 0, 255).mean(axis=0) * 0.7, np.float32),
    )
    return solid


def _furnish(
    rng: np.random.Generator,
    ground_hwc: NDArray[np.uint8],
    make_puppet: Callable[[np.random.Generator], Solid],
) -> NDArray[np.uint8]:
    """Put some bodies onto a floor that stay there: the ground is of what the objects are of."""
    height, width = ground_hwc.shape[:2]
    for _ in range(int(rng.choice([0, 4, 10]))):
        x, y = rng.uniform(0, 1, 2) * (width, height)
        view = View(0, x, y, rng.uniform(0.05, 0.25) * height, 0.0, (0, 0, width, height))
        body = make_puppet(rng)
        for patch, depth in ((body.shadow(view), 0.4), (body.paint(view, colour=True), 1.0)):
            if patch is None:
                continue
            h, w = patch.cover_hw.shape
            part = ground_hwc[patch.y : patch.y + h, patch.x : patch.x + w]
            share = patch.cover_hw[..., None] * np.float32(depth / 255)
            new = np.float32(0) if patch.colour_hwc is None else patch.colour_hwc
            part[:] = (part + (new - part.astype(np.float32)) * share).astype(np.uint8)
    return ground_hwc


def _revolve(profile: Array, count: int) -> tuple[Array, NDArray[np.intp]]:
    """A body of revolution about y. `profile` is of rows (distance from the axis, height), from
    top to bottom."""
    theta = np.arange(count) * 2 * np.pi / count
    points = np.stack(
        [
            profile[:, :1] * np.cos(theta),
            np.repeat(profile[:, 1:], count, axis=1),
            profile[:, :1] * np.sin(theta),
        ],
        axis=2,
    ).reshape(-1, 3)
    rows, columns = np.mgrid[0 : len(profile) - 1, 0:count]
    after = (columns + 1) % count
    faces = np.stack(
        [rows * count + columns, rows * count + after, (rows + 1) * count + after,
         (rows + 1) * count + columns],
        axis=2,
    ).reshape(-1, 4)  # fmt: skip
    return points, faces.astype(np.intp)


def _box(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """A prism of three to six sides."""
    return _revolve(np.array([[0, -1], [1, -1], [1, 1], [0, 1.0]]), int(rng.integers(3, 7)))


def _pyramid(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    top = rng.choice([0.0, rng.uniform(0.1, 0.7)])
    return _revolve(np.array([[0, -1], [top, -1], [1, 1], [0, 1.0]]), int(rng.integers(3, 14)))


def _can(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """A cylinder in bands, or a vase of any profile."""
    heights = np.linspace(-1, 1, 6)
    bulge = 1 - rng.choice([0.0, 0.6]) * rng.uniform(0, 1, 6)
    profile = np.concatenate([[[0, -1]], np.stack([bulge, heights], 1), [[0, 1]]])
    return _revolve(profile, 14)


def _ball(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    theta = np.linspace(0, np.pi, 10)
    return _revolve(np.stack([np.sin(theta), -np.cos(theta)], axis=1), 16)


def _ring(rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    thick = rng.uniform(0.15, 0.4)
    theta = np.linspace(0, 2 * np.pi, 9)
    profile = np.stack([1 - thick + thick * np.sin(theta), -thick * np.cos(theta)], axis=1)
    return _revolve(profile, 18)


_BODIES: tuple[Callable[[np.random.Generator], tuple[Array, NDArray[np.intp]]], ...] = (
    _box, _box, _pyramid, _can, _ball, _ring,
)  # fmt: skip
