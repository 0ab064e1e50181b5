"""The detector `motion`: what moves in front of a background that does not. For fixed cameras.

OpenCV's MOG2 learns the background, pixel by pixel, at half the size of the picture. What differs
from it is cleaned, and each connected blob gives a box. Limbs move and bodies often do not: a box
may hold a part of an object. Where the camera moves, everything does, and nothing is found.

The background is learned anew at frames 0, 300, 600 and so on, each time from the 60 frames before,
so that what is found does not depend on where one began to look:

    0           240       300         540       600
    |------------|---------|-----------|---------|----
     learns 0..           learns 240..          learns 540..
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.detectors.boxes import boxes_in_picture
from samcore.detectors.detector import DETECTORS, Detection
from samcore.models.family import TrackingModel
from samcore.prompts.automatic import AutomaticPrompts

_LEARN = 1 / 500
"""How much of a background is the last frame. What stands still for 52 frames becomes a part of it,
and where something stood at first, 52 frames show a ghost: fewer than those before a block."""
_MOST_MOVING = 0.5
"""Part of the picture beyond which it is the camera that moves, or the light that changes."""
_LEAST_BLOB = 16
"""Pixels of a blob at half size."""
_GAP = 3
"""Pixels at half size: parts that lie twice as far from each other, or less, are one blob."""
_SHADOW = 127
"""MOG2's value of a pixel that is the background in a shadow."""


class MotionBlobs:
    """Finds what moves; goes on where the last call ended, if the next frame is given."""

    def __init__(self, model: TrackingModel, options: AutomaticPrompts, *, batch: int) -> None:
        """Make a detector that has seen nothing.

        Args:
            model: Not used.
            options: Not used: what is too small is left out later.
            batch: Not used: it looks at one picture after the other.
        """
        entry = DETECTORS.get("motion")
        self._block, self._lookback = entry.block, entry.lookback
        self._backgrounds: dict[int, _Background] = {}
        self._next_frame: int | None = None

    def detect(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        first_frame: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Detection]]:
        """Find blobs; their score is how much of its hull a blob fills.

        Frames whose `first_needed` was not given before have no detections, nor have the first 60
        of the video.
        """
        if first_frame != self._next_frame:
            self._backgrounds = {}
        found = []
        for done, image_hwc in enumerate(images_rgb_hwc_u8, start=1):
            found.append(self._look(image_hwc, first_frame + done - 1))
            if on_progress is not None:
                on_progress(done, len(images_rgb_hwc_u8))
        self._next_frame = first_frame + len(images_rgb_hwc_u8)
        return found

    def _look(self, image_hwc: NDArray[np.uint8], frame_idx: int) -> list[Detection]:
        height, width = image_hwc.shape[:2]
        size_wh = (max(1, width // 2), max(1, height // 2))
        small_hwc = np.asarray(
            cv2.resize(image_hwc, size_wh, interpolation=cv2.INTER_AREA), np.uint8
        )
        block = frame_idx // self._block
        # The background of this block, and of the next one, which may begin to learn.
        blocks = {block, (frame_idx + self._lookback) // self._block}
        for number in blocks:
            if frame_idx == max(0, number * self._block - self._lookback):
                self._backgrounds[number] = _Background(self._lookback)
        moving_hw = None
        for number in sorted(blocks & set(self._backgrounds)):
            seen_hw = self._backgrounds[number].add(small_hwc)
            moving_hw = seen_hw if number == block else moving_hw
        self._backgrounds = {
            number: one for number, one in self._backgrounds.items() if number >= block
        }
        return [] if moving_hw is None else _blobs(moving_hw, (height, width))


class _Background:
    """What does not move, as far as it was learned."""

    def __init__(self, warm_up: int) -> None:
        """Begin; nothing is said about the first `warm_up` frames."""
        self._mog2 = cv2.createBackgroundSubtractorMOG2(detectShadows=True)
        self._warm_up = warm_up
        self._seen = 0

    def add(self, small_hwc: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Learn a picture, and say what moves in it: 1 there, 0 elsewhere; None for nothing."""
        moving_hw = self._mog2.apply(small_hwc, learningRate=_LEARN)
        self._seen += 1
        if self._seen <= self._warm_up:
            return None
        mask_hw = (moving_hw > _SHADOW).astype(np.uint8)
        clean_hw = cv2.morphologyEx(mask_hw, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        # With a margin: at the edge of the picture a blob would grow to it.
        wide_hw = np.pad(clean_hw, _GAP)
        side = 2 * _GAP + 1
        whole_hw = cv2.morphologyEx(wide_hw, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
        blobs_hw = np.ascontiguousarray(whole_hw[_GAP:-_GAP, _GAP:-_GAP], np.uint8)
        return blobs_hw if blobs_hw.mean() <= _MOST_MOVING else None


def _blobs(moving_hw: NDArray[np.uint8], picture_hw: tuple[int, int]) -> list[Detection]:
    """A box for each connected blob, in pixels of the picture."""
    outlines, _ = cv2.findContours(moving_hw, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    across, down = picture_hw[1] / moving_hw.shape[1], picture_hw[0] / moving_hw.shape[0]
    boxes, scores = [], []
    for outline in outlines:
        area, hull = cv2.contourArea(outline), cv2.contourArea(cv2.convexHull(outline))
        if area < _LEAST_BLOB:
            continue
        left, top, width, height = cv2.boundingRect(outline)
        boxes.append((left * across, top * down, (left + width) * across, (top + height) * down))
        scores.append(area / hull)
    return boxes_in_picture(
        np.array(boxes, float).reshape(-1, 4), np.array(scores), [None] * len(boxes), picture_hw
    )
