"""Records of work in progress, bound to what they are for: see `samcore/disk/sealed.py`."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from samcore.disk.files import write_atomic
from samcore.disk.sealed import open_record, seal_record
from samcore.errors import StorageError

_M = TypeVar("_M", bound=BaseModel)


class LostWorkError(StorageError):
    """Work that was done is gone, damaged or of something else, and has to be done again.

    The flow plans anew when a task raises this, so nobody has to put anything right.
    """


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
