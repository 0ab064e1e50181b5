"""What segmenting a picture gives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.masks.rle import Rle, decode_mask


@dataclass(frozen=True, slots=True, eq=False)
class PictureMask:
    """One mask on a picture."""

    obj_id: int
    """The prompt's number of the object; from 1 on, best first, where objects were found."""
    rle: Rle
    """The mask, of the picture's size; it may be empty."""
    score: float
    """How sure it is, about 0 to 1. By prompts it is the predicted IoU; of everything, predicted
    IoU times stability; of what a detector found, the detector's score."""
    predicted_iou: float | None = None
    """The model's guess of the mask's quality, 0 to 1; None where a detector gave the mask."""
    object_score: float | None = None
    """Logit that the object is on the picture at all; None where a detector gave the mask, or it
    was not asked."""
    stability: float | None = None
    """IoU of the mask cut at a higher and at a lower logit; None but of everything."""
    candidate: int = 0
    """Which of the candidates for the same prompt it is, from 0."""
    label: str | None = None
    """What the object is: the concept that gave it, or the prompt's label."""
    point_xy_px: tuple[float, float] | None = None
    """The point of the grid that gave it; None but of everything."""
    crop_xyxy_px: tuple[int, int, int, int] | None = None
    """The part of the picture that it was found on, left, top, right, bottom; None but of
    everything."""
    logits_hw: NDArray[np.float32] | None = None
    """Low-resolution logits from -32 to 32, to be corrected by `PicturePrompt.prior_logits_hw`;
    None unless they were asked for."""

    @property
    def area(self) -> int:
        """Pixels inside the mask."""
        return self.rle.area

    @property
    def box_xywh(self) -> tuple[int, int, int, int]:
        """Left, top, width, height of the smallest box around it; zeros if it is empty."""
        return self.rle.box_xywh

    def mask(self) -> NDArray[np.bool_]:
        """The mask as H x W booleans."""
        return decode_mask(self.rle)


@dataclass(frozen=True, slots=True, eq=False)
class PictureMasks:
    """All masks of one picture."""

    height: int
    """Rows of the picture."""
    width: int
    """Columns of the picture."""
    masks: tuple[PictureMask, ...]
    """By prompts: in the prompts' order, and candidates in the model's. What a detector found: best
    first. Everything: those of smaller crops first, then the highest predicted IoU. They may
    overlap."""
