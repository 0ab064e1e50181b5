"""Masks, their numbers and their labels drawn on pictures, for people to look at."""

import colorsys
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.lettering import draw_line, has_font
from samcore.text import keeps_one_line, shorten

_log = logging.getLogger(__name__)

_HUES = (
    # Okabe and Ito's colours, which people with any kind of colour vision can tell apart; black
    # is left out, and the order puts those that differ most first (jfly.uni-koeln.de/color).
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)
_LIGHTNESS_STEPS = (0.0, 0.22, -0.17)
"""Each turn through the hues is lighter or darker than the first: 21 colours in all."""
_MAX_SAID = 3
_MAX_LABEL_CHARS = 24
_MAX_PLACED = 64
"""Labels that make way for one another; where there are more there is no room anyway."""


def object_colour(obj_id: int) -> tuple[int, int, int]:
    """The object's colour as RGB, the same in every frame, chunk and run."""
    turn, place = divmod(obj_id - 1, len(_HUES))
    red, green, blue = (level / 255 for level in _HUES[place])
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    lightness += _LIGHTNESS_STEPS[turn % len(_LIGHTNESS_STEPS)]
    rgb = colorsys.hls_to_rgb(hue, min(max(lightness, 0.15), 0.9), saturation)
    return round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255)


_Tag = tuple[tuple[str, ...], tuple[int, int, int], tuple[int, int]]
"""Words, the colour of the ground below them, and the place that they belong to, as (x, y)."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One object's mask within its box."""

    obj_id: int
    """The caller's number of the object."""
    left: int
    """Where the box begins, in pixels of the picture."""
    top: int
    """The same downwards."""
    mask_hw: NDArray[np.bool_]
    """What is in the box, h x w booleans."""


def draw_masks(
    image_rgb_hwc_u8: NDArray[np.uint8],
    masks: Mapping[int, NDArray[np.bool_]],
    *,
    labels: Mapping[int, str] | None = None,
    scores: Mapping[int, float] | None = None,
    caption: str | None = None,
    opacity: float = 0.45,
) -> NDArray[np.uint8]:
    """Draw each object's mask as a tint with an outline, and its id, label and score.

    Args:
        image_rgb_hwc_u8: The picture, H x W x 3; left as it is.
        masks: H x W booleans by object id; where all False nothing is drawn.
        labels: Names by object id; one whose letters no font has is left out.
        scores: Probabilities by object id.
        caption: A line for the upper left corner.
        opacity: Of the tint, in [0, 1]; the outline is always opaque.

    Returns:
        A new picture of the same size. Later ids lie on top; labels lie on top of all masks and
        move out of each other's way as far as the picture has room.

    Raises:
        ValueError: A mask is not of the picture's size.
    """
    size_hw = (image_rgb_hwc_u8.shape[0], image_rgb_hwc_u8.shape[1])
    return draw_patches(
        image_rgb_hwc_u8,
        _cut_out(masks, size_hw),
        labels=labels,
        scores=scores,
        caption=caption,
        opacity=opacity,
    )


def draw_patches(
    image_rgb_hwc_u8: NDArray[np.uint8],
    patches: Iterable[Patch],
    *,
    labels: Mapping[int, str] | None = None,
    scores: Mapping[int, float] | None = None,
    caption: str | None = None,
    opacity: float = 0.45,
    tags: bool = True,
) -> NDArray[np.uint8]:
    """Draw masks as `draw_masks` does, the later ones on top; holds one of them at a time.

    Without `tags` the masks have no ids, labels or scores beside them.
    """
    canvas: NDArray[np.uint8] = np.array(image_rgb_hwc_u8, dtype=np.uint8, order="C")
    height, width = canvas.shape[:2]
    placed: list[_Tag] = []
    stroke = max(1, round(min(height, width) / 360))
    if caption:
        placed.append(((_drawable(caption),), (0, 0, 0), (0, 0)))
    for patch in patches:
        colour = object_colour(patch.obj_id)
        # Only the object's own box is touched: the cost goes with its size, not the picture's.
        h, w = patch.mask_hw.shape
        region = canvas[patch.top : patch.top + h, patch.left : patch.left + w]
        mask_u8 = np.ascontiguousarray(patch.mask_hw).view(np.uint8)
        _draw_one(region, mask_u8, colour, opacity, stroke=stroke)
        if not tags:
            continue
        label = _drawable((labels or {}).get(patch.obj_id, ""))
        score = f"{scores[patch.obj_id]:.2f}" if scores and patch.obj_id in scores else ""
        words = tuple(word for word in (str(patch.obj_id), label, score) if word)
        placed.append((words, colour, (patch.left, patch.top)))
    _draw_tags(canvas, placed)
    return canvas


def cut_out(obj_id: int, mask_hw: NDArray[np.bool_]) -> Patch | None:
    """The part of the picture that has the mask; None if it is empty."""
    mask_u8 = np.ascontiguousarray(mask_hw).view(np.uint8)
    x, y, w, h = cv2.boundingRect(mask_u8)
    return Patch(obj_id, x, y, mask_hw[y : y + h, x : x + w]) if w else None


