"""Watches one object's rows go by, and says what is odd about them.

- It may be another object: from one frame to the next its box's middle moves by more than three
  quarters of the box's diagonal, other than it moved before; or its area doubles or halves, though
  the box does not touch the picture's edge.
- A long absence: two seconds or more without a pixel.
- Low scores: present, with an object score below 1 (a probability of 0.73) or a predicted IoU below
  0.5, for three frames or more.

These are hints, not verdicts: a cut, a fast turn or an occlusion looks the same.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.report.findings import Finding, Findings

_FAR = 0.75
"""Of the box's diagonal."""
_GREW = 1.0
"""Doublings."""
_LEAST_SHARE = 0.0005
"""Share of the picture that the larger of two masks has, for their areas to be compared."""
_LEAST_AREA = 64
"""Pixels that the smaller one has."""
_AGAIN_S = 0.5
"""A jump within this of the last one of the same object is part of it."""
_ABSENT_S = 2.0
_LOW_SCORE = 1.0
_LOW_IOU = 0.5
_LOW_FRAMES = 3


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


class ObjectWatch:
    """Takes one object's rows in pieces; holds the last two rows, and where runs began."""

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
        self._low = _LowRun()

    def add(self, rows: Rows) -> None:
        """Take the next rows."""
        self._watch_jumps(rows)
        self._watch_absence(rows)
        self._watch_scores(rows)

    def end(self, stop: int) -> None:
        """There are no more rows; `stop` is one past the last frame that was tracked."""
        if self._absent_since is not None:
            self._absent(self._absent_since, stop, for_good=True)
        self._end_low()

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
            self._findings.add(
                Finding(
                    kind="jump",
                    frame=int(frame[place + 1]),
                    object_id=self.object_id,
                    severity=max(
                        moved[place] / _FAR if is_far[place] else 0.0,
                        abs(doublings[place]) / _GREW if is_other_size[place] else 0.0,
                    ),
                    text=_jump_text(
                        moved[place] if is_far[place] else None,
                        doublings[place] if is_other_size[place] else None,
                    ),
                )
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
        self._findings.add(
            Finding(
                kind="absence",
                frame=since,
                object_id=self.object_id,
                severity=seconds,
                text=f"absent for {seconds:.1f} s, {then}",
            )
        )

    def _watch_scores(self, rows: Rows) -> None:
        low = (rows.area > 0) & ((rows.object_score < _LOW_SCORE) | (rows.predicted_iou < _LOW_IOU))
        changes = np.flatnonzero(np.diff(low)) + 1
        for part in np.split(np.arange(len(low)), changes):
            if not low[part[0]]:
                self._end_low()
                continue
            # How far below: the worse of both, each as a share of its bar.
            lack = np.maximum(
                _LOW_SCORE - rows.object_score[part], (_LOW_IOU - rows.predicted_iou[part]) * 4
            )
            worst = part[int(np.argmax(lack))]
            self._low.extend(
                len(part),
                lack=float(lack.max()),
                frame=int(rows.frame[worst]),
                score=float(rows.object_score[worst]),
                iou=float(rows.predicted_iou[worst]),
            )

    def _end_low(self) -> None:
        run, self._low = self._low, _LowRun()
        if run.frames < _LOW_FRAMES:
            return
        chance = 1 / (1 + math.exp(-min(max(run.score, -60.0), 60.0)))
        self._findings.add(
            Finding(
                kind="doubt",
                frame=run.frame,
                object_id=self.object_id,
                severity=run.frames * run.lack,
                text=f"unsure on {run.frames} frames; at worst presence {chance:.2f}, "
                f"predicted IoU {run.iou:.2f}",
            )
        )


@dataclass
class _LowRun:
    """Frames in a row with low scores, and the worst of them."""

    frames: int = 0
    lack: float = -math.inf
    frame: int = 0
    score: float = 0.0
    iou: float = 0.0

    def extend(self, frames: int, *, lack: float, frame: int, score: float, iou: float) -> None:
        self.frames += frames
        if lack > self.lack:
            self.lack, self.frame, self.score, self.iou = lack, frame, score, iou


def _jump_text(moved: float | None, doublings: float | None) -> str:
    parts = []
    if moved is not None:
        parts.append(f"moved {moved:.1f} times its size in one frame")
    if doublings is not None:
        verb = "grew" if doublings > 0 else "shrank"
        parts.append(f"{verb} {2 ** abs(doublings):.1f}-fold in one frame")
    return " and ".join(parts)
