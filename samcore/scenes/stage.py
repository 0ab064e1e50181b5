"""A video of puppets on a stage: who stands where, in front of whom, seen by which camera.

What the puppets and the ground look like is the business of each kind of scene.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.scenes.actors import Array, Excursion, Wave, draw_excursion, draw_wave
from samcore.scenes.optics import draw_camera, draw_optics
from samcore.scenes.video import SceneFrame, SyntheticVideo

GROUND_SIDE = 224
"""Pixels of a ground's short side, as a kind of scene paints it."""
_MARGIN = 1.7
"""The ground is this much wider and higher than the picture, for the camera to move in."""
_AREAS = (0.005, 0.4)
"""Least and greatest share of the picture that an object covers."""
_EVERYWHERE = (-(10**6), -(10**6), 10**6, 10**6)


@dataclass(frozen=True, slots=True)
class View:
    """How a puppet is seen on one frame, in pixels."""

    frame_idx: int
    x: float
    """Of its middle."""
    y: float
    radius: float
    """The puppet fits into a square of twice this side at angle 0."""
    angle: float
    """Radians, clockwise on the picture."""
    bounds: tuple[int, int, int, int]
    """Left, top, right and bottom of what is to be painted; the rest is cut off."""

    def square(self, reach: float = 1.0) -> tuple[int, int, int, int] | None:
        """The part of `bounds` within `reach` radii of the middle; None if there is none."""
        far = self.radius * reach + 1
        x0, y0 = max(int(self.x - far), self.bounds[0]), max(int(self.y - far), self.bounds[1])
        x1 = min(int(self.x + far) + 1, self.bounds[2])
        y1 = min(int(self.y + far) + 1, self.bounds[3])
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A painted part of the picture."""

    x: int
    y: int
    cover_hw: NDArray[np.uint8]
    """Covered share of each pixel, 0 to 255; at least 128 belongs to the puppet."""
    colour_hwc: NDArray[np.uint8] | None
    """Left out where it was not asked for."""


class Puppet(Protocol):
    """A thing that can be seen. It depends on the view alone and keeps nothing."""

    @property
    def fill(self) -> float:
        """Covered area in squares of the radius, of which a disc has pi."""

    @property
    def mean_rgb(self) -> NDArray[np.float32]:
        """Its mean colour, 0 to 255."""

    def paint(self, view: View, *, colour: bool) -> Patch | None:
        """The puppet in this view; None where nothing of it lies within the bounds."""

    def shadow(self, view: View) -> Patch | None:
        """Where it keeps the light away; None for a puppet that throws no shadow of its own."""


MakePuppet = Callable[[np.random.Generator], Puppet]
MakeGround = Callable[[np.random.Generator, int, int], NDArray[np.uint8]]
"""From a height and a width in pixels, H x W x 3."""


@dataclass(frozen=True, slots=True, eq=False)
class _Role:
    """A puppet and what it does."""

    puppet: Puppet
    home_xy: Array
    radius: float
    """World units."""
    x: Wave
    y: Wave
    size: Wave
    angle: Wave
    tilt: float
    spin: float
    excursion: Excursion | None
    gain: float
    """Factor of the colours, with which a faint puppet comes near the ground's."""
    offset_rgb: NDArray[np.float32]

    def place(self, frame_idx: int) -> tuple[Array, float, float]:
        """Middle and radius in world units, and angle."""
        at_xy = self.home_xy + np.array([self.x.at(frame_idx), self.y.at(frame_idx)])
        if self.excursion is not None:
            at_xy = at_xy + self.excursion.offset_xy(frame_idx)
        angle = self.tilt + self.angle.at(frame_idx) + self.spin * frame_idx
        return at_xy, self.radius * float(np.exp(self.size.at(frame_idx))), angle


