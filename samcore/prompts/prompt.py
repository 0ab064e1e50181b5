"""Prompts: what a person says about an object on one frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """Clicks, a box or a mask given on one frame for one object.

    A box and points on the same frame go together (the box first, as SAM 2 was trained). Points
    beside a mask correct that mask.
    """

    obj_id: int
    """The caller's number of the object; never changes."""
    frame_idx: int
    """Position in the source video, from 0."""
    box_xyxy_px: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom in pixels of the video as displayed."""
    points_xy_px: tuple[tuple[float, float], ...] = ()
    """Clicks in pixels of the video as displayed."""
    point_labels: tuple[int, ...] = ()
    """One for each click: 1 is on the object, 0 is off it."""
    mask_hw: NDArray[np.bool_] | None = None
    """The object's mask at the size of the video as displayed, H x W."""
    from_here: bool = False
    """Whether it holds from its frame on: frames before it are as without it. Of an object's first
    prompt that is nothing new."""
    label: str | None = None
    """What the object is, where a detector said that; it changes no mask."""

    def share_of(self, height: int, width: int) -> float:
        """The part of a picture of this size that the mask or box covers; 0 for clicks."""
        if self.mask_hw is not None:
            return float(self.mask_hw.mean())
        left, top, right, bottom = self.box_xyxy_px or (0.0, 0.0, 0.0, 0.0)
        return (right - left) * (bottom - top) / (height * width)


def check_prompt(
    prompt: Prompt,
    *,
    height: int,
    width: int,
    num_frames: int | None,
    on: str | None = None,
) -> str:
    """Check what a tracker cannot do without; how to name the prompt in a message.

    Args:
        prompt: Any prompt.
        height, width: Size of the video in pixels.
        num_frames: Its length; None for a stream.
        on: What the prompt is on, for the message; None is its frame.

    Raises:
        InputError: The prompt is past the end, says nothing or contradicts itself.
    """
    where = f"the prompt for object {prompt.obj_id} on {on or f'frame {prompt.frame_idx}'}"
    if prompt.frame_idx < 0 or (num_frames is not None and prompt.frame_idx >= num_frames):
        raise InputError(f"{where} is outside the video, which has {num_frames} frames")
    if len(prompt.points_xy_px) != len(prompt.point_labels):
        raise InputError(
            f"{where} has {len(prompt.points_xy_px)} points, {len(prompt.point_labels)} labels"
        )
    if any(label not in (0, 1) for label in prompt.point_labels):
        raise InputError(f"{where} has labels {prompt.point_labels}; wanted 1 (on it) or 0 (off)")
    if prompt.mask_hw is None and prompt.box_xyxy_px is None and not prompt.points_xy_px:
        raise InputError(f"{where} has no box, point or mask; give at least one")
    if prompt.mask_hw is not None:
        if prompt.box_xyxy_px is not None:
            raise InputError(f"{where} has a box beside a mask; give one of them")
        if prompt.mask_hw.shape != (height, width):
            raise InputError(
                f"{where} has a mask of shape {prompt.mask_hw.shape}; wanted {(height, width)}"
            )
    return where
