"""Watches one object's rows go by, and says what is odd about them.

- It may be another object: from one frame to the next its box's middle moves by more than three
  quarters of the box's diagonal, other than it moved before; or its area doubles or halves, though
  the box does not touch the picture's edge.
- A long absence: two seconds or more without a pixel.
- Low scores: present, with an object score below 1 (a probability of 0.73) or a predicted IoU below
  0.5, for three frames or more; what is half a second apart is one.
- It may have spread over the background: for a second or more it is four times as large as when it
  was last prompted, or first seen whole after that, and it fills its box by a quarter less, or its
  predicted IoU is below 0.75. What only comes nearer grows, too, but keeps its shape.

These are hints, not verdicts: a cut, a fast turn or an occlusion looks the same.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.findings.finding import Finding, FindingKind, Findings
from samcore.findings.stretches import Stretch, StretchFinder

_FAR = 0.75
"""Of the box's diagonal."""
_GREW = 1.0
"""Doublings."""
_LEAST_SHARE = 0.0005
"""Share of the picture that the larger of two masks has, for their areas to be compared."""
_LEAST_AREA = 64
"""Pixels that the smaller one has."""
_AGAIN_S = 0.5
"""What is no further from the last one of the same kind and object is part of it."""
_ABSENT_S = 2.0
_LOW_SCORE = 1.0
_LOW_IOU = 0.5
_LOW_FRAMES = 3
_SPREAD = 4.0
"""Times the area when prompted."""
_SPREAD_S = 1.0
_FRAYED = 0.75
"""Times the share of its box that it filled when prompted."""
_UNSURE_IOU = 0.75


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
    """Takes one object's rows in pieces; holds the last two rows, and where stretches began."""

    def __init__(
        self, object_id: int, findings: Findings, *, rate: float, size_hw: tuple[int, int]
    ) -> None:
        """Nothing is known of the object yet.

        Args:
            object_id: Its number.
            findings: Where findings go.
            rate: Frames per second of the video.
            size_hw: Rows and columns of the picture.
        """
        self.object_id = object_id
        """Its number."""
        self.absences = 0
        """How many long absences there were."""
        self.jumps = 0
        """How often it may have become another object."""
        self._findings = findings
        self._rate = rate
        self._size_hw = size_hw
        self._tail: NDArray[np.float64] | None = None
        self._last_jump = -math.inf
        self._absent_since: int | None = None
        again = _AGAIN_S * rate
        self._low = StretchFinder(self._tell_doubt, least=_LOW_FRAMES, gap=again)
        self._grown = StretchFinder(self._tell_spread, least=_SPREAD_S * rate, gap=again)
        self._as_prompted: tuple[float, float] | None = None

    def add(self, rows: Rows) -> None:
        """Take the next rows."""
        self._watch_jumps(rows)
        self._watch_absence(rows)
        self._watch_scores(rows)
        self._watch_spread(rows)

    def end(self, stop: int) -> None:
        """There are no more rows; `stop` is one past the last frame that was tracked."""
        if self._absent_since is not None:
            self._absent(self._absent_since, stop, for_good=True)
        self._low.end()
        self._grown.end()

    def _watch_jumps(self, rows: Rows) -> None:
        here = rows.area > 0
        new = np.column_stack(
            [rows.frame, rows.x, rows.y, rows.w, rows.h, rows.area, rows.prompted]
        ).astype(np.float64)[here]
        table = new if self._tail is None else np.concatenate([self._tail, new])
        # The last two rows come again as the first two of the next piece.
        already = 0 if self._tail is None else len(self._tail)
        self._tail = table[-2:]
        if len(table) < 2:
            return
        frame, x, y, w, h, area, prompted = table.T
        diagonal = np.hypot(w, h)
        larger = np.maximum(diagonal[1:], diagonal[:-1])
        move = np.diff(np.column_stack([x + w / 2, y + h / 2]), axis=0)
        follows = np.diff(frame) == 1
        # What an object did from the frame before to this one, it may well do again.
        before = np.zeros_like(move)
        before[1:][follows[:-1]] = move[:-1][follows[:-1]]
        moved = np.hypot(*move.T) / larger
        surprise = np.hypot(*(move - before).T) / larger
        doublings = np.log2(area[1:] / area[:-1])
        height, width = self._size_hw
        at_edge = (x <= 0) | (y <= 0) | (x + w >= width) | (y + h >= height)
        compared = (
            ~(at_edge[1:] | at_edge[:-1])
            & (np.maximum(area[1:], area[:-1]) >= _LEAST_SHARE * height * width)
            & (np.minimum(area[1:], area[:-1]) >= _LEAST_AREA)
        )
        # A person's prompt may well move the mask.
        candidate = follows & (prompted[1:] == 0)
        is_far = candidate & (moved > _FAR) & (surprise > _FAR)
        is_other_size = candidate & compared & (np.abs(doublings) > _GREW)
        for place in np.flatnonzero(is_far | is_other_size).tolist():
            if place + 1 < already:
                continue
            if frame[place + 1] - self._last_jump < _AGAIN_S * self._rate:
                self._last_jump = frame[place + 1]
                continue
            self._last_jump = frame[place + 1]
            self.jumps += 1
            self._add(
                "jump",
                int(frame[place + 1]),
                max(
                    moved[place] / _FAR if is_far[place] else 0.0,
                    abs(doublings[place]) / _GREW if is_other_size[place] else 0.0,
                ),
                _jump_text(
                    moved[place] if is_far[place] else None,
                    doublings[place] if is_other_size[place] else None,
                ),
            )

    def _watch_absence(self, rows: Rows) -> None:
        here = rows.area > 0
        changes = np.flatnonzero(np.diff(here)) + 1
        for place in [0, *changes.tolist()]:
            if not here[place]:
                if self._absent_since is None:
                    self._absent_since = int(rows.frame[place])
            elif self._absent_since is not None:
                self._absent(self._absent_since, int(rows.frame[place]), for_good=False)
                self._absent_since = None

    def _absent(self, since: int, until: int, *, for_good: bool) -> None:
        seconds = (until - since) / self._rate
        if seconds < _ABSENT_S:
            return
        self.absences += 1
        then = "and to the end" if for_good else f"until frame {until}"
        self._add("absence", since, seconds, f"absent for {seconds:.1f} s, {then}")

    def _watch_scores(self, rows: Rows) -> None:
        low = (rows.area > 0) & ((rows.object_score < _LOW_SCORE) | (rows.predicted_iou < _LOW_IOU))
        # How far below: the worse of both, each as a share of its bar.
        lack = np.maximum(_LOW_SCORE - rows.object_score, (_LOW_IOU - rows.predicted_iou) * 4)
        self._low.add(rows.frame, low, lack, (rows.object_score, rows.predicted_iou))

    def _tell_doubt(self, low: Stretch) -> None:
        score, iou = low.details
        chance = 1 / (1 + math.exp(-min(max(score, -60.0), 60.0)))
        self._add(
            "doubt",
            low.worst,
            low.frames * low.severity,
            f"unsure on {low.frames} frames from {low.first} to {low.last}; at worst presence "
            f"{chance:.2f}, predicted IoU {iou:.2f}",
        )

    def _watch_spread(self, rows: Rows) -> None:
        height, width = self._size_hw
        at_edge = (rows.x <= 0) | (rows.y <= 0)
        at_edge |= (rows.x + rows.w >= width) | (rows.y + rows.h >= height)
        fill = rows.area / np.maximum(rows.w.astype(np.int64) * rows.h, 1)
        whole = (rows.area >= max(_LEAST_AREA, _LEAST_SHARE * height * width)) & ~at_edge
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

    def _tell_spread(self, grown: Stretch) -> None:
        (times,) = grown.details
        self._add(
            "spread",
            grown.worst,
            times,
            f"up to {times:.0f} times as large as when prompted, from frame {grown.first} to "
            f"{grown.last}, and ragged or unsure: it may have spread over what is around it",
        )

    def _add(self, kind: FindingKind, frame: int, severity: float, text: str) -> None:
        self._findings.add(Finding(kind, frame, self.object_id, severity, text))


def _jump_text(moved: float | None, doublings: float | None) -> str:
    parts = []
    if moved is not None:
        parts.append(f"moved {moved:.1f} times its size in one frame")
    if doublings is not None:
        verb = "grew" if doublings > 0 else "shrank"
        parts.append(f"{verb} {2 ** abs(doublings):.1f}-fold in one frame")
    return " and ".join(parts)
