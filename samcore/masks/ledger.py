"""The ledger of a result's objects: `objects.json`, published beside the masks."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from samcore.disk.atomic import storage_error
from samcore.errors import StorageError
from samcore.masks.columns import read_columns
from samcore.masks.row import GIVEN_UP_SCORE, RETIRED_SCORE, confidence

if TYPE_CHECKING:
    from samcore.identities.ledger import Track

OBJECTS = "objects.json"
MAX_RETIREMENTS = 100
"""Of an object that are listed: the first ones, and the last one."""


class Retirement(BaseModel):
    """A time in which an object was not tracked, because it had been absent for long."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    retired: int
    """The first frame on which it was only looked for."""
    given_up: int | None = None
    """The first frame on which it was not even looked for, if it came to that: too many others had
    retired since."""
    returned: int | None = None
    """The frame on which it was found or prompted again; None if it was not."""

    def __str__(self) -> str:
        """For a person."""
        gone = "" if self.given_up is None else f", given up at {self.given_up}"
        back = "" if self.returned is None else f", returned at {self.returned}"
        return f"retired at {self.retired}{gone}{back}"


class ResultObject(BaseModel):
    """One object that was tracked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: int
    """Its number in the masks."""
    label: str | None = None
    """Its name for people, if it has one."""
    source: str | None = None
    """What it came from: `prompt`, `automatic` if it was found before anything was tracked,
    `warm-start`, or the detector that found it on the way; None if nobody said."""
    score: float | None = None
    """Of the detection that began it, 0 to 1; None if none did."""
    first_frame: int | None = None
    """The first frame that has a row of it; None if none has."""
    last_frame: int | None = None
    """The last frame on which it is present; None if it never is."""
    best_score: float | None = None
    """The highest probability that it is in the frame, of those on which it is present."""
    retirements: tuple[Retirement, ...] = ()
    """When it was not tracked because it had been absent for long; at most `MAX_RETIREMENTS`."""

    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Where objects do not retire, or are not detected, the file says nothing of it.
        found: dict[str, Any] = serialize(self)
        unsaid = {name for name in ("retirements", "score") if getattr(self, name) in (None, ())}
        return {k: v for k, v in found.items() if k not in unsaid}


def found_object(track: "Track") -> ResultObject:
    """The entry of an object that was found on the way, before its masks are looked at."""
    return ResultObject(
        id=track.obj_id,
        label=track.label,
        source=track.source,
        score=track.score,
        first_frame=track.first_frame,
    )


class Ledger(BaseModel):
    """All objects of a result."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    objects: tuple[ResultObject, ...]
    """By ascending id: those that were announced, and those that the masks have besides."""


def make_ledger(
    table: Path, announced: Iterable[ResultObject], found: Iterable[ResultObject] = ()
) -> Ledger:
    """Enter all objects of a mask table; one pass over its numbers.

    Args:
        table: The masks.
        announced: What is known of objects beforehand; what the table says of them is added.
        found: The same of objects that are entered only if the table has them.

    Raises:
        StorageError: The table is missing or damaged.
    """
    seen: dict[int, _Seen] = {}
    gone: dict[int, _Gone] = {}
    for columns in read_columns(table, ("frame", "object_id", "object_score", "area")):
        ids, place_n = np.unique(columns["object_id"], return_inverse=True)
        here = columns["area"] > 0
        first = np.full(len(ids), np.iinfo(np.int64).max)
        np.minimum.at(first, place_n, columns["frame"])
        last = np.full(len(ids), -1, np.int64)
        np.maximum.at(last, place_n[here], columns["frame"][here])
        best = np.full(len(ids), -np.inf)
        np.maximum.at(best, place_n[here], columns["object_score"][here])
        for place, object_id in enumerate(ids.tolist()):
            part = _Seen(int(first[place]), int(last[place]), float(best[place]))
            seen[object_id] = part.after(seen.get(object_id))
        how_gone = _how_gone(columns["object_score"])
        for place in np.unique(place_n[how_gone > 0]).tolist():
            gone.setdefault(int(ids[place]), _Gone())
        for object_id in gone.keys() & set(ids.tolist()):
            own = columns["object_id"] == object_id
            gone[object_id].add(columns["frame"][own], how_gone[own])
    known = {item.id: item for item in announced}
    others = {item.id: item for item in found}
    return Ledger(
        objects=tuple(
            _entered(
                known.get(object_id) or others.get(object_id) or ResultObject(id=object_id),
                seen.get(object_id),
                gone.get(object_id),
            )
            for object_id in sorted({*known, *seen})
        )
    )


def read_ledger(path: Path) -> Ledger:
    """Read a published ledger.

    Raises:
        StorageError: It is missing or damaged.
    """
    try:
        return Ledger.model_validate_json(path.read_bytes())
    except OSError as error:
        raise storage_error(path, error, doing="read") from error
    except ValidationError as error:
        raise StorageError(f"cannot read {path}: it is no list of objects; track again") from error


@dataclass(frozen=True, slots=True)
class _Seen:
    """Where a part of a table has an object."""

    first: int
    last: int
    """-1 if it is present nowhere."""
    best: float
    """A logit."""

    def after(self, before: "_Seen | None") -> "_Seen":
        if before is None:
            return self
        return _Seen(before.first, max(before.last, self.last), max(before.best, self.best))


def _how_gone(score_n: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each row 0, 1 if the object is retired, 2 if it is given up."""
    return np.where(score_n == GIVEN_UP_SCORE, 2, np.where(score_n == RETIRED_SCORE, 1, 0))


@dataclass(slots=True)
class _Gone:
    """The retirements of an object so far."""

    found: list[Retirement] = field(default_factory=list)
    now: int = 0
    """As `_how_gone` has it, after the last row."""

    def add(self, frame_n: NDArray[np.int64], how_gone_n: NDArray[np.int64]) -> None:
        """Take the next rows."""
        for place in np.flatnonzero(np.diff(how_gone_n, prepend=self.now)).tolist():
            frame, before, self.now = int(frame_n[place]), self.now, int(how_gone_n[place])
            if before == 0:
                self.found[MAX_RETIREMENTS - 1 :] = [Retirement(retired=frame)]
            if self.now == 0:
                self.found[-1] = self.found[-1].model_copy(update={"returned": frame})
            elif self.now == 2:
                self.found[-1] = self.found[-1].model_copy(update={"given_up": frame})


def _entered(item: ResultObject, seen: _Seen | None, gone: _Gone | None) -> ResultObject:
    if seen is None:
        return item
    present = {"last_frame": seen.last, "best_score": confidence(seen.best)}
    update: dict[str, Any] = {"first_frame": seen.first, **(present if seen.last >= 0 else {})}
    if gone is not None:
        update["retirements"] = tuple(gone.found)
    return item.model_copy(update=update)
