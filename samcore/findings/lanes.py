"""One lane per object, from one pass over the table's numbers: where it is, how large, how sure.

Memory is bounded whatever the video's length: a lane has at most `MAX_BINS` bins, at most
`MAX_LANES` objects have lanes, and of every object a handful of numbers is kept.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcore.findings.finding import Findings
from samcore.findings.rows import ObjectChecks, Rows
from samcore.masks.columns import read_columns
from samcore.video.tracked import TrackedFrames

MAX_BINS = 240
"""Bins along the video; with fewer frames each has its own."""
MAX_LANES = 200
"""Objects that are drawn; those that begin first, of equal ones those with the lower ids."""

_COLUMNS = ("object_id", *(item.name for item in fields(Rows)))
_BATCH = 65_536
_NO_FRAME = np.iinfo(np.int64).max
_SUMS = ("frames", "present", "area", "score", "iou")


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One object along the video, in bins of equally many frames."""

    frames_b: NDArray[np.int64]
    """Frames that have a row of the object."""
    present_b: NDArray[np.int64]
    """Of these, frames on which it is present."""
    area_b: NDArray[np.float64]
    """Mean area in pixels where it is present; NaN where it never is."""
    score_b: NDArray[np.float64]
    """Least object score where it is present, a logit; NaN where it never is."""


@dataclass(frozen=True, slots=True)
class ObjectSummary:
    """One object in a few numbers."""

    object_id: int
    """The caller's number."""
    first_frame: int
    """Where it begins."""
    frames: int
    """Frames that have a row of it."""
    present: int
    """Of these, frames on which it is present."""
    mean_area: float
    """In pixels, where present; 0.0 if it never is."""
    mean_score: float
    """Mean object score where present, a logit; 0.0 if it never is."""
    mean_iou: float
    """Mean of the model's own guess of the mask's quality where present; 0.0 if it never is."""
    absences: int
    """How many long absences."""
    jumps: int
    """How often it may have become another object."""
    lane: Lane | None
    """None if it is one of too many to be drawn."""


