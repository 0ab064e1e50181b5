"""One synthetic video: pictures and exact masks at any frame, in any order."""

from functools import partial
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.scenes.actors import Actor, Array, draw_actor, draw_wave
from samcore.scenes.recipes import RECIPES, Difficulty, Recipe
from samcore.scenes.textures import SKIN_SIDE, background_hwc
from samcore.scenes.video import SceneFrame, SyntheticVideo

_SUBPIXELS = 2
"""Outlines are drawn this many times larger and averaged down: smooth edges, and a pixel belongs
to the shape that covers at least half of it."""
_MARGIN = 1.5
"""The background is this much wider and higher than the picture, for the camera to move in."""


class Scene(SyntheticVideo):
    """A synthetic video, drawn from a seed.

    `easy`: shapes of clearly different colours on a soft background, always in the picture, that
    now and then cross. `medium`: contacts and crossings, bars in front, exits and returns, a moving
    camera, changing light, at times a stranger. `hard`: look-alikes, a patterned background,
    several bars, returns over another edge, faster and stronger changes of everything, noise.

    A frame is a function of the seed and its number alone, whatever was asked for before; nothing
    is kept between frames. The same seed shows the same scene at any size of the same aspect.
    """

    def __init__(
        self,
        seed: int,
        *,
        difficulty: Difficulty = "easy",
        num_frames: int = 200,
        height: int = 256,
        width: int = 256,
        num_objects: int = 2,
    ) -> None:
        """Draw the scene's cast; no frame is painted yet.

        Raises:
            InputError: A size or count is below its least value, or the difficulty is unknown.
        """
        if difficulty not in get_args(Difficulty):
            raise InputError(f"{difficulty = } is unknown; wanted easy, medium or hard")
        super().__init__(
            seed, num_frames=num_frames, height=height, width=width, num_objects=num_objects
        )
        self.difficulty: Difficulty = difficulty
        self._unit = float(min(height, width))
        recipe = RECIPES[difficulty]
        self._recipe = recipe
        rng = np.random.default_rng([seed, get_args(Difficulty).index(difficulty), num_objects])
        self._cast = _draw_cast(rng, recipe, num_objects, np.array([width, height]) / self._unit)
        self._pan = draw_wave(rng, recipe.pan, (120, 320)), draw_wave(rng, recipe.pan, (120, 320))
        self._zoom = draw_wave(rng, recipe.zoom, (150, 300))
        self._light = draw_wave(rng, recipe.light, (60, 200))
        self._cast_light = tuple(draw_wave(rng, recipe.cast, (80, 200)) for _ in range(3))
        self._bars = _draw_bars(rng, recipe, width / self._unit)
        self._depth = rng.permutation(len(self._cast))
        # Everything above is drawn before the first draw whose count depends on the size in pixels.
        self._background_hwc = background_hwc(
            rng,
            int(height * _MARGIN),
            int(width * _MARGIN),
            contrast=recipe.contrast * rng.uniform(0.6, 1.0),
            busy=bool(rng.uniform() < recipe.busy),
        )
        self._noise_hwc = rng.normal(0, recipe.noise, (height + 61, width + 61, 1)).astype(np.int16)

    def frame(self, frame_idx: int) -> SceneFrame:
        """Paint one frame.

        Raises:
            InputError: The video has no such frame.
        """
        outlines = self._outlines(frame_idx)
        camera = self._camera(frame_idx)
        canvas_hwc = self._paint_background(camera)
        owner_hw = np.zeros((self.height, self.width), np.uint8)
        for k in self._depth:
            self._paint_actor(canvas_hwc, owner_hw, int(k), outlines[k], frame_idx, camera)
        self._paint_bars(canvas_hwc, owner_hw, camera)
        masks_nhw = self._split(owner_hw)
        return SceneFrame(
            frame_idx=frame_idx,
            image_rgb_hwc_u8=self._expose(canvas_hwc, frame_idx),
            masks_nhw=masks_nhw,
            present_n=np.asarray(masks_nhw.any(axis=(1, 2))),
        )

    def masks_nhw(self, frame_idx: int) -> NDArray[np.bool_]:
        """The visible pixels of each object as `frame` gives them, without painting the picture."""
        outlines = self._outlines(frame_idx)
        owner_hw = np.zeros((self.height, self.width), np.uint8)
        for k in self._depth:
            area = self._coverage(outlines[k])
            if area is not None:
                y, x, cover_hw = area
                part_hw = owner_hw[y : y + cover_hw.shape[0], x : x + cover_hw.shape[1]]
                part_hw[cover_hw >= 128] = k + 1
        self._paint_bars(None, owner_hw, self._camera(frame_idx))
        return self._split(owner_hw)

    def _whole_area(self, frame_idx: int, obj_id: int) -> float:
        return float(cv2.contourArea(self._outlines(frame_idx)[obj_id - 1].astype(np.float32)))

    def _camera(self, frame_idx: int) -> tuple[Array, float]:
        """What the camera looks at (world offset from the middle) and how near it is."""
        look_xy = np.array([self._pan[0].at(frame_idx), self._pan[1].at(frame_idx)])
        return look_xy, 1 + self._zoom.at(frame_idx)

    def _to_pixels(self, world_xy: Array, camera: tuple[Array, float]) -> Array:
        look_xy, zoom = camera
        middle_xy = np.array([self.width, self.height]) / 2
        return (world_xy * self._unit - middle_xy - look_xy * self._unit) * zoom + middle_xy

    def _outlines(self, frame_idx: int) -> list[Array]:
        """The outline of each member of the cast in pixels, vertices x 2."""
        self._check(frame_idx)
        camera = self._camera(frame_idx)
        outlines = []
        for actor in self._cast:
            centre_xy, radius, angle = actor.pose(frame_idx)
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            world_xy = centre_xy + actor.outline_xy(frame_idx) @ turn * radius
            outlines.append(self._to_pixels(world_xy, camera))
        return outlines

    def _coverage(self, outline_xy: Array) -> tuple[int, int, NDArray[np.uint8]] | None:
        """Top, left and the covered share (0 to 255) of each pixel in the part of the picture that
        the outline touches; None if it is outside."""
        x0, y0 = np.maximum(np.floor(outline_xy.min(axis=0)).astype(int) - 1, 0)
        x1, y1 = np.minimum(
            np.ceil(outline_xy.max(axis=0)).astype(int) + 2, (self.width, self.height)
        )
        if x0 >= x1 or y0 >= y1:
            return None
        fine_hw = np.zeros(((y1 - y0) * _SUBPIXELS, (x1 - x0) * _SUBPIXELS), np.uint8)
        points = np.round((outline_xy - (x0, y0)) * (_SUBPIXELS * 16) - 8).astype(np.int32)
        cv2.fillPoly(fine_hw, [points], 255, shift=4)
        size = (int(x1 - x0), int(y1 - y0))
        cover_hw = np.asarray(cv2.resize(fine_hw, size, interpolation=cv2.INTER_AREA), np.uint8)
        return int(y0), int(x0), cover_hw

    def _paint_background(self, camera: tuple[Array, float]) -> NDArray[np.uint8]:
        look_xy, zoom = camera
        back_h, back_w = self._background_hwc.shape[:2]
        shift = np.array([back_w, back_h]) / 2 + look_xy * self._unit
        shift -= np.array([self.width, self.height]) / 2 / zoom
        matrix = np.array([[1 / zoom, 0, shift[0]], [0, 1 / zoom, shift[1]]])
        return np.asarray(
            cv2.warpAffine(
                self._background_hwc,
                matrix,
                (self.width, self.height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REFLECT,
            )
        )

    def _paint_actor(
        self,
        canvas_hwc: NDArray[np.uint8],
        owner_hw: NDArray[np.uint8],
        k: int,
        outline_xy: Array,
        frame_idx: int,
        camera: tuple[Array, float],
    ) -> None:
        self._paint_shadow(canvas_hwc, outline_xy)
        area = self._coverage(outline_xy)
        if area is None:
            return
        y, x, cover_hw = area
        h, w = cover_hw.shape
        centre_xy, radius, angle = self._cast[k].pose(frame_idx)
        centre_px = self._to_pixels(centre_xy, camera)
        # The skin spans 1.6 radii to each side and turns with the shape.
        step = SKIN_SIDE / (3.2 * radius * self._unit * camera[1])
        cos, sin = np.cos(angle) * step, np.sin(angle) * step
        turn = np.array([[cos, sin], [-sin, cos]])
        origin = SKIN_SIDE / 2 + turn @ (np.array([x, y]) - centre_px)
        skin_hwc = cv2.warpAffine(
            self._cast[k].skin_hwc,
            np.hstack([turn, origin[:, None]]),
            (w, h),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        _blend(canvas_hwc[y : y + h, x : x + w], skin_hwc, cover_hw)
        owner_hw[y : y + h, x : x + w][cover_hw >= 128] = k + 1

    def _paint_shadow(self, canvas_hwc: NDArray[np.uint8], outline_xy: Array) -> None:
        offset = 0.018 * self._unit
        area = self._coverage(outline_xy + offset)
        if area is None:
            return
        y, x, cover_hw = area
        side = max(3, int(offset * 2) | 1)
        soft_hw = (cv2.blur(cover_hw, (side, side)) * 0.35).astype(np.uint8)
        part_hwc = canvas_hwc[y : y + cover_hw.shape[0], x : x + cover_hw.shape[1]]
        _blend(part_hwc, np.zeros_like(part_hwc), soft_hw)

    def _paint_bars(
        self,
        canvas_hwc: NDArray[np.uint8] | None,
        owner_hw: NDArray[np.uint8],
        camera: tuple[Array, float],
    ) -> None:
        """Put the bars over everything; what they cover belongs to no object."""
        for corners_xy, skin in self._bars:
            area = self._coverage(self._to_pixels(corners_xy, camera))
            if area is None:
                continue
            y, x, cover_hw = area
            h, w = cover_hw.shape
            owner_hw[y : y + h, x : x + w][cover_hw >= 128] = 0
            if canvas_hwc is not None:
                _blend(canvas_hwc[y : y + h, x : x + w], skin, cover_hw)

    def _split(self, owner_hw: NDArray[np.uint8]) -> NDArray[np.bool_]:
        ids = np.asarray(self.obj_ids, np.uint8)
        return np.asarray(owner_hw[None] == ids[:, None, None])

    def _expose(self, canvas_hwc: NDArray[np.uint8], frame_idx: int) -> NDArray[np.uint8]:
        """The canvas under this frame's light, with the sensor's noise."""
        light = 1 + self._light.at(frame_idx)
        gains = [light * (1 + wave.at(frame_idx)) for wave in self._cast_light]
        # Steps that share no factor with 61: the noise repeats only after 61 * 61 frames.
        dy, dx = (frame_idx * 17 + frame_idx // 61 * 5) % 61, (frame_idx * 29) % 61
        noise_hwc = self._noise_hwc[dy : dy + self.height, dx : dx + self.width]
        lit_hwc = canvas_hwc * np.asarray(gains, np.float32) + noise_hwc
        return np.asarray(np.clip(lit_hwc, 0, 255), np.uint8)


def _blend(
    part_hwc: NDArray[np.uint8], colour: NDArray[np.generic], cover_hw: NDArray[np.uint8]
) -> None:
    """Lay `colour` over a part of the canvas in place, by the covered share of each pixel."""
    share_hw1 = cover_hw[..., None].astype(np.float32) / 255
    part_hwc[:] = (part_hwc + (colour.astype(np.float32) - part_hwc) * share_hw1 + 0.5).astype(
        np.uint8
    )


def _draw_cast(
    rng: np.random.Generator, recipe: Recipe, num_objects: int, extent_xy: Array
) -> tuple[Actor, ...]:
    """The objects, in the order of their ids, and after them the strangers."""
    num_strangers = int(rng.integers(recipe.strangers[0], recipe.strangers[1] + 1))
    homes = _spread(rng, recipe, num_objects + num_strangers, extent_xy)
    hues = rng.uniform() + np.arange(num_objects + 1) / (num_objects + 1)
    hues += rng.uniform(-0.06, 0.06, len(hues)) * min(1.0, 4 / len(hues))
    crowd = min(1.0, (3.0 / (num_objects + num_strangers)) ** 0.5)
    cast: list[Actor] = []
    for k, home_xy in enumerate(homes):
        stranger = k >= num_objects
        alike = rng.uniform() < recipe.look_alike
        like = cast[int(rng.integers(num_objects))] if stranger and alike else None
        radius = rng.uniform(0.09, 0.17) * crowd
        cast.append(
            draw_actor(
                rng,
                recipe,
                home_xy=home_xy,
                extent_xy=extent_xy,
                radius=like.radius * rng.uniform(0.85, 1.15) if like else radius,
                hue=cast[k - 1].hue if k and alike and not stranger else hues[min(k, num_objects)],
                like=like,
                late=0 < k < num_objects and bool(rng.uniform() < recipe.late),
                leaves=not stranger and bool(rng.uniform() < recipe.exits),
            )
        )
    return tuple(cast)


def _spread(rng: np.random.Generator, recipe: Recipe, count: int, extent_xy: Array) -> Array:
    """Homes that keep apart, count x 2: of some random spots the one farthest from the rest."""
    homes: list[Array] = []
    for _ in range(count):
        spots = rng.uniform(*recipe.homes, (12, 2)) * extent_xy
        if homes:
            gaps = np.linalg.norm(spots[:, None] - np.array(homes)[None], axis=2).min(axis=1)
            homes.append(spots[int(gaps.argmax())])
        else:
            homes.append(spots[0])
    return np.array(homes)


def _draw_bars(
    rng: np.random.Generator, recipe: Recipe, extent_x: float
) -> tuple[tuple[Array, NDArray[np.float32]], ...]:
    """Slanted posts from top to bottom: corners in world units and a colour."""
    bars = []
    count = int(rng.integers(recipe.bars[0], recipe.bars[1] + 1))
    for k in range(count):
        x = extent_x * (k + rng.uniform(0.3, 0.7)) / count
        lean = rng.uniform(-0.15, 0.15)
        half = rng.uniform(0.02, 0.055)
        corners = np.array(
            [
                [x - half - lean, -1],
                [x + half - lean, -1],
                [x + half + lean, 2],
                [x - half + lean, 2],
            ]
        )
        bars.append((corners, np.asarray(rng.uniform(20, 150, 3), np.float32)))
    return tuple(bars)


easy = partial(Scene, difficulty="easy")
medium = partial(Scene, difficulty="medium")
hard = partial(Scene, difficulty="hard")
