"""Which of a detector's detections count: by label, score and size, in one way for all."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.detector import Detection, find_detector

if TYPE_CHECKING:
    from samcore.prompts.automatic import AutomaticPrompts


def least_score(options: "AutomaticPrompts") -> float:
    """The score below which a detection does not count."""
    if options.min_score is not None:
        return options.min_score
    entry, _ = find_detector(options.detector)
    return entry.min_text_score if options.text else entry.min_score


def keep_wanted(found: Sequence[Detection], options: "AutomaticPrompts") -> list[Detection]:
    """The detections that have a wanted label and are sure enough, in their order.

    Scores are rounded to four digits before they are held against the bound: their last bits may
    differ from machine to machine.
    """
    least = least_score(options)
    return [
        item
        for item in found
        if round(item.score, 4) >= least and (not options.labels or item.label in options.labels)
    ]


def grid_size(found: Sequence[Detection]) -> tuple[int, int]:
    """Rows and columns on which the detections of a picture are compared: those of its masks."""
    if not found:
        return (1, 1)
    sizes = [item.mask_hw.shape for item in found if item.mask_hw is not None]
    height, width = sizes[0] if sizes else found[0].picture_hw
    return (height, width)


def is_large_enough(region_hw: NDArray[np.bool_], options: "AutomaticPrompts") -> bool:
    """Whether a detection's region has the part of the picture that an object has at least."""
    return bool(np.count_nonzero(region_hw) >= max(1.0, options.min_area * region_hw.size))
