"""Scenes of animals with limbs that swing, in front of hills and trees.

No model trains on this kind: it is kept for measuring, and shares no outline and no surface with
the others. They have the stage and the camera in common.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.scenes.stage import Patch, StageVideo, View

Array = NDArray[np.float64]

_SALT = 14
_REACH = 1.3
_EDGE = 0.05
"""Width of the dark line along the edge of an animal that has one, in radii."""


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
        make_puppet=_draw_creature,
        make_ground=_paint_hills,
        upright=True,
    )


@dataclass(frozen=True, slots=True)
class _Bone:
    """A limb between two joints, thicker at one end than at the other. Lengths are in radii."""

    parent: int
    """Bone at whose far end it begins; -1 begins at `start`."""
    start: tuple[float, float]
    length: float
    angle: float
    """Radians from the right, clockwise on the picture."""
    swing: float
    """Radians to each side."""
    phase: float
    thick: tuple[float, float]
    colour: int


@dataclass(frozen=True, slots=True, eq=False)
class Creature:
    """An animal made of limbs."""

    bones: tuple[_Bone, ...]
    palette_c3: NDArray[np.float32]
    stripes: float
    """Stripes along a limb's length unit; 0 for none."""
    has_line: bool
    is_mirrored: bool
    period: float
    """Frames of a step."""
    fill: float
    mean_rgb: NDArray[np.float32]

    def paint(self, view: View, *, colour: bool) -> Patch | None:
        """The animal in this view; None where nothing of it lies within the bounds."""
        area = view.square(_REACH)
        if area is None:
            return None
        x0, y0, x1, y1 = area
        ys, xs = np.mgrid[y0:y1, x0:x1]
        dx, dy = (xs + 0.5 - view.x) / view.radius, (ys + 0.5 - view.y) / view.radius
        cos, sin = np.cos(view.angle), np.sin(view.angle)
        u_hw, v_hw = dx * cos + dy * sin, dy * cos - dx * sin
        if self.is_mirrored:
            u_hw = -u_hw
        far_hw = np.full(u_hw.shape, np.inf)
        nearest_hw = np.zeros(u_hw.shape, np.intp)
        along_hw = np.zeros(u_hw.shape)
        for k, (start, end) in enumerate(self._joints(view.frame_idx)):
            way = end - start
            share = ((u_hw - start[0]) * way[0] + (v_hw - start[1]) * way[1]) / (way @ way)
            share = np.clip(share, 0, 1)
            thick = self.bones[k].thick[0] + share * (
                self.bones[k].thick[1] - self.bones[k].thick[0]
            )
            apart = np.hypot(u_hw - start[0] - share * way[0], v_hw - start[1] - share * way[1])
            nearer = apart - thick < far_hw
            far_hw[nearer] = (apart - thick)[nearer]
            nearest_hw[nearer] = self.bones[k].colour
            along_hw[nearer] = (share * self.bones[k].length)[nearer]
        cover_hw = (np.clip(0.5 - far_hw * view.radius, 0, 1) * 255).astype(np.uint8)
        if not colour:
            return Patch(x0, y0, cover_hw, None)
        shade_hw = 1.1 - 0.35 * np.clip(v_hw + 0.3, 0, 1)
        if self.stripes:
            shade_hw = shade_hw * (1 + 0.35 * np.sign(np.sin(along_hw * self.stripes)))
        if self.has_line:
            shade_hw = np.where(far_hw > -_EDGE, shade_hw * 0.4, shade_hw)
        colour_hwc = self.palette_c3[nearest_hw] * shade_hw[..., None]
        return Patch(x0, y0, cover_hw, np.clip(colour_hwc, 0, 255).astype(np.uint8))

    def shadow(self, view: View) -> Patch | None:
        """A dark spot below the feet."""
        area = view.square(_REACH)
        if area is None:
            return None
        x0, y0, x1, y1 = area
        ys, xs = np.mgrid[y0:y1, x0:x1]
        dx, dy = (xs + 0.5 - view.x) / view.radius, (ys + 0.5 - view.y) / view.radius
        dark_hw = np.clip(1.5 - 1.5 * np.hypot(dx / 0.8, (dy - 0.9) / 0.2), 0, 1)
        return Patch(x0, y0, (dark_hw * 255).astype(np.uint8), None)

    def _joints(self, frame_idx: int) -> list[tuple[Array, Array]]:
        """Start and end of each bone."""
        ends: list[tuple[Array, Array]] = []
        angles: list[float] = []
        step = 2 * np.pi * frame_idx / self.period
        for bone in self.bones:
            at = np.array(bone.start) if bone.parent < 0 else ends[bone.parent][1]
            turn = bone.swing * np.sin(step + bone.phase)
            angle = bone.angle + turn + (0.0 if bone.parent < 0 else angles[bone.parent])
            angles.append(turn)
            ends.append((at, at + bone.length * np.array([np.cos(angle), np.sin(angle)])))
        return ends