@dataclass(frozen=True, slots=True)
class LaneReport:
    """All objects."""

    start: int
    """First frame of the first bin."""
    stop: int
    """One past the last frame of the last bin."""
    bins: int
    """How many bins there are."""
    objects: tuple[ObjectSummary, ...]
    """By ascending id."""

    def bin_start(self, place: int) -> int:
        """The first frame of a bin."""
        return self.start + -(-place * (self.stop - self.start) // self.bins)


class LaneBuilder:
    """Takes a run's masks table by table, by ascending frame, and gives all lanes at any time."""

    def __init__(
        self,
        findings: Findings,
        *,
        start: int,
        stop: int,
        rate: float,
        size_hw: tuple[int, int],
        bins: int = MAX_BINS,
        tracked: TrackedFrames | None = None,
    ) -> None:
        """No object is known yet.

        Args:
            findings: Where findings go.
            start: First frame that is tracked.
            stop: One past the last frame that is tracked.
            rate: Frames per second of the video.
            size_hw: Rows and columns of the picture.
            bins: Along the video, at most; with fewer frames each has its own.
            tracked: Which frames are tracked; None if all are.
        """
        self._findings = findings
        self._start, self._stop, self._tracked = start, stop, tracked
        self._bins = min(bins, stop - start if tracked is None else len(tracked))
        self._rate, self._size_hw = rate, size_hw
        self._tallies: dict[int, _Tally] = {}

    def add(self, table: Path, first: int | None = None, last: int | None = None) -> None:
        """Take the rows of a table with first <= frame < last; open ends where None.

        Raises:
            StorageError: The table is missing or damaged.
        """
        length = self._stop - self._start
        for columns in _batches(table, first, last):
            ids = columns["object_id"]
            # Rows of one object side by side, each still by ascending frame.
            order_n = np.argsort(ids, kind="stable")
            ends = np.flatnonzero(np.diff(ids[order_n])) + 1
            # The object whose first row comes first goes first: of new ones, that which begins
            # first.
            for own_n in sorted(np.split(order_n, ends), key=lambda own_n: int(own_n[0])):
                rows = Rows(**{item.name: columns[item.name][own_n] for item in fields(Rows)})
                tally = self._tally(int(ids[own_n[0]]), int(rows.frame[0]))
                tally.add(rows, (rows.frame - self._start) * self._bins // length)

    def end(self) -> None:
        """There are no more rows: what lasts until the end is a finding, too."""
        for tally in self._tallies.values():
            tally.watch.end(self._stop)

    def report(self) -> LaneReport:
        """All objects so far."""
        objects = tuple(self._tallies[number].summary() for number in sorted(self._tallies))
        return LaneReport(start=self._start, stop=self._stop, bins=self._bins, objects=objects)

    def _tally(self, object_id: int, frame: int) -> "_Tally":
        tally = self._tallies.get(object_id)
        if tally is None:
            watch = ObjectChecks(
                object_id,
                self._findings,
                rate=self._rate,
                size_hw=self._size_hw,
                tracked=self._tracked,
            )
            drawn = len(self._tallies) < MAX_LANES
            tally = self._tallies[object_id] = _Tally(watch, frame, self._bins if drawn else 0)
        return tally


def read_lanes(
    table: Path,
    findings: Findings,
    *,
    start: int,
    stop: int,
    rate: float,
    size_hw: tuple[int, int],
    bins: int = MAX_BINS,
    tracked: TrackedFrames | None = None,
) -> LaneReport:
    """Read a mask table once, and add what is odd about its objects to the findings.

    Args:
        table: The masks.
        findings: Where findings go.
        start: First frame that was tracked.
        stop: One past the last frame that was tracked.
        rate: Frames per second of the video.
        size_hw: Rows and columns of the picture.
        bins: As in `LaneBuilder`.
        tracked: Which frames were tracked; None if all were.

    Raises:
        StorageError: The table is missing or damaged.
    """
    builder = LaneBuilder(
        findings,
        start=start,
        stop=stop,
        rate=rate,
        size_hw=size_hw,
        bins=bins,
        tracked=tracked,
    )
    builder.add(table)
    builder.end()
    return builder.report()


def _batches(table: Path, first: int | None, last: int | None) -> Iterator[dict[str, NDArray[Any]]]:
    """The table's rows, some ten thousand at a time: row groups are small for many objects."""
    waiting: list[dict[str, NDArray[Any]]] = []
    ends = (0 if first is None else first, _NO_FRAME if last is None else last)
    for columns in read_columns(table, _COLUMNS):
        low, high = np.searchsorted(columns["frame"], ends)
        waiting.append({name: column[low:high] for name, column in columns.items()})
        if sum(len(part["object_id"]) for part in waiting) >= _BATCH:
            yield _joined(waiting)
            waiting.clear()
    if any(len(part["object_id"]) for part in waiting):
        yield _joined(waiting)


def _joined(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in _COLUMNS}


@dataclass
class _Tally:
    """Sums of one object so far."""

    watch: ObjectChecks
    first_frame: int
    bins: int
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0.0))
    frames_b: NDArray[np.int64] = field(init=False)
    present_b: NDArray[np.int64] = field(init=False)
    area_b: NDArray[np.float64] = field(init=False)
    score_b: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.frames_b = np.zeros(self.bins, dtype=np.int64)
        self.present_b = np.zeros(self.bins, dtype=np.int64)
        self.area_b = np.zeros(self.bins)
        self.score_b = np.full(self.bins, np.inf)

    def add(self, rows: Rows, place_n: NDArray[np.int64]) -> None:
        self.watch.add(rows)
        here = rows.area > 0
        self.sums["frames"] += len(rows.frame)
        self.sums["present"] += int(np.count_nonzero(here))
        self.sums["area"] += float(rows.area[here].sum())
        self.sums["score"] += float(rows.object_score[here].sum(dtype=np.float64))
        self.sums["iou"] += float(rows.predicted_iou[here].sum(dtype=np.float64))
        if self.bins:
            np.add.at(self.frames_b, place_n, 1)
            np.add.at(self.present_b, place_n[here], 1)
            np.add.at(self.area_b, place_n[here], rows.area[here])
            np.minimum.at(self.score_b, place_n[here], rows.object_score[here])

    def summary(self) -> ObjectSummary:
        present = self.sums["present"]
        lane: Lane | None = None
        if self.bins:
            some_b = self.present_b > 0
            nothing_b = np.full(self.bins, np.nan)
            area_b = np.divide(self.area_b, self.present_b, out=nothing_b.copy(), where=some_b)
            score_b = np.where(some_b, self.score_b, nothing_b)
            lane = Lane(self.frames_b.copy(), self.present_b.copy(), area_b, score_b)
        return ObjectSummary(
            object_id=self.watch.object_id,
            first_frame=self.first_frame,
            frames=int(self.sums["frames"]),
            present=int(present),
            mean_area=self.sums["area"] / present if present else 0.0,
            mean_score=self.sums["score"] / present if present else 0.0,
            mean_iou=self.sums["iou"] / present if present else 0.0,
            absences=self.watch.counts["absence"],
            jumps=self.watch.counts["jump"],
            lane=lane,
        )


def probability(score: float) -> float:
    """A logit as a probability."""
    return 1 / (1 + math.exp(-min(max(score, -60.0), 60.0)))
