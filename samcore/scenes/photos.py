"""Scenes of photographs: pieces cut along their own edges, or used as texture and ground.

The photographs come with scikit-image and scikit-learn under free licences, which nano's card
lists. SciPy's are downloads, and are not used.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.scenes.figures import draw_figure
from samcore.scenes.sprite import SPRITE_SIDE, Sprite, make_sprite
from samcore.scenes.stage import StageVideo

_SALT = 12
_PHOTO_SIDE = 320
"""Pixels of a photograph's longer side: as much as a scene can show."""

_MOST_PIECES = 18
"""Of one photograph: a wall has more bricks than anyone needs."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """Where a photograph lies, and whose it is."""

    package: str
    file: str
    """Within the package."""
    subject: str
    author: str
    licence: str


PHOTOGRAPHS = (
    Photograph("skimage", "data/astronaut.png", "Eileen Collins", "NASA", "public domain"),
    Photograph("skimage", "data/brick.png", "brick wall", "CC0Textures", "CC0"),
    Photograph("skimage", "data/camera.png", "man with a camera", "Lav Varshney", "CC0"),
    Photograph("skimage", "data/chelsea.png", "a cat", "Stefan van der Walt", "CC0"),
    Photograph("skimage", "data/clock_motion.png", "clock", "Stefan van der Walt", "public domain"),
    Photograph("skimage", "data/coffee.png", "cup of coffee", "Rachel Michetti", "CC0"),
    Photograph("skimage", "data/coins.png", "coins", "Brooklyn Museum", "no known restrictions"),
    Photograph("skimage", "data/grass.png", "grass", "linolafett", "CC0"),
    Photograph("skimage", "data/gravel.png", "gravel", "CC0Textures", "CC0"),
    Photograph("skimage", "data/hubble_deep_field.jpg", "galaxies", "NASA", "public domain"),
    Photograph("skimage", "data/ihc.png", "stained tissue", "CMMI", "no known restrictions"),
    Photograph("skimage", "data/moon.png", "the moon", "scikit-image", "no known restrictions"),
    Photograph("skimage", "data/retina.jpg", "a retina", "Mikael Häggström", "CC0"),
    Photograph("skimage", "data/rocket.jpg", "a launch", "SpaceX", "public domain"),
    Photograph("sklearn", "datasets/images/china.jpg", "a temple", "danielbuechele", "CC BY 2.0"),
    Photograph("sklearn", "datasets/images/flower.jpg", "a flower", "vultilion", "CC BY 2.0"),
)
"""What scenes of this kind are made from."""


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A region of a photograph that its own edges bound."""

    colour_hwc: NDArray[np.uint8]
    cover_hw: NDArray[np.uint8]


def make_video(
    seed: int, *, num_frames: int, height: int, width: int, num_objects: int
) -> StageVideo:
    """A video of this kind; see `StageVideo`.

    Raises:
        InputError: A measure is below its least value, or the packages that have the photographs
            are not installed.
    """
    return StageVideo(
        seed,
        num_frames=num_frames,
        height=height,
        width=width,
        num_objects=num_objects,
        salt=_SALT,
        make_puppet=_draw_cut_out,
        make_ground=_crop,
    )


@lru_cache(maxsize=1)
def photographs() -> tuple[NDArray[np.uint8], ...]:
    """All photographs, H x W x 3, in the order of `PHOTOGRAPHS`.

    Raises:
        InputError: A package is not installed, or a picture cannot be read.
    """
    pictures = []
    for photo in PHOTOGRAPHS:
        # Looked for and not imported: scikit-learn alone takes seconds.
        spec = find_spec(photo.package)
        path = Path(spec.origin or "").parent / photo.file if spec else None
        picture_bgr = None if path is None else cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture_bgr is None:
            raise InputError(
                f"scenes of photographs need {photo.file} of {photo.package}, which cannot be "
                "read: pip install 'longtake[train]'"
            )
        scale = _PHOTO_SIDE / max(picture_bgr.shape[:2])
        small = cv2.resize(picture_bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        pictures.append(np.ascontiguousarray(small[..., ::-1], np.uint8))
    return tuple(pictures)


@lru_cache(maxsize=1)
def _pieces() -> tuple[_Piece, ...]:
    """The largest regions of each photograph that are neither tiny nor most of the picture."""
    from skimage.segmentation import felzenszwalb  # takes half a second

    pieces = []
    for picture in photographs():
        half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        small_hw = felzenszwalb(half, scale=110, sigma=0.7, min_size=80).astype(np.int16)
        size = (picture.shape[1], picture.shape[0])
        labels_hw = cv2.resize(small_hw, size, interpolation=cv2.INTER_NEAREST)
        found = []
        for label in np.argsort(-np.bincount(labels_hw.ravel())):
            cover_hw = np.asarray(labels_hw == label)
            x, y, w, h = cv2.boundingRect(cover_hw.astype(np.uint8))
            if not 0.004 < cover_hw.mean() < 0.3 or cover_hw.sum() < 0.25 * w * h:
                continue
            side = int(max(w, h) * 1.1) + 2
            part_hw = cover_hw[y : y + h, x : x + w].astype(np.uint8) * np.uint8(255)
            found.append(
                _Piece(_square(picture[y : y + h, x : x + w], side), _square(part_hw, side))
            )
        pieces += found[:_MOST_PIECES]
    return tuple(pieces)


def _square(part: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The part in the middle of a black square."""
    out = np.zeros((side, side, *part.shape[2:]), np.uint8)
    y, x = (side - part.shape[0]) // 2, (side - part.shape[1]) // 2
    out[y : y + part.shape[0], x : x + part.shape[1]] = part
    return out


def _crop(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A part of a photograph at a random scale, perhaps mirrored and in other colours."""
    pictures = photographs()
    picture = pictures[int(rng.integers(len(pictures)))]
    h, w = picture.shape[:2]
    most = min(h / height, w / width)
    share = np.exp(rng.uniform(np.log(0.3), 0)) * most
    ch, cw = max(8, int(height * share)), max(8, int(width * share))
    y, x = int(rng.integers(0, h - ch + 1)), int(rng.integers(0, w - cw + 1))
    part = picture[y : y + ch, x : x + cw]
    if rng.uniform() < 0.5:
        part = part[:, ::-1]
    return _recolour(
        rng, np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA))
    )


def _recolour(rng: np.random.Generator, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in other light; half of the time in quite other colours."""
    out = part.astype(np.float32)
    if rng.uniform() < 0.5:
        mixing = np.eye(3) + rng.normal(0, 0.35, (3, 3))
        out = out @ (mixing / mixing.sum(axis=0)).astype(np.float32)
    out = out * np.float32(rng.uniform(0.5, 1.3)) + rng.uniform(-25, 25, 3).astype(np.float32)
    return np.asarray(np.clip(out, 0, 255), np.uint8)


def _draw_cut_out(rng: np.random.Generator) -> Sprite:
    """A piece with its own edges, or a figure cut from a photograph."""
    softness = rng.choice([0.0, 0.01, 0.02])
    if rng.uniform() < 0.6:
        pieces = _pieces()
        piece = pieces[int(rng.integers(len(pieces)))]
        return make_sprite(
            rng, _recolour(rng, piece.colour_hwc), piece.cover_hw, softness=max(softness, 0.01)
        )
    colour_hwc = _crop(rng, SPRITE_SIDE, SPRITE_SIDE)
    return make_sprite(rng, colour_hwc, draw_figure(rng), softness=softness)