def _draw_creature(rng: np.random.Generator) -> Creature:
    build = (_four_legs, _two_legs, _swimmer)[int(rng.integers(3))]
    base = rng.uniform(20, 235, 3)
    palette = np.clip(base + rng.normal(0, rng.choice([15, 70]), (3, 3)), 0, 255)
    return Creature(
        bones=build(rng),
        palette_c3=palette.astype(np.float32),
        stripes=float(rng.choice([0.0, 0.0, rng.uniform(12, 40)])),
        has_line=bool(rng.uniform() < 0.4),
        is_mirrored=bool(rng.uniform() < 0.5),
        period=rng.uniform(14, 50),
        fill=0.9,
        mean_rgb=np.asarray(palette.mean(axis=0) * 0.9, np.float32),
    )


def _leg(rng: np.random.Generator, start: tuple[float, float], first: int, phase: float,
         thick: float, colour: int) -> tuple[_Bone, _Bone]:  # fmt: skip
    """A thigh and a shank that hang down."""
    swing = rng.uniform(0.2, 0.55)
    down = np.pi / 2
    thigh = _Bone(-1, start, 0.36, down, swing, phase, (thick, thick * 0.7), colour)
    shank = _Bone(first, (0, 0), 0.36, down + 0.15, swing * 0.7, phase - 0.8,
                  (thick * 0.7, thick * 0.45), colour)  # fmt: skip
    return thigh, shank


def _four_legs(rng: np.random.Generator) -> tuple[_Bone, ...]:
    """A dog, a horse, a giraffe."""
    thick, leg, neck = rng.uniform(0.16, 0.3), rng.uniform(0.06, 0.13), rng.uniform(0.15, 0.55)
    rise = -rng.uniform(0.5, 1.4)
    bones = [
        _Bone(-1, (-0.5, 0.0), 0.9, 0.0, 0.03, 0.0, (thick, thick * rng.uniform(0.7, 1.1)), 0),
        _Bone(0, (0, 0), neck, rise, 0.1, 0.5, (thick * 0.6, 0.1), 0),
        _Bone(1, (0, 0), rng.uniform(0.12, 0.3), 0.3, 0.1, 0.0, (rng.uniform(0.12, 0.19), 0.08), 1),
        _Bone(-1, (-0.5, -0.05), rng.uniform(0.2, 0.5), np.pi + rng.uniform(-1, 0.9), 0.4, 1.0,
              (0.06, 0.03), 2),
    ]  # fmt: skip
    for start, phase in ((-0.48, 0.0), (-0.36, np.pi), (0.26, np.pi / 2), (0.38, 1.5 * np.pi)):
        bones += _leg(rng, (start, thick * 0.4), len(bones), phase, leg, int(rng.integers(3)))
    return tuple(bones)


