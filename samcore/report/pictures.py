"""Small pictures of the video with its masks drawn in."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.drawing import Patch, cut_out, draw_patches, object_colour
from samcore.prompts.prompt import Prompt

LONG_SIDE = 480
"""Pixels; on a phone that is all of the screen's width."""
_QUALITY = 70
_WHITE = (255, 255, 255)
_DASH = 6
"""Pixels of the small picture."""
_CLICK_RADIUS = 6
"""The same."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame, small."""

    frame: int
    """Position in the video, from 0."""
    width: int
    """Pixels across."""
    height: int
    """Pixels down."""
    jpeg: bytes
    """The file."""

    @property
    def data_uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


def draw_picture(
    frame: int,
    image_rgb_hwc_u8: NDArray[np.uint8],
    masks: Mapping[int, NDArray[np.bool_]],
    *,
    prompts: Iterable[Prompt] = (),
    long_side: int = LONG_SIDE,
) -> Picture:
    """Make a small picture of a frame, its masks and the prompts that were given on it.

    A box or a mask that was given is a dashed line, white and in the object's colour. A click on
    the object is a disc of its colour with a plus, one beside it is a white disc with a minus.

    Args:
        frame: Its number.
        image_rgb_hwc_u8: The frame, H x W x 3.
        masks: H x W booleans by object id.
        prompts: Those on this frame, in pixels of the frame.
        long_side: Pixels of its longer side; a smaller frame stays as it is.
    """
    height, width = image_rgb_hwc_u8.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    small_wh = max(1, round(width * scale)), max(1, round(height * scale))
    # Made small before drawing, so that outlines and numbers are still to be seen.
    image = cv2.resize(image_rgb_hwc_u8, small_wh, interpolation=cv2.INTER_AREA)
    drawn = draw_patches(np.asarray(image, dtype=np.uint8), _small_patches(masks, small_wh))
    for prompt in prompts:
        _draw_prompt(drawn, prompt, (small_wh[0] / width, small_wh[1] / height))
    done, jpeg = cv2.imencode(
        ".jpg",
        cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _QUALITY],
    )
    if not done:
        raise RuntimeError("this build of OpenCV writes no JPEG")
    return Picture(frame, *small_wh, jpeg.tobytes())


def _small_patches(
    masks: Mapping[int, NDArray[np.bool_]], size_wh: tuple[int, int]
) -> Iterator[Patch]:
    """One at a time: of many objects in a large picture all masks would fill the memory."""
    for obj_id in sorted(masks):
        patch = cut_out(obj_id, _shrink(masks[obj_id], size_wh))
        if patch is not None:
            yield patch


def _shrink(mask_hw: NDArray[np.bool_], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at the small size; what has a pixel keeps one, or it would look absent."""
    share_hw = cv2.resize(
        np.ascontiguousarray(mask_hw).view(np.uint8) * np.uint8(255),
        size_wh,
        interpolation=cv2.INTER_AREA,
    )
    small_hw: NDArray[np.bool_] = share_hw >= min(128, max(int(share_hw.max()), 1))
    return small_hw


def _draw_prompt(canvas: NDArray[np.uint8], prompt: Prompt, scale_xy: tuple[float, float]) -> None:
    """Draw what a person gave on top of the small picture, in place."""
    height, width = canvas.shape[:2]
    colour = object_colour(prompt.obj_id)
    if prompt.mask_hw is not None:
        small_u8 = _shrink(prompt.mask_hw, (width, height)).view(np.uint8)
        outlines, _ = cv2.findContours(small_u8, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for outline in outlines:
            _draw_dashes(canvas, outline[:, 0].astype(np.int32), colour)
    if prompt.box_xyxy_px is not None:
        left, top, right, bottom = (
            min(max(round(value * scale), 0), side - 1)
            for value, scale, side in zip(
                prompt.box_xyxy_px, (*scale_xy, *scale_xy), (width, height) * 2, strict=True
            )
        )
        along_x = np.arange(left, max(right, left + 1))
        along_y = np.arange(top, max(bottom, top + 1))
        sides = (
            np.column_stack([along_x, np.full_like(along_x, top)]),
            np.column_stack([np.full_like(along_y, right), along_y]),
            np.column_stack([along_x + 1, np.full_like(along_x, bottom)])[::-1],
            np.column_stack([np.full_like(along_y, left), along_y + 1])[::-1],
        )
        _draw_dashes(canvas, np.concatenate(sides).astype(np.int32), colour)
    for (x, y), label in zip(prompt.points_xy_px, prompt.point_labels, strict=True):
        _draw_click(canvas, (round(x * scale_xy[0]), round(y * scale_xy[1])), colour, bool(label))


def _draw_dashes(
    canvas: NDArray[np.uint8], path_n2: NDArray[np.int32], colour: tuple[int, int, int]
) -> None:
    """Draw a closed line through pixels (x, y) that lie side by side, in place."""
    closed_n2 = np.concatenate([path_n2, path_n2[:1]])
    for place, start in enumerate(range(0, len(path_n2), _DASH)):
        # Up to the next dash's first pixel: of a line that is a single pixel nothing is drawn.
        dash_n2 = closed_n2[start : start + _DASH + 1]
        cv2.polylines(canvas, [dash_n2], False, colour if place % 2 else _WHITE, 2)


def _draw_click(
    canvas: NDArray[np.uint8], at_xy: tuple[int, int], colour: tuple[int, int, int], is_on: bool
) -> None:
    """Draw a disc with a plus or a minus, in place."""
    fill, ink = (colour, _WHITE) if is_on else (_WHITE, colour)
    cv2.circle(canvas, at_xy, _CLICK_RADIUS + 1, ink, -1, cv2.LINE_AA)
    cv2.circle(canvas, at_xy, _CLICK_RADIUS, fill, -1, cv2.LINE_AA)
    x, y = at_xy
    reach = _CLICK_RADIUS - 3
    cv2.line(canvas, (x - reach, y), (x + reach, y), ink, 2)
    if is_on:
        cv2.line(canvas, (x, y - reach), (x, y + reach), ink, 2)
