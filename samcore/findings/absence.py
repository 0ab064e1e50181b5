"""The check `absence`: an object is absent for two seconds or more."""

import numpy as np

from samcore.findings.check import Tell, WatchedObject
from samcore.findings.finding import Finding
from samcore.findings.rows import Rows

_ABSENT_S = 2.0


class AbsenceCheck:
    """Remembers since when an object has been absent."""

    def __init__(self, watched: WatchedObject, tell: Tell) -> None:
        self._watched = watched
        self._tell = tell
        self._absent_since: int | None = None

    def add(self, rows: Rows) -> None:
        here = rows.area > 0
        changes = np.flatnonzero(np.diff(here)) + 1
        for place in [0, *changes.tolist()]:
            if not here[place]:
                if self._absent_since is None:
                    self._absent_since = int(rows.frame[place])
            elif self._absent_since is not None:
                self._absent(self._absent_since, int(rows.frame[place]), for_good=False)
                self._absent_since = None

    def end(self, stop: int) -> None:
        if self._absent_since is not None:
            self._absent(self._absent_since, stop, for_good=True)

    def _absent(self, since: int, until: int, *, for_good: bool) -> None:
        seconds = (until - since) / self._watched.rate
        if seconds < _ABSENT_S:
            return
        then = "and to the end" if for_good else f"until frame {until}"
        text = f"absent for {seconds:.1f} s, {then}"
        self._tell(Finding("absence", since, self._watched.object_id, seconds, text))
