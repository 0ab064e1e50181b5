"""A folder of JPEG or PNG images, one per frame."""

import itertools
import struct
import threading
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from samcore.errors import VideoError
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.text import natural_order
from samcore.video.frame import Frame
from samcore.video.index import FrameIndex

IMAGE_RATE = Fraction(25)
"""Frames per second that a folder is taken to have, since images say nothing of time."""

_SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_OTHER_PICTURES = {
    *(".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".jpe", ".jfif", ".avif", ".heic"),
    *(".heif", ".exr", ".ppm", ".pgm", ".pnm", ".dng"),
}
"""Pictures that are not read. They are not passed over in silence: they may be frames."""
_PNG_DEPTH_AT = 24
_PNG_DEEP = 16


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Which files of a folder are its frames."""

    images: tuple[Path, ...]
    """One for each frame, all of one kind, in natural order."""
    left_out: str | None
    """What else there is, for people; None if there is nothing."""


def list_images(folder: Path) -> ImageFolder:
    """Find a folder's frames, in natural order: `2.png` before `10.png`.

    One kind of picture is read, JPEG or PNG. If there are several kinds, it is the one that has a
    picture of every name that the others have, and JPEG if that holds for both: a mask or a
    thumbnail may lie beside each frame. Hidden files are passed over. Equal numbers, as in `1.png`
    and `01.png`, go by name.

    Raises:
        VideoError: None of the kinds has all names, two frames have the same name but for its
            ending, or a name is not UTF-8.
    """
    kinds: dict[str, list[Path]] = {}
    others = 0
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        suffix = entry.suffix.lower()
        kind = _SUFFIXES.get(suffix)
        if kind is None and suffix in _OTHER_PICTURES:
            kind = suffix[1:]
        if kind is None or not entry.is_file():
            others += 1
            continue
        check_name(entry)
        kinds.setdefault(kind, []).append(entry)
    chosen = _choose(folder, kinds)
    images = sorted(kinds.pop(chosen, ()), key=_natural_order)
    for one, other in itertools.pairwise(sorted(images, key=lambda image: image.stem)):
        if one.stem == other.stem:
            raise VideoError(
                f"{one.name} and {other.name} in {str(folder)!r} have one name: remove one of them"
            )
    said = [_counted(kind, files) for kind, files in sorted(kinds.items())]
    if others:
        said.append(f"{others} other file{'' if others == 1 else 's'}")
    return ImageFolder(tuple(images), ", ".join(said) or None)


def _choose(folder: Path, kinds: dict[str, list[Path]]) -> str:
    """The kind of picture that is read; empty if there is none that can be."""
    readable = [kind for kind in dict.fromkeys(_SUFFIXES.values()) if kind in kinds]
    if not readable:
        if kinds:
            found = ", ".join(_counted(kind, files) for kind, files in sorted(kinds.items()))
            raise VideoError(
                f"no JPEG or PNG images in the folder {str(folder)!r}, but {found}: convert them"
            )
        return ""
    names = {kind: {file.stem for file in files} for kind, files in kinds.items()}
    every = set().union(*names.values())
    for kind in readable:
        if names[kind] == every:
            return kind
    found = ", ".join(_counted(kind, files) for kind, files in sorted(kinds.items()))
    raise VideoError(
        f"the folder {str(folder)!r} has pictures of several kinds ({found}), and no kind has all "
        "of their names: which are the frames? Move the others elsewhere, or convert all to one "
        "kind, JPEG or PNG"
    )


def _counted(kind: str, files: list[Path]) -> str:
    return f"{len(files)} {kind} file{'' if len(files) == 1 else 's'}"


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
    return natural_order(path.stem), path.name


def image_codec(image: Path) -> str:
    """Name the kind of a frame: `jpeg` or `png`."""
    return _SUFFIXES[image.suffix.lower()].lower()


def read_image(path: Path, *, stretch_bits: int | None = None) -> tuple[NDArray[np.uint8], int]:
    """Decode one image, turned as its EXIF orientation says.

    Deeper than 8 bits is reduced to 8, grey is spread over three channels, alpha is left out.

    Args:
        path: The file.
        stretch_bits: Of 16 bits take only the lowest ones, this many, and reduce those to 8; None
            is all 16. Pictures of 8 bits stay as they are.

    Returns:
        The picture, H x W x 3 in RGB, and the Adler-32 of the file.

    Raises:
        VideoError: The file cannot be read, or is no image.
    """
    data = _bytes_of(path)
    if stretch_bits is None or not _is_deep(data):
        bgr = _decoded(path, data, cv2.IMREAD_COLOR)
    else:
        deep = _decoded(path, data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH).astype(np.uint32)
        bgr = np.minimum((deep << 8) >> stretch_bits, 255)
    rgb: NDArray[np.uint8] = np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
    return rgb, zlib.adler32(data)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VideoError(f"cannot read the image {str(path)!r}: {error.strerror}") from error


def _decoded(path: Path, data: bytes, flags: int) -> NDArray[Any]:
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        bgr = None
    if bgr is None:
        raise VideoError(f"{str(path)!r} is not an image that can be decoded: replace or remove it")
    return bgr


def _is_deep(data: bytes) -> bool:
    """Whether it is a PNG of 16 bits a channel."""
    is_png = data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > _PNG_DEPTH_AT
    return is_png and data[_PNG_DEPTH_AT] == _PNG_DEEP


def _used_bits(path: Path) -> int | None:
    """How many of its 16 bits a picture uses; None if it has no 16."""
    with path.open("rb") as file:
        if not _is_deep(file.read(_PNG_DEPTH_AT + 1)):
            return None
    deep = _decoded(path, _bytes_of(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return int(deep.max()).bit_length()


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


@dataclass(frozen=True, slots=True)
class ImageScan:
    """What decoding every image once gave."""

    index: FrameIndex
    """With the frame number as time stamp."""
    width: int
    """Pixels across."""
    height: int
    """Pixels down."""
    used_bits: int | None
    """How many bits the brightest value of any picture of 16 bits needs; None if none has 16."""


def scan_images(
    folder: Path,
    images: Sequence[Path],
    on_progress: Callable[[int, int | None], None] | None,
    limits: Limits = DEFAULT_LIMITS,
) -> ImageScan:
    """Decode every image once.

    Raises:
        InputError: One is larger than the limit.
        VideoError: There are none, one cannot be decoded, or they differ in size.
    """
    if not images:
        raise VideoError(f"no JPEG or PNG images in the folder {str(folder)!r}")
    checksum_n = np.zeros(len(images), np.uint32)
    first_hw = (0, 0)
    bits: set[int] = set()
    for frame_idx, image in enumerate(images):
        _check_size(image, limits)
        rgb_hwc_u8, checksum_n[frame_idx] = read_image(image)
        if (used := _used_bits(image)) is not None:
            bits.add(used)
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
    return ImageScan(index, first_hw[1], first_hw[0], max(bits, default=None))


class ImageFrames:
    """Gives the frames of a folder that was scanned."""

    def __init__(
        self, images: Sequence[Path], index: FrameIndex, *, stretch_bits: int | None = None
    ) -> None:
        self._images = images
        self._index = index
        self._stretch_bits = stretch_bits

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
            rgb_hwc_u8, checksum = read_image(
                self._images[frame_idx], stretch_bits=self._stretch_bits
            )
            if checksum != self._index.checksum_n[frame_idx]:
                raise VideoError(
                    f"frame {frame_idx}, {str(self._images[frame_idx])!r}, changed after it was "
                    "first read: leave the folder alone while it is tracked, then run again"
                )
            yield Frame(frame_idx, int(self._index.pts_n[frame_idx]), rgb_hwc_u8)


def is_picture(name: str) -> bool:
    """Whether a file is called as a picture, of a kind that is read or another one."""
    return Path(name).suffix.lower() in {*_SUFFIXES, *_OTHER_PICTURES}
