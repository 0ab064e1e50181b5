"""Masks that a person drew, read from a PNG file."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samcore.errors import InputError

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A mask of an 8K picture, even badly compressed, is smaller."""
VOID = 255
"""Index of pixels that belong to nobody: DAVIS and PASCAL VOC mark borders with it."""
VOID_16_BIT = 10_000
"""The same in pictures of 16 bits, as MOTS has them."""

_PNG_HEAD = struct.Struct(">8s4x4sII")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_LABELS = 64
"""A grey picture with more levels is a soft mask, not one number for each object."""
_SHOWN = 20


@dataclass(frozen=True, slots=True, eq=False)
class MaskImage:
    """What one PNG file says of objects."""

    path: Path
    """The file."""
    inside_hw: NDArray[np.bool_]
    """Pixels of any object, H x W."""
    value_hw: NDArray[Any] | None
    """Palette index or grey value of each pixel; None where pixels have no such number."""
    indices: tuple[int, ...]
    """The numbers of the objects, ascending; empty where the file is one mask of one object."""
    renumbered: bool = False
    """The palette's index 0 is not the ground, so an index need not be an object's id."""

    def of_object(self, obj_id: int) -> NDArray[np.bool_]:
        """Give the mask of the object with this id: its index, or the only mask that there is.

        Raises:
            InputError: There are several objects, and none has this number.
        """
        if len(self.indices) <= 1:
            return self.inside_hw
        if self.renumbered:
            raise self._renumbered()
        if obj_id not in self.indices:
            raise InputError(
                f"mask file {self.path} has objects {_listed(self.indices)} and none with index "
                f"{obj_id}: say which one is meant, such as {self.path.name}#{self.indices[0]}"
            )
        return self.at(obj_id)

    def at(self, index: int) -> NDArray[np.bool_]:
        """Give the pixels with this index, which may also be that of void pixels.

        Raises:
            InputError: No pixel has it, or pixels have no index.
        """
        if self.value_hw is None:
            raise InputError(
                f"mask file {self.path} is one mask, without indices: leave out #{index}"
            )
        mask_hw = np.asarray(self.value_hw == index)
        if not mask_hw.any() or (index == 0 and not self.renumbered):
            there = _listed(self.indices) or _listed(np.unique(self.value_hw[self.inside_hw]))
            raise InputError(f"mask file {self.path} has no object {index}, but {there}")
        return mask_hw

    def every_object(self) -> tuple[int, ...]:
        """Give the ids of all objects in it: their indices, or 1 for a single mask.

        Raises:
            InputError: The indices are not ids.
        """
        if self.renumbered and len(self.indices) > 1:
            raise self._renumbered()
        return self.indices or (1,)

    def _renumbered(self) -> InputError:
        return InputError(
            f"mask file {self.path} has its ground at another index than 0, so a program has "
            f"renumbered the objects: say which index is meant, of {_listed(self.indices)}, such "
            f"as {self.path.name}#{self.indices[0]}, or save it with the ground at 0"
        )


def read_mask_image(path: Path, *, height: int, width: int) -> MaskImage:
    """Read the mask, or the masks of several objects, in a PNG file.

    - palette: an index is an object; index 0 is the ground, and 255 is void by DAVIS's convention:
      nobody's. (If the palette has black elsewhere and not at 0, black is the ground.)
    - grey, a few values: likewise; in 16 bits 10000 is void, as MOTS has it. A single value, or
      soft edges around one bright value, are one mask: what is not black.
    - colour: one mask, the pixels that are not black;
    - with transparency that differs from pixel to pixel: one mask, the pixels that are not wholly
      transparent.

    Raises:
        InputError: Missing, unreadable, not a PNG file, of another size, or without an object.
    """
    try:
        # Not a pipe or device, which could block for ever.
        if not path.is_file():
            raise InputError(f"there is no mask file {path}")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"mask file {path} is larger than {MAX_FILE_BYTES >> 20} MiB")
        with path.open("rb") as file:
            head = file.read(_PNG_HEAD.size)
            # The size is checked before a pixel is decoded: a small file may hold a huge picture.
            _check_head(head, path, height=height, width=width)
            file.seek(0)
            with Image.open(file, formats=["PNG"]) as image:
                found = _read(path, image)
    except InputError:
        raise
    # Pillow has no root for the errors of damaged files; SyntaxError is among them.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "damaged"
        raise InputError(f"cannot read mask file {path}: {said}") from error
    if not found.inside_hw.any():
        if found.value_hw is not None and found.value_hw.any():
            raise InputError(f"mask file {path} has void pixels only (index {VOID}), and no object")
        raise InputError(f"mask file {path} is empty: wanted at least one pixel that is not 0")
    return found