def _two_legs(rng: np.random.Generator) -> tuple[_Bone, ...]:
    """A person or a bird with arms."""
    wide, limb = rng.uniform(0.14, 0.24), rng.uniform(0.06, 0.1)
    up = -np.pi / 2
    bones = [
        _Bone(-1, (0.0, 0.22), 0.55, up, 0.05, 0.0, (wide * 0.9, wide), 0),
        _Bone(0, (0, 0), 0.26, up, 0.06, 0.3, (0.07, rng.uniform(0.14, 0.2)), 1),
    ]
    for side, phase in ((-1, 0.0), (1, np.pi)):
        bones += _leg(rng, (side * wide * 0.5, 0.25), len(bones), phase, limb * 1.3, 2)
        bones += _leg(
            rng, (side * wide, -0.28), len(bones), phase + np.pi, limb, int(rng.integers(3))
        )
    return tuple(bones)


def _swimmer(rng: np.random.Generator) -> tuple[_Bone, ...]:
    """A fish or a lizard: a chain that winds."""
    thick = rng.uniform(0.14, 0.34)
    widths = thick * np.sin(np.linspace(0.9, 2.9, 6))
    bones: list[_Bone] = []
    for k in range(5):
        start = (0.85, 0.0) if k == 0 else (0.0, 0.0)
        ends = (float(widths[k]), float(widths[k + 1]))
        bones.append(_Bone(k - 1, start, 0.32, np.pi, 0.22, -0.9 * k, ends, k % 2))
    bones.append(_Bone(4, (0, 0), 0.22, np.pi - 0.7, 0.3, 1.0, (0.03, 0.1), 2))
    bones.append(_Bone(4, (0, 0), 0.22, np.pi + 0.7, 0.3, 1.0, (0.03, 0.1), 2))
    bones.append(_Bone(1, (0, 0), rng.uniform(0.3, 0.5), np.pi / 2 + 0.6, 0.3, 0.0, (0.1, 0.03), 2))
    return tuple(bones)


def _paint_hills(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A sky, ridges one in front of the other, and trees on them."""
    ys, xs = np.linspace(0, 1, height)[:, None], np.linspace(0, width / height, width)[None]
    high, low = rng.uniform(30, 250, 3), rng.uniform(30, 250, 3)
    picture = high + (low - high) * ys[..., None] + np.zeros((1, width, 1))
    for k in range(int(rng.integers(2, 6))):
        ridge = _ridge(rng, width) * rng.uniform(0.05, 0.25) + rng.uniform(0.15, 0.35) + 0.15 * k
        colour = rng.uniform(10, 240, 3)
        below = ys > ridge[None]
        grain = 1 + rng.choice([0.05, 0.25]) * rng.standard_normal((height, width))
        picture = np.where(below[..., None], colour * grain[..., None], picture)
        for _ in range(int(rng.integers(0, 9))):
            x, size = rng.uniform(0, 1), rng.uniform(0.04, 0.2)
            y = ridge[int(x * (width - 1))]
            leaves = _tree(x * width / height, y, size, ys, xs)
            picture = np.where(leaves[..., None], colour * rng.uniform(0.3, 0.9), picture)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _ridge(rng: np.random.Generator, width: int) -> Array:
    """A skyline in about [-1, 1]: each half of it is broken again, ever less."""
    points = rng.uniform(-1, 1, 2)
    for level in range(6):
        middles = (points[1:] + points[:-1]) / 2 + rng.normal(0, 0.5**level, len(points) - 1)
        points = np.insert(points, np.arange(1, len(points)), middles)
    return np.asarray(np.interp(np.linspace(0, 1, width), np.linspace(0, 1, len(points)), points))


def _tree(x: float, y: float, size: float, ys: Array, xs: Array) -> NDArray[np.bool_]:
    """A crown that tapers to its top, on a stem."""
    rise = (y - ys) / size
    crown = (np.abs(xs - x) < size * 0.35 * (1.2 - rise)) & (rise > 0.2) & (rise < 1.2)
    stem = (np.abs(xs - x) < size * 0.05) & (rise >= 0) & (rise <= 0.2)
    return np.asarray(crown | stem)