def _cut_out(masks: Mapping[int, NDArray[np.bool_]], size_hw: tuple[int, int]) -> Iterator[Patch]:
    for obj_id in sorted(masks):
        mask_hw = masks[obj_id]
        if mask_hw.shape != size_hw:
            raise ValueError(
                f"wanted masks of {size_hw[0]} x {size_hw[1]}, got {mask_hw.shape} for object "
                f"{obj_id}"
            )
        patch = cut_out(obj_id, mask_hw)
        if patch is not None:
            yield patch


def _draw_one(
    region: NDArray[np.uint8],
    mask_u8: NDArray[np.uint8],
    colour: tuple[int, int, int],
    opacity: float,
    *,
    stroke: int,
) -> None:
    """Tint and outline one object in its box of the canvas, in place."""
    levels = np.arange(256)[None, :, None] * (1 - opacity) + np.array(colour) * opacity
    tinted = cv2.LUT(np.ascontiguousarray(region), np.round(levels).astype(np.uint8))
    cv2.copyTo(tinted, mask_u8, region)
    outlines, _ = cv2.findContours(mask_u8, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(region, outlines, -1, colour, stroke, cv2.LINE_8)


def _draw_tags(canvas: NDArray[np.uint8], tags: list[_Tag]) -> None:
    """Draw texts on filled boxes near their places (x, y), in place."""
    height, width = canvas.shape[:2]
    scale = min(max(min(height, width) / 900, 0.4), 2.0)
    size, gap = round(scale * 29), round(scale * 9)
    margin = max(2, round(scale * 5))
    taken: list[tuple[int, int, int, int]] = []
    for words, colour, (x, y) in tags:
        # word by word: most are those of the frame before, and are not drawn again
        lines = [draw_line(word, size) for word in words]
        # a place for tall letters also where there is none: boxes are alike, as are baselines
        above = max(round(0.76 * size), *(line.above for line in lines))
        below = max(round(0.22 * size), *(line.below for line in lines))
        text_w = sum(line.ink_hw.shape[1] + gap for line in lines) - gap
        box_w, box_h = text_w + 2 * margin, above + below + 2 * margin
        left = min(max(x, 0), max(width - box_w, 0))
        top = _free_place(left, y - box_h, box_w, box_h, height, taken)
        taken.append((left, top, left + box_w, top + box_h))
        cv2.rectangle(canvas, (left, top), (left + box_w - 1, top + box_h - 1), colour, -1)
        red, green, blue = colour
        is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 128
        ink = (0, 0, 0) if is_light else (255, 255, 255)
        left += margin
        for line in lines:
            _draw_ink(canvas, line.ink_hw, ink, (left, top + margin + above - line.above))
            left += line.ink_hw.shape[1] + gap


def _draw_ink(
    canvas: NDArray[np.uint8],
    ink_hw: NDArray[np.uint8],
    colour: tuple[int, int, int],
    place: tuple[int, int],
) -> None:
    """Colour the pixels that have ink, in place; what the picture has no room for is cut off."""
    left, top = place
    region = canvas[top : top + ink_hw.shape[0], left : left + ink_hw.shape[1]]
    share = ink_hw[: region.shape[0], : region.shape[1], None] / np.float32(255)
    region[:] = np.round(region + share * (np.array(colour, np.float32) - region))


def _free_place(
    left: int,
    wanted: int,
    box_w: int,
    box_h: int,
    height: int,
    taken: list[tuple[int, int, int, int]],
) -> int:
    """The top of a box near `wanted` that covers no box before it, if there is one."""
    lowest = max(height - box_h, 0)
    wanted = min(max(wanted, 0), lowest)
    if len(taken) > _MAX_PLACED:
        return wanted
    # Next to what is in the way, above or below it.
    candidates = [wanted, *(box[3] for box in taken), *(box[1] - box_h for box in taken)]
    for top in sorted(candidates, key=lambda top: (abs(top - wanted), top)):
        if 0 <= top <= lowest and not any(
            left < box[2] and box[0] < left + box_w and top < box[3] and box[1] < top + box_h
            for box in taken
        ):
            return top
    return wanted


def _drawable(text: str) -> str:
    """The text on one line and not too long; nothing if no font has its letters."""
    plain = "".join(letter if keeps_one_line(letter) else " " for letter in text)
    short = shorten(" ".join(plain.split()), _MAX_LABEL_CHARS)
    return short if has_font(short) else ""


def warn_of_missing_letters(labels: Mapping[int, str]) -> None:
    """Warn once, however many they are, of labels that no font of this machine can draw."""
    ids = [obj_id for obj_id, label in labels.items() if label.strip() and not _drawable(label)]
    if ids:
        more = f" and {len(ids) - _MAX_SAID} more" if len(ids) > _MAX_SAID else ""
        _log.warning(
            "no font of this machine has the letters of %s (object %s%s): the number is shown "
            "alone; install a font that has them, such as Noto",
            repr(labels[ids[0]]),
            ", ".join(map(str, ids[:_MAX_SAID])),
            more,
        )
