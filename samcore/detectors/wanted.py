"""Which of a detector's detections count: by label and score, in one way for all detectors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
