"""The check `doubt`: the model is unsure of an object.

It is present, with an object score below 1 (a probability of 0.73) or a predicted IoU below 0.5,
for three frames or more; what is half a second apart is one.
"""

import math

import numpy as np

from samcore.findings.check import Tell, WatchedObject
from samcore.findings.finding import Finding
from samcore.findings.rows import AGAIN_S, Rows
from samcore.findings.stretches import Stretch, StretchFinder

_LOW_SCORE = 1.0
_LOW_IOU = 0.5
_LOW_FRAMES = 3


class DoubtCheck:
    """Looks for stretches of low scores."""

    def __init__(self, watched: WatchedObject, tell: Tell) -> None:
        self._watched = watched
        self._tell = tell
        again = AGAIN_S * watched.rate
        self._low = StretchFinder(self._tell_stretch, least=_LOW_FRAMES, gap=again)

    def add(self, rows: Rows) -> None:
        low = (rows.area > 0) & ((rows.object_score < _LOW_SCORE) | (rows.predicted_iou < _LOW_IOU))
        # How far below: the worse of both, each as a share of its bar.
        lack = np.maximum(_LOW_SCORE - rows.object_score, (_LOW_IOU - rows.predicted_iou) * 4)
        self._low.add(rows.frame, low, lack, (rows.object_score, rows.predicted_iou))

    def end(self, stop: int) -> None:
        self._low.end()

    def _tell_stretch(self, low: Stretch) -> None:
        score, iou = low.details
        chance = 1 / (1 + math.exp(-min(max(score, -60.0), 60.0)))
        text = (
            f"unsure on {low.frames} frames from {low.first} to {low.last}; at worst presence "
            f"{chance:.2f}, predicted IoU {iou:.2f}"
        )
        severity = low.frames * low.severity
        self._tell(Finding("doubt", low.worst, self._watched.object_id, severity, text))
