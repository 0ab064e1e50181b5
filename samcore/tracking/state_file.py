"""The file of a tracker's state is not trusted: it may be damaged, or somebody's who means harm.

All that its header says is held against the file's size before anything is allocated for a tensor,
so that reading takes no more memory than the file has bytes, and some for the header. Tensors are
read, not mapped: a file that is cut short meanwhile is an error, and not the process's end.

A file is a safetensors file whose metadata has one text, as JSON; what that says is the caller's.

    8 bytes     length of the header, little-endian
    header      {"__metadata__": {KEY: text}, NAME: {"dtype": "F32", "shape": [1, 256],
                                                     "data_offsets": [0, 1024]}, ...}
    tensors     end to end, without a hole, to the last byte of the file
"""

import contextlib
import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samcore.errors import StateError
from samcore.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from torch import Tensor

MAX_HEADER_BYTES = 100_000_000
"""What the safetensors library writes and reads at most: enough for 10,000 objects."""
_SMALL_HEADER = 2**24
"""A header up to this size need not be smaller than the tensors that it tells of."""
_MAX_DEPTH = 12
"""Lists and objects within each other; a state has 7, and its policy may have some more."""
_MAX_TEXT = 1000
"""Characters of one name or text in a state."""
_MAX_DIMS = 8
_MAX_DIGITS = 18
"""Of a whole number: no frame is as far away, and no tensor as large."""
_BLOCK = 2**20
"""Numbers that are looked at at once."""
_DTYPES = {"F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2)}
"""Of each what torch calls it, and its bytes."""
_METADATA = "__metadata__"


class Refused(ValueError):
    """Why a file is no state, as the middle of a line."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """One tensor of a file."""

    dtype: str
    """As torch calls it."""
    shape: tuple[int, ...]
    """Each at least 1."""
    begin: int
    """Its first byte, counted from the file's begin."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class StateFile:
    """An open file, whose header is in order."""

    text: str
    """The metadata; JSON, or anything else."""
    places: dict[str, TensorPlace]
    """The tensors, by name, in the order of the header."""
    file: BufferedReader

    def read(self, name: str) -> "Tensor":
        """A tensor in memory of its own.

        Raises:
            Refused: The file ends early, or not all of it are numbers.
        """
        import torch  # late: it takes a second, and who only asks for the header need not wait

        place = self.places[name]
        # Mapped bytes lie at any alignment, and arithmetic libraries may choose other instructions,
        # and so other last bits, for those.
        tensor = torch.empty(place.shape, dtype=getattr(torch, place.dtype))
        flat = tensor.view(-1)
        self.file.seek(place.begin)
        if self.file.readinto(flat.view(torch.uint8).numpy().data) != place.size:
            raise Refused("it was cut short while it was read")
        blocks = (flat[i : i + _BLOCK] for i in range(0, len(flat), _BLOCK))
        if not all(bool(block.isfinite().all()) for block in blocks):
            raise Refused(f"{shown(name)} has NaN or infinity in it")
        return tensor


@contextlib.contextmanager
def open_state_file(path: Path, key: str, limits: Limits = DEFAULT_LIMITS) -> Iterator[StateFile]:
    """Open a file for the `with` block, and check its header.

    Args:
        path: The file.
        key: Of its metadata.
        limits: How large it may be.

    Raises:
        StateError: The file cannot be read; or it is no state, also where the block says so by
            `Refused`.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused("it is no file")
            yield _checked(file, status.st_size, key, limits)
    except Refused as error:
        raise StateError(
            f"cannot use the tracker state {path}: {error}; take a whole copy of it, or make it "
            "again"
        ) from error
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise StateError(f"cannot read the tracker state {path}: {said}") from error


def parse_json(text: str, what: str) -> Any:
    """Read JSON that is not trusted: no name twice in an object, no NaN, no endless numbers.

    Args:
        text: The JSON.
        what: What it is, for the error.

    Raises:
        Refused: It is not that.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_without_doubles,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
        )
    except Refused as error:
        raise Refused(f"{what} {error}") from error
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        why = "is nested too deeply" if deep else "is no JSON"
        raise Refused(f"{what} {why}") from error


