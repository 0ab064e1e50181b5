"""A folder of JPEG or PNG images, one per frame."""

import re
import struct
import threading
import zlib
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from samcore.errors import VideoError
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.video.frame import Frame
from samcore.video.index import FrameIndex

IMAGE_RATE = Fraction(25)
"""Frames per second that a folder is taken to have, since images say nothing of time."""

_SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}


def list_images(folder: Path) -> list[Path]:
    """Give a folder's JPEG and PNG files in natural order: `2.png` before `10.png`.

    Hidden files and files of other kinds are passed over. Equal numbers, as in `1.png` and
    `01.png`, go by name.

    Raises:
        VideoError: A name is not UTF-8.
    """
    images = [
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in _SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]
    for image in images:
        check_name(image)
    return sorted(images, key=_natural_order)


def check_name(path: Path) -> None:
    """Refuse a name that cannot be written down: records, digests and ffmpeg's commands are UTF-8.

    Raises:
        VideoError: It is not UTF-8, or one of the folders above is not.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise VideoError(
            f"the name {str(path.absolute())!r} is not UTF-8: rename the file or folder"
        ) from error


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    # "a12b" -> a, 12, b; text and numbers alternate, so that like is compared with like
    parts = re.split(r"([0-9]+)", path.stem.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def image_codec(images: list[Path]) -> str:
    """Name the kinds of image there are: `jpeg`, `png` or `jpeg+png`."""
    return "+".join(sorted({_SUFFIXES[image.suffix.lower()] for image in images}))


def read_image(path: Path) -> tuple[NDArray[np.uint8], int]:
    """Decode one image, turned as its EXIF orientation says.

    Deeper than 8 bits is reduced to 8, grey is spread over three channels, alpha is left out.

    Returns:
        The picture, H x W x 3 in RGB, and the Adler-32 of the file.

    Raises:
        VideoError: The file cannot be read, or is no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VideoError(f"cannot read the image {str(path)!r}: {error.strerror}") from error
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        bgr = None
    if bgr is None:
        raise VideoError(f"{str(path)!r} is not an image that can be decoded: replace or remove it")
    rgb: NDArray[np.uint8] = np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
    return rgb, zlib.adler32(data)


def _check_size(path: Path, limits: Limits) -> None:
    """Hold the size that an image claims against the limit, before there is memory for it."""
    for kind in (JpegImageFile, PngImageFile):
        try:
            with kind(path) as image:
                size_wh = image.size
        # Pillow has no root for the errors of damaged files; SyntaxError is among them.
        except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error):
            continue
        limits.check_size(*size_wh, name=str(path))
        return
    raise VideoError(f"{str(path)!r} is not an image that can be decoded: replace or remove it")


def scan_images(
    folder: Path,
    images: list[Path],
    on_progress: Callable[[int, int | None], None] | None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[FrameIndex, int, int]:
    """Decode every image once.

    Returns:
        The index, with the frame number as time stamp, and the width and height in pixels.

    Raises:
        InputError: One is larger than the limit.
        VideoError: There are none, one cannot be decoded, or they differ in size.
    """
    if not images:
        raise VideoError(f"no JPEG or PNG images in the folder {str(folder)!r}")
    checksum_n = np.zeros(len(images), np.uint32)
    first_hw = (0, 0)
    for frame_idx, image in enumerate(images):
        _check_size(image, limits)
        rgb_hwc_u8, checksum_n[frame_idx] = read_image(image)
        size_hw = (rgb_hwc_u8.shape[0], rgb_hwc_u8.shape[1])
        if frame_idx == 0:
            first_hw = size_hw
        elif size_hw != first_hw:
            raise VideoError(
                f"all images must be of one size, but {images[0].name} is "
                f"{first_hw[1]}x{first_hw[0]} and {image.name} is {size_hw[1]}x{size_hw[0]}"
            )
        if on_progress is not None:
            on_progress(frame_idx + 1, len(images))
    index = FrameIndex(
        pts_n=np.arange(len(images), dtype=np.int64),
        key_n=np.ones(len(images), np.bool_),
        checksum_n=checksum_n,
    )
    return index, first_hw[1], first_hw[0]


class ImageFrames:
    """Gives the frames of a folder that was scanned."""

    def __init__(self, images: list[Path], index: FrameIndex) -> None:
        self._images = images
        self._index = index

    def frames(
        self, start: int, stop: int, *, stopping: threading.Event, stall_s: float
    ) -> Generator[Frame, None, None]:
        """Give frames [start, stop); ends early when `stopping` is set.

        Raises:
            VideoError: An image is no longer the one that was scanned.
        """
        for frame_idx in range(start, stop):
            if stopping.is_set():
                return
            rgb_hwc_u8, checksum = read_image(self._images[frame_idx])
            if checksum != self._index.checksum_n[frame_idx]:
                raise VideoError(
                    f"frame {frame_idx}, {str(self._images[frame_idx])!r}, changed after it was "
                    "first read: leave the folder alone while it is tracked, then run again"
                )
            yield Frame(frame_idx, int(self._index.pts_n[frame_idx]), rgb_hwc_u8)
