"""The frame rate that time stamps show, rather than the one that a header claims."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from samcore.video.index import FrameIndex

_DEFAULT_RATE = Fraction(25)
_MAX_DENOMINATOR = 1_000_000


@dataclass(frozen=True, slots=True)
class FrameRate:
    """How fast frames follow each other."""

    avg_rate: Fraction
    """Frames per second, exact if `variable` is False."""
    variable: bool
    """True if no constant rate explains the time stamps."""


def find_rate(index: FrameIndex, time_base: Fraction, *, claimed: Fraction | None) -> FrameRate:
    """Find the constant rate that explains every time stamp, or else the mean rate.

    A rate explains a time stamp that is where the rate puts it, or at most one unit off where
    frames do not last whole units: Matroska's milliseconds cannot hold 1/24 s.

    Args:
        index: The frames.
        time_base: Seconds per unit of a time stamp.
        claimed: What the header says, in frames per second; tried first, being a round number.
    """
    if len(index) < 2:
        return FrameRate(claimed or _DEFAULT_RATE, variable=False)
    first, last = int(index.pts_n[0]), int(index.pts_n[-1])
    if not index.seekable or last <= first:
        return FrameRate(claimed or _DEFAULT_RATE, variable=True)
    mean = Fraction(len(index) - 1) / ((last - first) * time_base)
    mean = mean.limit_denominator(_MAX_DENOMINATOR)
    for rate in (claimed, mean):
        if rate is not None and _explains(rate, index, time_base):
            return FrameRate(rate, variable=False)
    return FrameRate(mean, variable=True)


def _explains(rate: Fraction, index: FrameIndex, time_base: Fraction) -> bool:
    step = 1 / (rate * time_base)
    expected_n = np.arange(len(index)) * float(step)
    off_n = np.abs(index.pts_n - index.pts_n[0] - expected_n)
    # a thousandth for the floating point, which is that exact up to 10^12 units
    limit = (0 if step.denominator == 1 else 1) + 1e-3
    return bool((off_n <= limit).all())
