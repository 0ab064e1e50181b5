"""A mask that a person drew, read from a PNG file."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samcore.errors import InputError

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A mask of an 8K picture, even badly compressed, is smaller."""

_PNG_HEAD = struct.Struct(">8s4x4sII")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_mask_image(path: Path, *, height: int, width: int) -> NDArray[np.bool_]:
    """The mask in a PNG file, H x W booleans with at least one True.

    What is inside:

    - gray or colour: pixels that are not black;
    - palette: pixels whose index is not 0, as annotation tools write it (or that are not black,
      if the palette has black elsewhere and not at 0);
    - with transparency that differs from pixel to pixel: pixels that are not wholly transparent.

    Raises:
        InputError: Missing, unreadable, not a PNG file, of another size, or an empty mask.
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
                mask_hw = _inside(image)
    except InputError:
        raise
    # Pillow has no root for the errors of damaged files; SyntaxError is among them.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "damaged"
        raise InputError(f"cannot read mask file {path}: {said}") from error
    if not mask_hw.any():
        raise InputError(f"mask file {path} is empty: wanted at least one pixel that is not 0")
    return mask_hw


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


def _inside(image: Image.Image) -> NDArray[np.bool_]:
    if image.mode == "P":
        index_hw = np.asarray(image)
        colours: NDArray[np.bool_] = (np.asarray(image.convert("RGBA"))[..., :3] != 0).max(axis=2)
        # An image optimiser may have turned black into another index than 0.
        is_swapped = colours[index_hw == 0].any() and not colours[index_hw != 0].all()
        return colours if is_swapped else index_hw != 0
    has_alpha = image.mode in ("LA", "RGBA") or "transparency" in image.info
    if has_alpha:
        image_hwc = np.asarray(image.convert("RGBA"))
        alpha_hw = image_hwc[..., 3]
        if alpha_hw.min() != alpha_hw.max():
            return np.asarray(alpha_hw != 0)
        return np.asarray((image_hwc[..., :3] != 0).max(axis=2))
    pixels = np.asarray(image) != 0
    return np.asarray(pixels.max(axis=2) if pixels.ndim == 3 else pixels)