def check_plain(value: Any, what: str) -> None:
    """Check that what JSON said is neither deep nor has texts that a line cannot show.

    Raises:
        Refused: It is or has.
    """
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, str) and (len(part) > _MAX_TEXT or not part.isprintable()):
            raise Refused(f"{what} has a text that is too long, or cannot be shown")
        if not isinstance(part, dict | list):
            continue
        if depth > _MAX_DEPTH:
            raise Refused(f"{what} is nested more than {_MAX_DEPTH} deep")
        parts = [*part, *part.values()] if isinstance(part, dict) else part
        waiting += [(item, depth + 1) for item in parts]


def shown(text: str) -> str:
    """A name from a file as a line can show it."""
    return ascii(text[:60])


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for who writes to a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _checked(file: BufferedReader, size: int, key: str, limits: Limits) -> StateFile:
    if size > limits.max_state_bytes:
        raise Refused(
            f"it has {size:,} bytes; the limit is {limits.max_state_bytes:,}, which "
            "LONGTAKE_MAX_STATE_BYTES raises"
        )
    header, data = _read_header(file, size)
    content = parse_json(header, "its header")
    if not isinstance(content, dict):
        raise Refused("its header is no JSON object")
    metadata = content.pop(_METADATA, None)
    text = metadata.get(key) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise Refused("it is of something else: its header does not say that it is one")
    if len(metadata) > 1:
        raise Refused("its header says more than that of a tracker state does")
    places = {name: _place(name, entry, data) for name, entry in content.items()}
    _check_end_to_end(places, data, size)
    return StateFile(text, places, file)


def _read_header(file: BufferedReader, size: int) -> tuple[str, int]:
    """The header's text, and where tensors begin."""
    length = int.from_bytes(file.read(8), "little")
    data = 8 + length
    if size < 8 or data > size:
        raise Refused(f"it ends within its header: it has {size:,} bytes")
    most = min(MAX_HEADER_BYTES, max(_SMALL_HEADER, size - data))
    if length > most:
        raise Refused(f"its header has {length:,} bytes, and {most:,} are enough")
    try:
        return file.read(length).decode(), data
    except UnicodeDecodeError as error:
        raise Refused("its header is no text") from error


def _place(name: str, entry: Any, data: int) -> TensorPlace:
    if len(name) > _MAX_TEXT or not (name.isascii() and name.isprintable()):
        raise Refused("the name of a tensor is too long, or no name")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Refused(f"tensor {shown(name)} is not described by dtype, shape and data_offsets")
    dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if not dtype:
        raise Refused(f"the dtype of tensor {shown(name)} is none of {', '.join(_DTYPES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_whole(shape, least=1) or not 1 <= len(shape) <= _MAX_DIMS:
        raise Refused(f"the shape of tensor {shown(name)} is not 1 to {_MAX_DIMS} sides")
    if not _are_whole(offsets, least=0) or len(offsets) != 2 or offsets[0] >= offsets[1]:
        raise Refused(f"the data_offsets of tensor {shown(name)} are no begin and end")
    size = offsets[1] - offsets[0]
    if math.prod(shape) * dtype[1] != size:
        raise Refused(f"the shape of tensor {shown(name)} does not fit its {size:,} bytes")
    return TensorPlace(dtype[0], tuple(shape), data + offsets[0], size)


def _are_whole(values: Any, *, least: int) -> bool:
    return isinstance(values, list) and all(type(item) is int and item >= least for item in values)


def _check_end_to_end(places: dict[str, TensorPlace], data: int, size: int) -> None:
    end = data
    for name, place in sorted(places.items(), key=lambda item: item[1].begin):
        if place.begin != end:
            wrong = "has bytes of another one" if place.begin < end else "comes after a hole"
            raise Refused(f"tensor {shown(name)} {wrong}")
        end += place.size
    if end != size:
        raise Refused(f"it has {size:,} bytes, and its header tells of {end:,}")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused("has a name twice")
    return found


def _no_number(name: str) -> float:
    raise Refused(f"has {name} in it, which is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Refused("has a number that is too large")
    return value


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _MAX_DIGITS:
        raise Refused("has a number that is too large")
    return int(digits)
