"""JSON records that say what they are for and carry their digest.

    {"of": "<run>/chunks/00007/done.json", "sha256": "...", "record": {...}}

A flipped bit, a record that was copied to another place, or one of another version of Longtake
that knew no seals: none of them is believed.
"""

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from samcore.disk.files import write_atomic

_M = TypeVar("_M", bound=BaseModel)


def seal_record(record: object, *, of: str) -> bytes:
    """The file's content, for a person to read, too.

    Args:
        record: What JSON can say.
        of: What it is for; another place has another name.
    """
    sealed = {"of": of, "sha256": _digest(record, of), "record": record}
    return (json.dumps(sealed, indent=2) + "\n").encode()


def open_record(data: bytes, *, of: str) -> object | None:
    """The record, if it is the one that was sealed and for this; else None."""
    try:
        sealed = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(sealed, dict) or set(sealed) != {"of", "sha256", "record"}:
        return None
    record: object = sealed["record"]
    fits = sealed["of"] == of and sealed["sha256"] == _digest(record, of)
    return record if fits else None


def write_sealed(path: Path, record: BaseModel, *, of: str) -> None:
    """Write a record, whole or not at all.

    Raises:
        StorageError: No permission, disk full.
    """
    write_atomic(path, seal_record(record.model_dump(mode="json"), of=of))


def read_sealed(path: Path, kind: type[_M], *, of: str) -> _M | None:
    """The record, or None if it is not there, not whole, or not for this."""
    try:
        return parse_sealed(path.read_bytes(), kind, of=of)
    except OSError:
        return None


def parse_sealed(data: bytes, kind: type[_M], *, of: str) -> _M | None:
    """The record of a file's content, or None if it is not whole or not for this."""
    record = open_record(data, of=of)
    try:
        return None if record is None else kind.model_validate(record)
    except ValidationError:
        return None


def _digest(record: object, of: str) -> str:
    return hashlib.sha256(json.dumps([of, record], sort_keys=True).encode()).hexdigest()
