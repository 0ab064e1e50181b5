"""The check `prompt`: each prompt beside the mask on its frame.

A prompt is missed if nothing was found on its frame; if more than half of the mask lies outside of
the box that was given, or what lies inside reaches over less than a quarter of it; if more than
half of the clicks are on the wrong side of the mask's edge; if less than half of a mask that was
given is left. What was not understood on the frame that a person pointed at is not tracked either.
"""

from collections.abc import Iterable
from itertools import groupby

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.findings.check import Tell
from samcore.findings.finding import Finding
from samcore.masks.table import MaskReader
from samcore.prompts.prompt import Prompt
from samcore.report.facts import ReportFacts

_MARGIN = 0.1
"""Of the box's sides: boxes are drawn by hand."""
_REACH = 0.25
_CLICK_RADIUS = 0.01
"""Of the picture's diagonal: so far beside the edge a click still counts as on it."""


def check_prompts(facts: ReportFacts, reader: MaskReader, tell: Tell) -> None:
    """Tell of the prompts on frames that were tracked.

    Raises:
        StorageError: The masks cannot be read.
    """
    asked = [item for item in facts.prompts if facts.start <= item.frame_idx < facts.stop]
    watch_prompts(asked, reader, tell)


def watch_prompts(prompts: Iterable[Prompt], reader: MaskReader, tell: Tell) -> None:
    """Tell of the prompts that were missed; holds one frame's rows and a mask.

    Raises:
        StorageError: The masks cannot be read.
    """
    in_order = sorted(prompts, key=lambda prompt: (prompt.frame_idx, prompt.obj_id))
    for frame_idx, group in groupby(in_order, key=lambda prompt: prompt.frame_idx):
        masks = reader.masks(frame_idx)
        for prompt in group:
            mask_hw = masks.get(prompt.obj_id)
            found = (1.0, "nothing was found where it was prompted")
            if mask_hw is not None and mask_hw.any():
                missed = _missed(prompt, mask_hw)
                if missed is None:
                    continue
                found = missed
            severity, text = found
            tell(Finding("prompt", frame_idx, prompt.obj_id, severity, text))


def _missed(prompt: Prompt, mask_hw: NDArray[np.bool_]) -> tuple[float, str] | None:
    """How far a mask misses its prompt, in [0, 1], and how to say it; None if it does not."""
    if prompt.mask_hw is not None:
        either = np.count_nonzero(mask_hw | prompt.mask_hw)
        iou = np.count_nonzero(mask_hw & prompt.mask_hw) / either
        if iou < 0.5:
            return 1 - iou, f"its mask has an IoU of only {iou:.2f} with the one that was given"
    if prompt.box_xyxy_px is not None:
        missed = _missed_box(prompt.box_xyxy_px, mask_hw)
        if missed is not None:
            return missed
    return _missed_clicks(prompt, mask_hw)


def _missed_box(
    box_xyxy: tuple[float, float, float, float], mask_hw: NDArray[np.bool_]
) -> tuple[float, str] | None:
    left, top, right, bottom = box_xyxy
    across, down = (right - left) * _MARGIN, (bottom - top) * _MARGIN
    rows = slice(max(0, round(top - down)), max(0, round(bottom + down)))
    columns = slice(max(0, round(left - across)), max(0, round(right + across)))
    inside_hw = np.ascontiguousarray(mask_hw[rows, columns]).view(np.uint8)
    outside = 1 - np.count_nonzero(inside_hw) / np.count_nonzero(mask_hw)
    if outside > 0.5:
        return outside, f"{outside:.0%} of its mask lies outside of the box that was given"
    *_, width, height = cv2.boundingRect(inside_hw)
    reach = width * height / max((right - left) * (bottom - top), 1.0)
    if reach < _REACH:
        return 1 - reach, f"its mask reaches over only {reach:.0%} of the box that was given"
    return None


def _missed_clicks(prompt: Prompt, mask_hw: NDArray[np.bool_]) -> tuple[float, str] | None:
    radius = max(1, round(_CLICK_RADIUS * float(np.hypot(*mask_hw.shape))))
    wrong = 0
    for (x, y), label in zip(prompt.points_xy_px, prompt.point_labels, strict=True):
        rows = slice(max(0, int(y) - radius), int(y) + radius + 1)
        columns = slice(max(0, int(x) - radius), int(x) + radius + 1)
        near_hw = mask_hw[rows, columns]
        wrong += not near_hw.any() if label else bool(near_hw.all())
    clicks = len(prompt.points_xy_px)
    if wrong * 2 <= clicks:
        return None
    of = "the click is" if clicks == 1 else f"{wrong} of {clicks} clicks are"
    return wrong / clicks, f"{of} on the wrong side of its mask's edge"
