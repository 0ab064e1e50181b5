"""Some frames of a video, picked where they are decoded."""

import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from samcore.video.frame import Frame, FrameProducer
from samcore.video.index import FrameIndex


@runtime_checkable
class PicksFrames(Protocol):
    """What can leave frames out at less cost than giving them."""

    def only(self, numbers_m: NDArray[np.int64]) -> FrameProducer | None:
        """The same, but it gives only these frames, which ascend; None if that costs the same."""
        ...


def only(producer: FrameProducer, numbers_m: NDArray[np.int64]) -> FrameProducer:
    """A producer that gives only these frames, which ascend, of those that it is asked for."""
    picked = producer.only(numbers_m) if isinstance(producer, PicksFrames) else None
    return _Dropping(producer, numbers_m) if picked is None else picked


class _Dropping:
    """Has all frames decoded, and drops those that are not wanted."""

    def __init__(self, producer: FrameProducer, numbers_m: NDArray[np.int64]) -> None:
        self._producer = producer
        self._numbers_m = numbers_m

    def frames(
        self, start: int, stop: int, *, stopping: threading.Event, stall_s: float
    ) -> Generator[Frame, None, None]:
        """Give the picked ones of frames [start, stop); ends early when `stopping` is set."""
        wanted = set(within(self._numbers_m, start, stop).tolist())
        if not wanted:
            return
        frames = self._producer.frames(
            min(wanted), max(wanted) + 1, stopping=stopping, stall_s=stall_s
        )
        for frame in frames:
            if frame.frame_idx in wanted:
                yield frame


def within(numbers_m: NDArray[np.int64], start: int, stop: int) -> NDArray[np.int64]:
    """Those of ascending numbers that are in [start, stop)."""
    return numbers_m[slice(*np.searchsorted(numbers_m, [start, stop]).tolist())]


@dataclass(frozen=True, slots=True, eq=False)
class Comb:
    """A rule by time stamps that holds for exactly the picked frames: those near a multiple."""

    first_pts: int
    period: float
    reach: float

    @classmethod
    def of(cls, index: FrameIndex, numbers_m: NDArray[np.int64]) -> "Comb | None":
        """The rule for these frames of a video; None if there is none, or they are all."""
        if not index.seekable or len(numbers_m) < 2:
            return None
        first, last = int(numbers_m[0]), int(numbers_m[-1])
        if last + 1 - first == len(numbers_m):
            return None
        pts_n = index.pts_n[first : last + 1]
        period = float(pts_n[-1] - pts_n[0]) / (len(numbers_m) - 1)
        comb = cls(int(pts_n[0]), period, float(np.diff(pts_n).min()) / 2)
        chosen_n = np.zeros(len(pts_n), np.bool_)
        chosen_n[numbers_m - first] = True
        return comb if np.array_equal(comb.which(pts_n), chosen_n) else None

    def holds(self, pts: int) -> bool:
        """Whether the rule picks a frame with this time stamp."""
        return bool(self.which(np.array([pts], np.int64))[0])

    def which(self, pts_n: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The same of each of many frames, at no more than some bytes each."""
        # As ffmpeg computes it: in double precision, with the floor.
        place_n = pts_n.astype(np.float64) - float(self.first_pts) + self.reach
        left_n = place_n - np.floor(place_n / self.period) * self.period
        return np.asarray(left_n < 2 * self.reach, np.bool_)

    @property
    def expression(self) -> str:
        """The same for ffmpeg's filter `select`."""
        place = f"pts-({self.first_pts})+{self.reach!r}"
        return f"lt(mod({place},{self.period!r}),{2 * self.reach!r})"