class StageVideo(SyntheticVideo):
    """Puppets of one kind on a ground of the same kind.

    Objects cover 0.5 to 40 % of the picture, strongly or faintly unlike the ground; they cross,
    and some leave and return. Strangers pass in front of them and behind, some of them twins of
    an object. The camera moves, shakes and zooms; light, focus, noise and compression vary.
    """

    def __init__(
        self,
        seed: int,
        *,
        num_frames: int,
        height: int,
        width: int,
        num_objects: int,
        salt: int,
        make_puppet: MakePuppet,
        make_ground: MakeGround,
        upright: bool = False,
    ) -> None:
        """Draw the cast.

        Args:
            seed: Of all that is drawn.
            num_frames: Length of the video.
            height: Of the picture in pixels.
            width: Of the picture in pixels.
            num_objects: Objects, which get the ids from 1.
            salt: A number of the kind's own, so that kinds do not move alike.
            make_puppet: Draws one puppet.
            make_ground: Paints a ground.
            upright: Puppets keep their feet below their heads.

        Raises:
            InputError: A size or count is below its least value.
        """
        super().__init__(
            seed, num_frames=num_frames, height=height, width=width, num_objects=num_objects
        )
        self._unit = float(min(height, width))
        extent_xy = np.array([width, height]) / self._unit
        rng = np.random.default_rng([seed, salt, num_objects])
        sides = (GROUND_SIDE * extent_xy).astype(int)
        ground_hwc = make_ground(rng, int(sides[1]), int(sides[0]))
        self._roles = _draw_roles(rng, num_objects, extent_xy, make_puppet, ground_hwc, upright)
        self._depth = rng.permutation(len(self._roles))
        self._drop = rng.choice([0.0, 0.0, 0.02, 0.05]), float(rng.uniform(0.2, 0.6))
        self._shutter = float(rng.choice([0.0, 0.0, 0.5, 1.0]))
        self._camera = draw_camera(rng)
        size = (int(width * _MARGIN), int(height * _MARGIN))
        self._ground_hwc = np.asarray(
            cv2.resize(ground_hwc, size, interpolation=cv2.INTER_AREA), np.uint8
        )
        self._optics = draw_optics(rng, height, width)

    def frame(self, frame_idx: int) -> SceneFrame:
        """Paint one frame.

        Raises:
            InputError: The video has no such frame.
        """
        self._check(frame_idx)
        canvas_hwc = self._paint_ground(frame_idx)
        owner_hw = np.zeros((self.height, self.width), np.uint8)
        for k in self._depth:
            self._paint_role(canvas_hwc, owner_hw, int(k), frame_idx)
        masks_nhw = self._split(owner_hw)
        return SceneFrame(
            frame_idx=frame_idx,
            image_rgb_hwc_u8=self._optics.expose(canvas_hwc, frame_idx),
            masks_nhw=masks_nhw,
            present_n=np.asarray(masks_nhw.any(axis=(1, 2))),
        )

    def masks_nhw(self, frame_idx: int) -> NDArray[np.bool_]:
        """The visible pixels of each object as `frame` gives them, without painting the picture.

        Raises:
            InputError: The video has no such frame.
        """
        self._check(frame_idx)
        owner_hw = np.zeros((self.height, self.width), np.uint8)
        for k in self._depth:
            self._claim(owner_hw, int(k), frame_idx, colour=False)
        return self._split(owner_hw)

    def _whole_area(self, frame_idx: int, obj_id: int) -> float:
        view = self._view(obj_id - 1, frame_idx, _EVERYWHERE)
        patch = self._roles[obj_id - 1].puppet.paint(view, colour=False)
        return 0.0 if patch is None else float((patch.cover_hw >= 128).sum())

    def _split(self, owner_hw: NDArray[np.uint8]) -> NDArray[np.bool_]:
        ids = np.asarray(self.obj_ids, np.uint8)
        return np.asarray(owner_hw[None] == ids[:, None, None])

    def _view(
        self, k: int, frame_idx: int, bounds: tuple[int, int, int, int] | None = None
    ) -> View:
        at_xy, radius, angle = self._roles[k].place(frame_idx)
        look_xy, zoom, roll = self._camera.look(frame_idx)
        middle_xy = np.array([self.width, self.height]) / 2
        away_xy = (at_xy * self._unit - middle_xy - look_xy * self._unit) * zoom
        cos, sin = np.cos(roll), np.sin(roll)
        x, y = np.array([[cos, -sin], [sin, cos]]) @ away_xy + middle_xy
        return View(
            frame_idx, float(x), float(y), radius * self._unit * zoom, angle + roll,
            bounds or (0, 0, self.width, self.height),
        )  # fmt: skip

    def _paint_ground(self, frame_idx: int) -> NDArray[np.uint8]:
        look_xy, zoom, roll = self._camera.look(frame_idx)
        back_h, back_w = self._ground_hwc.shape[:2]
        cos, sin = np.cos(roll) / zoom, np.sin(roll) / zoom
        turn = np.array([[cos, sin], [-sin, cos]])
        middle_xy = np.array([self.width, self.height]) / 2
        origin = np.array([back_w, back_h]) / 2 + look_xy * self._unit - turn @ middle_xy
        ground_hwc = cv2.warpAffine(
            self._ground_hwc,
            np.hstack([turn, origin[:, None]]),
            (self.width, self.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        way_xy = look_xy - self._camera.look(frame_idx - 1)[0]
        return self._smear(np.asarray(ground_hwc, np.uint8), way_xy)

    def _smear(self, part: NDArray[np.uint8], way_xy: Array) -> NDArray[np.uint8]:
        """Motion blur along a way in world units, as far as the shutter stays open."""
        way_px = way_xy * self._unit * self._shutter
        length = int(np.ceil(np.hypot(*way_px)))
        if length < 2 or 0 in part.shape:
            return part
        side = 2 * (min(length, 12) // 2) + 1
        kernel = np.zeros((side, side), np.float32)
        half_xy = way_px / np.hypot(*way_px) * (side - 1) / 2
        mid = side // 2
        ends = [tuple(int(v) for v in np.round(mid + s * half_xy)) for s in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        return np.asarray(cv2.filter2D(part, -1, kernel / kernel.sum()), np.uint8)

    def _claim(
        self, owner_hw: NDArray[np.uint8], k: int, frame_idx: int, *, colour: bool
    ) -> Patch | None:
        """Paint a puppet and write down which pixels are its own."""
        patch = self._roles[k].puppet.paint(self._view(k, frame_idx), colour=colour)
        if patch is not None:
            h, w = patch.cover_hw.shape
            owner_hw[patch.y : patch.y + h, patch.x : patch.x + w][patch.cover_hw >= 128] = k + 1
        return patch

    def _paint_role(
        self, canvas_hwc: NDArray[np.uint8], owner_hw: NDArray[np.uint8], k: int, frame_idx: int
    ) -> None:
        role = self._roles[k]
        self._darken(canvas_hwc, role.puppet.shadow(self._view(k, frame_idx)), self._drop[1])
        patch = self._claim(owner_hw, k, frame_idx, colour=True)
        if patch is None or patch.colour_hwc is None:
            return
        if self._drop[0]:
            aside = int(np.ceil(self._drop[0] * self._unit))
            soft_hw = cv2.blur(patch.cover_hw, (aside | 1, aside | 1))
            drop = Patch(patch.x + aside, patch.y + aside, np.asarray(soft_hw, np.uint8), None)
            self._darken(canvas_hwc, drop, self._drop[1] / 2)
        way_xy = role.place(frame_idx)[0] - role.place(frame_idx - 1)[0]
        share_hw1 = self._smear(patch.cover_hw, way_xy)[..., None] * np.float32(1 / 255)
        colour_hwc = self._smear(patch.colour_hwc, way_xy) * np.float32(role.gain) + role.offset_rgb
        part_hwc = _part(canvas_hwc, patch)
        mixed = part_hwc + (np.clip(colour_hwc, 0, 255) - part_hwc) * share_hw1
        part_hwc[:] = (mixed + 0.5).astype(np.uint8)

    def _darken(self, canvas_hwc: NDArray[np.uint8], patch: Patch | None, depth: float) -> None:
        if patch is None:
            return
        part_hwc = _part(canvas_hwc, patch)
        cover_hw = patch.cover_hw[: part_hwc.shape[0], : part_hwc.shape[1]]
        part_hwc[:] = part_hwc * (1 - cover_hw[..., None] * np.float32(depth / 255))


def _part(canvas_hwc: NDArray[np.uint8], patch: Patch) -> NDArray[np.uint8]:
    h, w = patch.cover_hw.shape
    return canvas_hwc[patch.y : patch.y + h, patch.x : patch.x + w]


def _draw_roles(
    rng: np.random.Generator,
    num_objects: int,
    extent_xy: Array,
    make_puppet: MakePuppet,
    ground_hwc: NDArray[np.uint8],
    upright: bool,
) -> tuple[_Role, ...]:
    """The objects, in the order of their ids, and after them the strangers."""
    num_strangers = int(rng.choice([0, 0, 1, 2, 3]))
    busy = rng.uniform(0.4, 1.8)
    roles: list[_Role] = []
    for k in range(num_objects + num_strangers):
        stranger = k >= num_objects
        twin = stranger and rng.uniform() < 0.25
        puppet = roles[int(rng.integers(num_objects))].puppet if twin else make_puppet(rng)
        # Many large ones at a time would leave nothing of each other to be seen.
        most = _AREAS[1] / max(1, num_objects - 1)
        area = np.exp(rng.uniform(np.log(_AREAS[0]), np.log(0.06 if stranger else most)))
        # Small ones are many in pictures; and yet most of them should be easy to see.
        area = max(area, float(rng.choice([_AREAS[0], 0.02, 0.035])))
        radius = min(0.6, float(np.sqrt(area * extent_xy.prod() / puppet.fill)))
        home_xy = _spread(rng, [role.home_xy for role in roles], extent_xy)
        gain, offset_rgb = _tint(rng, puppet, ground_hwc, home_xy / extent_xy)
        leaves = not stranger and rng.uniform() < 0.3
        late = leaves and k > 0 and rng.uniform() < 0.3
        reach = radius * 1.6 + 0.5
        wander = rng.uniform(0.05, 0.3, 2)
        pace = 60 / busy, 240 / busy
        roles.append(
            _Role(
                puppet=puppet,
                home_xy=home_xy,
                radius=radius,
                x=draw_wave(rng, float(wander[0]), pace),
                y=draw_wave(rng, float(wander[1]), pace),
                size=draw_wave(rng, rng.uniform(0, 0.3), pace),
                angle=draw_wave(rng, 0.25 if upright else rng.uniform(0, 1.2), pace),
                tilt=0.0 if upright else float(rng.uniform(0, 2 * np.pi)),
                spin=0.0 if upright else float(rng.choice([0.0, rng.uniform(-0.04, 0.04)])),
                excursion=draw_excursion(rng, home_xy, extent_xy, reach, rng.uniform() < 0.4, late)
                if leaves
                else None,
                gain=gain,
                offset_rgb=offset_rgb,
            )
        )
    return tuple(roles)


def _spread(rng: np.random.Generator, homes: list[Array], extent_xy: Array) -> Array:
    """A home that keeps apart from the others: of some random spots the farthest."""
    spots = rng.uniform(0.12, 0.88, (6, 2)) * extent_xy
    if not homes:
        return np.asarray(spots[0])
    gaps = np.linalg.norm(spots[:, None] - np.array(homes)[None], axis=2).min(axis=1)
    return np.asarray(spots[int(gaps.argmax())])


def _tint(
    rng: np.random.Generator, puppet: Puppet, ground_hwc: NDArray[np.uint8], spot_xy: Array
) -> tuple[float, NDArray[np.float32]]:
    """Leave the colours as they are, or bring them near those of the ground at a spot."""
    if rng.uniform() < 0.7:
        return 1.0, np.zeros(3, np.float32)
    h, w = ground_hwc.shape[:2]
    x, y = int(spot_xy[0] * w), int(spot_xy[1] * h)
    around = ground_hwc[max(y - 20, 0) : y + 20, max(x - 20, 0) : x + 20]
    ground_rgb = around.mean(axis=(0, 1), dtype=np.float32)
    gain = float(rng.uniform(0.5, 1.0))
    direction = rng.normal(size=3)
    apart = direction / np.linalg.norm(direction) * rng.uniform(18, 70)
    return gain, np.asarray(ground_rgb + apart - puppet.mean_rgb * gain, np.float32)