def _check_head(head: bytes, path: Path, *, height: int, width: int) -> None:
    if len(head) < _PNG_HEAD.size:
        raise InputError(f"mask file {path} is not a PNG file; save the mask as PNG")
    signature, chunk, got_width, got_height = _PNG_HEAD.unpack(head)
    if signature != _PNG_SIGNATURE or chunk != b"IHDR":
        raise InputError(f"mask file {path} is not a PNG file; save the mask as PNG")
    if (got_width, got_height) != (width, height):
        raise InputError(
            f"mask file {path} is {got_width} x {got_height} pixels, wanted the video's "
            f"{width} x {height}"
        )


def _read(path: Path, image: Image.Image) -> MaskImage:
    if image.mode == "P":
        return _palette(path, image)
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        image_hwc = np.asarray(image.convert("RGBA"))
        alpha_hw = image_hwc[..., 3]
        if alpha_hw.min() != alpha_hw.max():
            return MaskImage(path, np.asarray(alpha_hw != 0), None, ())
        return MaskImage(path, np.asarray((image_hwc[..., :3] != 0).max(axis=2)), None, ())
    pixels = np.asarray(image)
    if pixels.ndim == 3:
        return MaskImage(path, np.asarray((pixels != 0).max(axis=2)), None, ())
    if image.mode == "1":
        return MaskImage(path, np.asarray(pixels != 0), None, ())
    return _grey(path, pixels, bits=8 if image.mode == "L" else 16)


def _palette(path: Path, image: Image.Image) -> MaskImage:
    index_hw = np.asarray(image)
    colours: NDArray[np.bool_] = (np.asarray(image.convert("RGBA"))[..., :3] != 0).max(axis=2)
    # An image optimiser may have turned black into another index than 0.
    if colours[index_hw == 0].any() and not colours[index_hw != 0].all():
        return MaskImage(path, colours, index_hw, _values(index_hw[colours]), renumbered=True)
    inside_hw = (index_hw != 0) & (index_hw != VOID)
    return MaskImage(path, np.asarray(inside_hw), index_hw, _values(index_hw[inside_hw]))


def _grey(path: Path, value_hw: NDArray[Any], *, bits: int) -> MaskImage:
    values, counts = np.unique(value_hw[value_hw != 0], return_counts=True)
    # Soft edges are darker than what they surround, and each of their levels is on fewer pixels.
    is_soft = len(values) > _MOST_LABELS or (
        len(values) > 0 and values[-1] >= 1 << (bits - 1) and counts[-1] == counts.max()
    )
    if len(values) == 1 or is_soft:
        return MaskImage(path, np.asarray(value_hw != 0), value_hw, ())
    inside_hw = (value_hw != 0) & (value_hw != (VOID if bits == 8 else VOID_16_BIT))
    return MaskImage(path, np.asarray(inside_hw), value_hw, _values(value_hw[inside_hw]))


def _values(values: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in np.unique(values))


def _listed(numbers: Any) -> str:
    more = ", ..." if len(numbers) > _SHOWN else ""
    return ", ".join(str(int(number)) for number in numbers[:_SHOWN]) + more
