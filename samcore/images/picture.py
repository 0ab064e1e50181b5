"""The one door through which picture files come in: any kind becomes 8-bit RGB, or one line."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samcore.limits import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as a person sees it."""

    name: str
    """Where it is from, for people."""
    image_rgb_hwc_u8: NDArray[np.uint8]
    """H x W x 3, turned as its EXIF orientation says."""
    notes: tuple[str, ...] = ()
    """What was left out or changed and may matter, for people, such as `the first of 12 pictures of
    an animation`."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image_rgb_hwc_u8.shape[0], self.image_rgb_hwc_u8.shape[1]


def read_picture(path: Path, *, limits: Limits = DEFAULT_LIMITS, stretch: bool = False) -> Picture:
    """Read a picture file; see `decode_picture`.

    Raises:
        PictureError: There is none, it cannot be read, or it is no picture; one line.
        InputError: It is larger than the limit.
    """
    raise NotImplementedError


def decode_picture(
    data: bytes, *, name: str, limits: Limits = DEFAULT_LIMITS, stretch: bool = False
) -> Picture:
    """Decode a picture file that is in memory.

    - It is turned as its EXIF orientation says.
    - 16 bits become 8: the upper ones, or with `stretch` those that it uses.
    - Grey, palettes and CMYK become RGB. What is transparent is laid over white.
    - Of an animation or several pages the first one is taken, and `notes` say so.

    Args:
        data: JPEG, PNG, WebP, TIFF, BMP, GIF, JPEG 2000, PNM or AVIF.
        name: For messages, and `Picture.name`.
        limits: `max_pixels` is checked before there is memory for the pixels.
        stretch: Whether the brightest value of 16 bits becomes white.

    Raises:
        PictureError: It is empty, cut off, damaged, or no picture; one line.
        InputError: It is larger than the limit.
    """
    raise NotImplementedError
