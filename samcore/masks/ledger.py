"""The ledger of a result's objects: `objects.json`, published beside the masks."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from samcore.disk.atomic import storage_error
from samcore.errors import StorageError
from samcore.masks.columns import read_columns
from samcore.masks.row import confidence

OBJECTS = "objects.json"


class ResultObject(BaseModel):
    """One object that was tracked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: int
    """Its number in the masks."""
    label: str | None = None
    """Its name for people, if it has one."""
    source: str | None = None
    """What it came from, such as `prompt` or `automatic`; None if nobody said."""
    first_frame: int | None = None
    """The first frame that has a row of it; None if none has."""
    last_frame: int | None = None
    """The last frame on which it is present; None if it never is."""
    best_score: float | None = None
    """The highest probability that it is in the frame, of those on which it is present."""


class Ledger(BaseModel):
    """All objects of a result."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    objects: tuple[ResultObject, ...]
    """By ascending id: those that were announced, and those that the masks have besides."""


def make_ledger(table: Path, announced: Iterable[ResultObject]) -> Ledger:
    """Enter all objects of a mask table; one pass over its numbers.

    Args:
        table: The masks.
        announced: What is known of objects beforehand; what the table says of them is added.

    Raises:
        StorageError: The table is missing or damaged.
    """
    seen: dict[int, _Seen] = {}
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
    known = {item.id: item for item in announced}
    return Ledger(
        objects=tuple(
            _entered(known.get(object_id) or ResultObject(id=object_id), seen.get(object_id))
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


def _entered(item: ResultObject, seen: _Seen | None) -> ResultObject:
    if seen is None:
        return item
    present = {"last_frame": seen.last, "best_score": confidence(seen.best)}
    update = {"first_frame": seen.first, **(present if seen.last >= 0 else {})}
    return item.model_copy(update=update)
