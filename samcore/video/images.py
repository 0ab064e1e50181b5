"""A folder of images, one per frame: JPEG, PNG, BMP, TIFF or WebP."""

import copy
import io
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

from samcore.errors import PictureError, VideoError
from samcore.images.picture import decode_picture, stretched
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.text import natural_order
from samcore.video.frame import Frame
from samcore.video.index import FrameIndex
from samcore.video.picking import within

IMAGE_RATE = Fraction(25)
"""Frames per second that a folder is taken to have, since images say nothing of time."""

_SUFFIXES = {
    **{".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP"},
    **{".tif": "TIFF", ".tiff": "TIFF", ".webp": "WebP"},
}
"""Kinds of pictures by the endings of their names; the one that is read before others is first."""
_BY_OPENCV = ("JPEG", "PNG")
"""Results have masks of these since the first version: their pixels stay as they are to the last
bit. Other kinds are read by `samcore.images.picture`, the reader of single pictures."""
PICTURE_KINDS = "JPEG, PNG, BMP, TIFF or WebP"
_OTHER_PICTURES = {
    *(".gif", ".jp2", ".jpe", ".jfif", ".avif", ".heic"),
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

    One kind of picture is read. If there are several kinds, it is the one that has a picture of
    every name that the others have, and the first one in `PICTURE_KINDS` if that holds for more: a
    mask or a thumbnail may lie beside each frame. Hidden files are passed over. Equal numbers, as
    in `1.png` and `01.png`, go by name.

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
                f"no {PICTURE_KINDS} images in the folder {str(folder)!r}, but {found}: convert "
                "them"
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
        f"kind, {PICTURE_KINDS}"
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
    """Name the kind of a frame: `jpeg`, `png`, `bmp`, `tiff` or `webp`."""
    return _SUFFIXES[image.suffix.lower()].lower()


@dataclass(frozen=True, slots=True, eq=False)
class _ReadImage:
    """One image of a folder."""

    rgb_hwc_u8: NDArray[np.uint8]
    """The picture, H x W x 3."""
    used_bits: int | None
    """How many of its 16 bits it uses; None if it has no 16."""


def _read_image(
    path: Path, data: bytes, limits: Limits, *, stretch_bits: int | None = None
) -> _ReadImage:
    """Decode one image, turned as its EXIF orientation says.

    Deeper than 8 bits is reduced to 8, grey is spread over three channels. The alpha of a PNG is
    left out; what is transparent in other kinds is laid over white.

    Args:
        path: The file.
        data: What is in it.
        limits: How large it may be; held against it before there is memory for the pixels.
        stretch_bits: Of 16 bits take only the lowest ones, this many, and reduce those to 8; None
            is all 16. Pictures of 8 bits stay as they are.

    Raises:
        InputError: It is larger.
        VideoError: It is no image, or holds several.
    """
    if _SUFFIXES[path.suffix.lower()] not in _BY_OPENCV:
        return _by_picture_reader(path, data, limits, stretch_bits)
    _check_size(path, data, limits)
    deep = _decoded(path, data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if _is_deep(data) else None
    if deep is None or stretch_bits is None:
        bgr = _decoded(path, data, cv2.IMREAD_COLOR)
    else:
        bgr = stretched(deep.astype(np.uint32), stretch_bits)
    rgb: NDArray[np.uint8] = np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
    return _ReadImage(rgb, None if deep is None else int(deep.max()).bit_length())


def _by_picture_reader(
    path: Path, data: bytes, limits: Limits, stretch_bits: int | None
) -> _ReadImage:
    try:
        picture = decode_picture(data, name=str(path), limits=limits, stretch_bits=stretch_bits)
    except PictureError as error:
        raise VideoError(str(error)) from error
    if picture.pictures > 1:
        raise VideoError(
            f"{str(path)!r} holds {picture.pictures} pictures; wanted one for each frame: split it"
        )
    return _ReadImage(picture.image_rgb_hwc_u8, picture.used_bits)


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


def _check_size(path: Path, data: bytes, limits: Limits) -> None:
    """Hold the size that an image claims against the limit, before there is memory for it."""
    for kind in (JpegImageFile, PngImageFile):
        try:
            with kind(io.BytesIO(data)) as image:
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
        raise VideoError(f"no {PICTURE_KINDS} images in the folder {str(folder)!r}")
    checksum_n = np.zeros(len(images), np.uint32)
    first_hw = (0, 0)
    bits: set[int] = set()
    for frame_idx, image in enumerate(images):
        data = _bytes_of(image)
        read = _read_image(image, data, limits)
        checksum_n[frame_idx] = zlib.adler32(data)
        if read.used_bits is not None:
            bits.add(read.used_bits)
        size_hw = (read.rgb_hwc_u8.shape[0], read.rgb_hwc_u8.shape[1])
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
        self,
        images: Sequence[Path],
        index: FrameIndex,
        *,
        stretch_bits: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._images = images
        self._index = index
        self._stretch_bits = stretch_bits
        self._limits = limits
        self._numbers_m: NDArray[np.int64] | None = None

    def only(self, numbers_m: NDArray[np.int64]) -> "ImageFrames":
        """Other images are not read."""
        picked = copy.copy(self)
        picked._numbers_m = numbers_m
        return picked

    def frames(
        self, start: int, stop: int, *, stopping: threading.Event, stall_s: float
    ) -> Generator[Frame, None, None]:
        """Give frames [start, stop); ends early when `stopping` is set.

        Raises:
            VideoError: An image is no longer the one that was scanned.
        """
        numbers: Sequence[int] = range(start, stop)
        if self._numbers_m is not None:
            numbers = within(self._numbers_m, start, stop).tolist()
        for frame_idx in numbers:
            if stopping.is_set():
                return
            image = self._images[frame_idx]
            data = _bytes_of(image)
            if zlib.adler32(data) != self._index.checksum_n[frame_idx]:
                raise VideoError(
                    f"frame {frame_idx}, {str(image)!r}, changed after it was "
                    "first read: leave the folder alone while it is tracked, then run again"
                )
            read = _read_image(image, data, self._limits, stretch_bits=self._stretch_bits)
            yield Frame(frame_idx, int(self._index.pts_n[frame_idx]), read.rgb_hwc_u8)


def is_picture(name: str) -> bool:
    """Whether a file is called as a picture, of a kind that is read or another one."""
    return Path(name).suffix.lower() in {*_SUFFIXES, *_OTHER_PICTURES}
