"""Files of single pictures: any kind becomes 8-bit RGB, or one line.

Frames that lie as pictures in a folder are read by `samcore/video/images.py`.
"""

import functools
import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from samcore.errors import InputError, PictureError
from samcore.limits import DEFAULT_LIMITS, Limits

MAX_FILE_BYTES = 1 << 30
"""The largest picture that the limits let in takes half of this, without any compression."""
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
"""Pillow's names of what is read. It knows more, some of them by starting other programs."""
_KNOWN = "JPEG, PNG, WebP, TIFF, BMP, GIF, JPEG 2000, PNM or AVIF"
_HEIF = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError),
    *(OverflowError, ZeroDivisionError, struct.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
"""Pillow has no root for the errors of damaged files."""
_DEEP = 16
_WHITE = (255, 255, 255, 255)

# What is wrong with a file is said once, in the one line of our own errors.
for _said in (Image.DecompressionBombWarning, UserWarning):
    warnings.filterwarnings("ignore", category=_said, module=r"PIL\.")


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as a person sees it."""

    name: str
    """Where it is from, for people."""
    image_rgb_hwc_u8: NDArray[np.uint8]
    """H x W x 3, turned as its EXIF orientation says."""
    notes: tuple[str, ...] = ()
    """What was left out or changed and may matter, for people, such as `the first of 12 pictures
    in the file`."""
    pictures: int = 1
    """How many the file holds."""
    used_bits: int | None = None
    """How many bits the brightest pixel of a grey picture of 16 bits needs; None of others."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image_rgb_hwc_u8.shape[0], self.image_rgb_hwc_u8.shape[1]


def read_picture(path: Path, *, limits: Limits = DEFAULT_LIMITS, stretch: bool = False) -> Picture:
    """Read a picture file; see `decode_picture`.

    Raises:
        PictureError: There is none, it cannot be read, or as for `decode_picture`; one line.
    """
    name = str(path)
    try:
        # Not a pipe or device, which could block for ever.
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not there"
            raise PictureError(f"the picture {name!r} {what}; wanted a file")
        _check_bytes(path.stat().st_size, name)
        data = path.read_bytes()
    except PictureError:
        raise
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PictureError(f"cannot read the picture {name!r}: {said}") from error
    return decode_picture(data, name=name, limits=limits, stretch=stretch)


def decode_picture(
    data: bytes,
    *,
    name: str,
    limits: Limits = DEFAULT_LIMITS,
    stretch: bool = False,
    stretch_bits: int | None = None,
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
        stretch: Whether a grey picture of 16 bits is reduced to the upper ones of those that its
            brightest pixel uses; colours are reduced to their upper bits in any case.
        stretch_bits: The same with so many bits, whatever this picture uses: one measure for all
            pictures of a folder.

    Raises:
        PictureError: It is empty, cut off, damaged, larger than the limits, or no picture; one
            line.
    """
    _check_bytes(len(data), name)
    if not data:
        raise PictureError(f"the picture {name!r} is empty; wanted a file with a picture in it")
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError as error:
        raise PictureError(f"{name!r} is no picture that can be read: {_kind(data)}") from error
    except _DAMAGE as error:
        raise _damaged(name, error) from error
    with image:
        _check_size(image.size, name, limits)
        notes: list[str] = []
        try:
            count = _count(image)
            rgb_hwc, used_bits = _decode(image, count, notes, stretch, stretch_bits)
        except PictureError as error:
            raise PictureError(f"the picture {name!r} {error}") from error
        except _DAMAGE as error:
            raise _damaged(name, error) from error
    return Picture(name, rgb_hwc, tuple(notes), count, used_bits)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_bytes(size: int, name: str) -> None:
    if size > MAX_FILE_BYTES:
        raise PictureError(
            f"the picture {name!r} has {size:,} bytes; wanted at most {MAX_FILE_BYTES:,}: save it "
            "in fewer pixels or a compressed format"
        )


def _check_size(size_wh: tuple[int, int], name: str, limits: Limits) -> None:
    try:
        limits.check_size(*size_wh, name=name)
    except InputError as error:
        raise PictureError(str(error)) from error


def _kind(data: bytes) -> str:
    """What may be said of data that Pillow does not know."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        return f"it is HEIC; convert it to one of {_KNOWN}"
    return f"wanted {_KNOWN}, or its beginning is damaged"


def _damaged(name: str, error: BaseException) -> PictureError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return PictureError(
            f"the picture {name!r} has more pixels than can be opened; make it smaller"
        )
    said = " ".join(str(error).split())[:160] or type(error).__name__
    return PictureError(
        f"the picture {name!r} is damaged or cut off ({said}): replace it, or leave it out"
    )


def _decode(
    image: Image.Image, count: int, notes: list[str], stretch: bool, stretch_bits: int | None
) -> tuple[NDArray[np.uint8], int | None]:
    """The first picture of a file as RGB, H x W x 3, and `Picture.used_bits`.

    Raises:
        PictureError: Its kind of pixels cannot be shown; the rest of a line.
    """
    used_bits = None
    if count > 1 and image.format != "MPO":  # a telephone's second picture is a preview
        notes.append(f"the first of {count} pictures in the file")
    image.load()
    image = _turned(image, notes)
    if image.mode.startswith("I") or image.mode == "F":
        image, used_bits = _grey_of(image, stretch, stretch_bits)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = _over_white(image, notes)
    elif image.mode != "RGB":
        image = _as_rgb(image, "RGB")
    rgb_hwc: NDArray[np.uint8] = np.array(image, dtype=np.uint8)  # a copy that can be written to
    return rgb_hwc, used_bits


def _count(image: Image.Image) -> int:
    """How many pictures are in the file; 1 where the others cannot be read."""
    try:
        return int(getattr(image, "n_frames", 1))
    except _DAMAGE:
        return 1
    finally:
        image.seek(0)


def _turned(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        turned: Image.Image = ImageOps.exif_transpose(image)
    except _DAMAGE:
        notes.append("its EXIF data are damaged, so it is shown as it lies")
        return image
    return turned


def _grey_of(
    image: Image.Image, stretch: bool, stretch_bits: int | None
) -> tuple[Image.Image, int]:
    """A picture of 16 bits, grey, as one of 8; and how many of its bits it uses."""
    value_hw: NDArray[Any] = np.asarray(image)
    if value_hw.dtype.kind == "f" or value_hw.min() < 0 or value_hw.max() >= 1 << _DEEP:
        raise PictureError(
            f"has pixels of {value_hw.dtype} from {value_hw.min():g} to {value_hw.max():g}; "
            "convert it to 8 or 16 bits"
        )
    used = int(value_hw.max()).bit_length()
    deep_hw = value_hw.astype(np.uint32)
    if stretch_bits is not None:
        return Image.fromarray(stretched(deep_hw, stretch_bits)), used
    return Image.fromarray(stretched(deep_hw, max(8, used) if stretch else _DEEP)), used


def stretched(deep: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    """Values of 16 bits as 8 bits, of which the lowest `bits` are in use; larger ones are 255."""
    values: NDArray[np.uint8] = np.minimum((deep << 8) >> bits, 255).astype(np.uint8)
    return values


def _over_white(image: Image.Image, notes: list[str]) -> Image.Image:
    image = _as_rgb(image, "RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    notes.append("what is transparent is laid over white")
    ground = Image.new("RGBA", image.size, _WHITE)
    return Image.alpha_composite(ground, image).convert("RGB")


def _as_rgb(image: Image.Image, mode: str) -> Image.Image:
    try:
        return image.convert(mode)
    except ValueError as error:
        raise PictureError(f"has pixels of the kind {image.mode}; convert it to RGB") from error
