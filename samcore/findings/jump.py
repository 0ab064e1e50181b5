"""The check `jump`: an object may be another one.

From one frame to the next its box's middle moves by more than three quarters of the box's diagonal,
other than it moved before; or its area doubles or halves, though the box does not touch the
picture's edge. Where only every N-th frame was tracked, an object has N frames' time to move and to
grow: both bounds are then larger by the square root of N.
"""

import math

import numpy as np
from numpy.typing import NDArray

from samcore.findings.check import Tell, WatchedObject
from samcore.findings.finding import Finding
from samcore.findings.rows import AGAIN_S, LEAST_AREA, LEAST_SHARE, Rows

_FAR = 0.75
"""Of the box's diagonal."""
_GREW = 1.0
"""Doublings."""


class JumpCheck:
    """Compares each row with the one before; holds two rows."""

    def __init__(self, watched: WatchedObject, tell: Tell) -> None:
        self._watched = watched
        self._tell = tell
        self._tail: NDArray[np.float64] | None = None
        self._last_jump = -math.inf

    def add(self, rows: Rows) -> None:
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
        frames_apart = np.diff(frame)
        leeway = np.sqrt(frames_apart)
        diagonal = np.hypot(w, h)
        larger = np.maximum(diagonal[1:], diagonal[:-1])
        move = np.diff(np.column_stack([x + w / 2, y + h / 2]), axis=0)
        tracked = self._watched.tracked
        steps = frame if tracked is None else np.searchsorted(tracked.numbers_m, frame)
        follows = np.diff(steps) == 1
        # What an object did from the frame before to this one, it may well do again.
        before = np.zeros_like(move)
        before[1:][follows[:-1]] = move[:-1][follows[:-1]]
        moved = np.hypot(*move.T) / larger
        surprise = np.hypot(*(move - before).T) / larger
        doublings = np.log2(area[1:] / area[:-1])
        height, width = self._watched.size_hw
        at_edge = (x <= 0) | (y <= 0) | (x + w >= width) | (y + h >= height)
        compared = (
            ~(at_edge[1:] | at_edge[:-1])
            & (np.maximum(area[1:], area[:-1]) >= LEAST_SHARE * height * width)
            & (np.minimum(area[1:], area[:-1]) >= LEAST_AREA)
        )
        # A person's prompt may well move the mask.
        candidate = follows & (prompted[1:] == 0)
        is_far = candidate & (moved > _FAR * leeway) & (surprise > _FAR * leeway)
        is_other_size = candidate & compared & (np.abs(doublings) > _GREW * leeway)
        for place in np.flatnonzero(is_far | is_other_size).tolist():
            if place + 1 < already:
                continue
            if frame[place + 1] - self._last_jump < AGAIN_S * self._watched.rate:
                self._last_jump = frame[place + 1]
                continue
            self._last_jump = frame[place + 1]
            frame_idx = int(frame[place + 1])
            severity = max(
                moved[place] / (_FAR * leeway[place]) if is_far[place] else 0.0,
                abs(doublings[place]) / (_GREW * leeway[place]) if is_other_size[place] else 0.0,
            )
            text = _jump_text(
                moved[place] if is_far[place] else None,
                doublings[place] if is_other_size[place] else None,
                int(frames_apart[place]),
            )
            self._tell(Finding("jump", frame_idx, self._watched.object_id, severity, text))

    def end(self, stop: int) -> None:
        pass


def _jump_text(moved: float | None, doublings: float | None, frames_apart: int) -> str:
    within = "in one frame" if frames_apart == 1 else f"in {frames_apart} frames"
    parts = []
    if moved is not None:
        parts.append(f"moved {moved:.1f} times its size {within}")
    if doublings is not None:
        verb = "grew" if doublings > 0 else "shrank"
        parts.append(f"{verb} {2 ** abs(doublings):.1f}-fold {within}")
    return " and ".join(parts)
