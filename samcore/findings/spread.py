"""The check `spread`: an object may have spread over the background.

For a second or more it is four times as large as when it was last prompted, or first seen whole
after that, and it fills its box by a quarter less, or its predicted IoU is below 0.75. What only
comes nearer grows, too, but keeps its shape.
"""

import itertools
import math

import numpy as np

from samcore.findings.check import Tell, WatchedObject
from samcore.findings.finding import Finding
from samcore.findings.rows import AGAIN_S, LEAST_AREA, LEAST_SHARE, Rows
from samcore.findings.stretches import Stretch, StretchFinder

_SPREAD = 4.0
"""Times the area when prompted."""
_SPREAD_S = 1.0
_FRAYED = 0.75
"""Times the share of its box that it filled when prompted."""
_UNSURE_IOU = 0.75


class SpreadCheck:
    """Remembers how large an object was when it was prompted."""

    def __init__(self, watched: WatchedObject, tell: Tell) -> None:
        self._watched = watched
        self._tell = tell
        least, again = _SPREAD_S * watched.rate, AGAIN_S * watched.rate
        self._grown = StretchFinder(self._tell_stretch, least=least, gap=again)
        self._as_prompted: tuple[float, float] | None = None

    def add(self, rows: Rows) -> None:
        height, width = self._watched.size_hw
        at_edge = (rows.x <= 0) | (rows.y <= 0)
        at_edge |= (rows.x + rows.w >= width) | (rows.y + rows.h >= height)
        fill = rows.area / np.maximum(rows.w.astype(np.int64) * rows.h, 1)
        whole = (rows.area >= max(LEAST_AREA, LEAST_SHARE * height * width)) & ~at_edge
        begins = np.flatnonzero(rows.prompted & (rows.area > 0)).tolist()
        for start, stop in itertools.pairwise([0, *begins, len(rows.frame)]):
            if start in begins:
                self._as_prompted = None
            part = np.s_[start:stop]
            if self._as_prompted is None and whole[part].any():
                first = start + int(np.argmax(whole[part]))
                self._as_prompted = float(rows.area[first]), float(fill[first])
            # What has not been seen whole cannot be said to have grown.
            area, filled = self._as_prompted or (math.inf, 0.0)
            times = rows.area[part] / area
            frayed = fill[part] < _FRAYED * filled
            odd = (times >= _SPREAD) & (frayed | (rows.predicted_iou[part] < _UNSURE_IOU))
            self._grown.add(rows.frame[part], odd, times, (times,))

    def end(self, stop: int) -> None:
        self._grown.end()

    def _tell_stretch(self, grown: Stretch) -> None:
        (times,) = grown.details
        text = (
            f"up to {times:.0f} times as large as when prompted, from frame {grown.first} to "
            f"{grown.last}, and ragged or unsure: it may have spread over what is around it"
        )
        self._tell(Finding("spread", grown.worst, self._watched.object_id, times, text))
