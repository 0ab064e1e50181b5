"""Stretches of odd frames, found while rows go by in pieces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Stretch:
    """Odd frames that belong together."""

    first: int
    """The first odd frame."""
    last: int
    """The last one."""
    frames: int
    """How many there are."""
    severity: float
    """Of the worst one."""
    worst: int
    """The worst frame."""
    details: tuple[float, ...]
    """What is known of the worst frame."""

    def joined(self, other: "Stretch") -> "Stretch":
        """Both as one; `other` comes later."""
        worse = other if other.severity > self.severity else self
        return Stretch(
            self.first,
            other.last,
            self.frames + other.frames,
            worse.severity,
            worse.worst,
            worse.details,
        )


class StretchFinder:
    """Joins odd rows to stretches; holds two stretches, however many rows go by.

    rows    ..oooo..o......oooooo...ooo...........oo...
    told      \\__/         \\____________/               with at least 3 rows, and gaps of 4
    """

    def __init__(self, tell: Callable[[Stretch], None], *, least: float, gap: float) -> None:
        """Nothing odd yet.

        Args:
            tell: Called with each stretch when it is over.
            least: Rows one after another that are worth telling; fewer are passed over.
            gap: Stretches no more than so many frames apart are one.
        """
        self._tell = tell
        self._least = least
        self._gap = gap
        self._run: Stretch | None = None
        self._held: Stretch | None = None

    def add(
        self,
        frame_n: NDArray[np.int64],
        odd_n: NDArray[np.bool_],
        severity_n: NDArray[np.floating],
        details: Sequence[NDArray[np.floating]],
    ) -> None:
        """Take the next rows: their frames, which are odd, how bad they are and what is told."""
        for part in np.split(np.arange(len(odd_n)), np.flatnonzero(np.diff(odd_n)) + 1):
            if not len(part):
                continue  # no rows at all
            if not odd_n[part[0]]:
                self._end_run()
                continue
            worst = part[int(np.argmax(severity_n[part]))]
            run = Stretch(
                first=int(frame_n[part[0]]),
                last=int(frame_n[part[-1]]),
                frames=len(part),
                severity=float(severity_n[worst]),
                worst=int(frame_n[worst]),
                details=tuple(float(column[worst]) for column in details),
            )
            self._run = run if self._run is None else self._run.joined(run)

    def end(self) -> None:
        """There are no more rows."""
        self._end_run()
        if self._held is not None:
            self._tell(self._held)
        self._held = None

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is None or run.frames < self._least:
            return
        if self._held is not None and run.first - self._held.last <= self._gap:
            self._held = self._held.joined(run)
            return
        if self._held is not None:
            self._tell(self._held)
        self._held = run
