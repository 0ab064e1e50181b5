"""One object's rows, and all checks of them.

The checks of rows are hints, not verdicts: a cut, a fast turn or an occlusion looks the same.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.findings.check import CHECKS, RowCheck, WatchedObject
from samcore.findings.finding import Finding, Findings
from samcore.video.tracked import TrackedFrames

LEAST_SHARE = 0.0005
"""Share of the picture that the larger of two masks has, for their areas to be compared."""
LEAST_AREA = 64
"""Pixels that the smaller one has."""
AGAIN_S = 0.5
"""What is no further from the last one of the same kind and object is part of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some rows of one object, by ascending frame: the table's columns of these names."""

    frame: NDArray[np.int64]
    object_score: NDArray[np.float32]
    predicted_iou: NDArray[np.float32]
    prompted: NDArray[np.bool_]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    w: NDArray[np.int32]
    h: NDArray[np.int32]
    area: NDArray[np.int64]


class ObjectChecks:
    """Takes one object's rows in pieces, and shows them to all checks that see rows."""

    def __init__(
        self,
        object_id: int,
        findings: Findings,
        *,
        rate: float,
        size_hw: tuple[int, int],
        tracked: TrackedFrames | None = None,
    ) -> None:
        """Nothing is known of the object yet.

        Args:
            object_id: Its number.
            findings: Where findings go.
            rate: Frames per second of the video.
            size_hw: Rows and columns of the picture.
            tracked: Which frames were tracked; None if all were.
        """
        self.object_id = object_id
        """Its number."""
        self.counts: Counter[str] = Counter()
        """How many findings of each kind there are of it."""
        self._findings = findings
        watched = WatchedObject(object_id, rate, size_hw, tracked)
        self._checks: list[RowCheck] = [
            entry.load()(watched, self._tell) for entry in CHECKS if entry.sees == "rows"
        ]

    def add(self, rows: Rows) -> None:
        """Take the next rows."""
        for check in self._checks:
            check.add(rows)

    def end(self, stop: int) -> None:
        """There are no more rows; `stop` is one past the last frame that was tracked."""
        for check in self._checks:
            check.end(stop)

    def _tell(self, finding: Finding) -> None:
        self.counts[finding.kind] += 1
        self._findings.add(finding)
