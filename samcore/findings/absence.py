"""The check `absence`: an object is absent for two seconds or more."""

import numpy as np

from samcore.findings.check import Tell, WatchedObject
from samcore.findings.finding import Finding
from samcore.findings.rows import Rows
from samcore.masks.row import GIVEN_UP_SCORE

_ABSENT_S = 2.0


class AbsenceCheck:
    """Remembers since when an object has been absent, and not looked for any more."""

    def __init__(self, watched: WatchedObject, tell: Tell) -> None:
        self._watched = watched
        self._tell = tell
        self._absent_since: int | None = None
        self._given_up_at: int | None = None

    def add(self, rows: Rows) -> None:
        here = rows.area > 0
        given_up = rows.object_score == GIVEN_UP_SCORE
        changes = np.flatnonzero(np.diff(here) | np.diff(given_up)) + 1
        for place in [0, *changes.tolist()]:
            frame = int(rows.frame[place])
            if not here[place]:
                if self._absent_since is None:
                    self._absent_since = frame
                if given_up[place] and self._given_up_at is None:
                    self._given_up_at = frame
            elif self._absent_since is not None:
                self._absent(self._absent_since, frame, for_good=False)
                self._absent_since = self._given_up_at = None

    def end(self, stop: int) -> None:
        if self._absent_since is not None:
            self._absent(self._absent_since, stop, for_good=True)

    def _absent(self, since: int, until: int, *, for_good: bool) -> None:
        seconds = (until - since) / self._watched.rate
        if seconds < _ABSENT_S:
            return
        then = "and to the end" if for_good else f"until frame {until}"
        text = f"absent for {seconds:.1f} s, {then}"
        if self._given_up_at is not None:
            text += f"; given up at frame {self._given_up_at}, as too many others had retired since"
        self._tell(Finding("absence", since, self._watched.object_id, seconds, text))
