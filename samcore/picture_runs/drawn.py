"""Drawn pictures of a shard, in one file; and which of them are on the contact sheet."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.disk.atomic import AtomicFile, storage_errors
from samcore.drawing import Patch, draw_patches
from samcore.errors import StorageError
from samcore.picture_runs.table import PictureRow

SHEET = 60
"""Pictures on the contact sheet at most."""
SHEET_SIDE = 320
"""Pixels of their longer side."""
_MOST_SIDE = 65_500
"""A JPEG's, as libjpeg writes it."""
_MOST_TAGS = 20
"""Of more masks on a picture numbers would hide what is below them."""
_QUALITY, _SHEET_QUALITY = 90, 75


def sheet_places(count: int) -> frozenset[int]:
    """Which pictures of a list are on the contact sheet: all, or evenly spread over it."""
    if count <= SHEET:
        return frozenset(range(count))
    return frozenset(round(at * (count - 1) / (SHEET - 1)) for at in range(SHEET))


def draw_rows(image_rgb_hwc_u8: NDArray[np.uint8], rows: Sequence[PictureRow]) -> NDArray[np.uint8]:
    """A picture, H x W x 3, with its masks drawn in, smaller ones on top."""
    shown = sorted((row for row in rows if row.area), key=lambda row: (-row.area, row.object_id))
    return draw_patches(
        image_rgb_hwc_u8,
        (Patch(row.object_id, row.x, row.y, row.crop()) for row in shown),
        labels={row.object_id: row.label for row in shown if row.label},
        scores={row.object_id: row.score for row in shown if row.label},
        tags=len(shown) <= _MOST_TAGS,
    )


class DrawnPictures:
    """Writes drawn pictures into a tar file; a context manager.

    overlay/12.jpg   the picture at place 12 of the list, in its full size
    sheet/12.jpg     the same for the contact sheet, small
    """

    def __init__(self, path: Path) -> None:
        """Nothing is written before the block is entered."""
        self._path = path

    def __enter__(self) -> "DrawnPictures":
        with storage_errors(self._path, "write"):
            self._target = AtomicFile(self._path)
        self._tar = tarfile.open(fileobj=self._target.file, mode="w")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with storage_errors(self._path, "write"):
                    self._tar.close()
                    self._target.commit()
        finally:
            self._target.discard()

    def add(
        self, index: int, drawn_rgb_hwc_u8: NDArray[np.uint8], *, full: bool, sheet: bool
    ) -> None:
        """Add a drawn picture.

        Args:
            index: Its place in the list.
            drawn_rgb_hwc_u8: H x W x 3.
            full: Whether it is kept in its full size, as far as a JPEG may have it.
            sheet: Whether it is on the contact sheet.
        """
        if full:
            self._write(f"overlay/{index}.jpg", _jpeg(drawn_rgb_hwc_u8, _QUALITY, side=_MOST_SIDE))
        if sheet:
            small = _jpeg(drawn_rgb_hwc_u8, _SHEET_QUALITY, side=SHEET_SIDE)
            self._write(f"sheet/{index}.jpg", small)

    def _write(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        with storage_errors(self._path, "write"):
            self._tar.addfile(member, io.BytesIO(data))


def read_drawn(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Each drawn picture of a shard: `overlay` or `sheet`, its place in the list, the JPEG.

    Raises:
        StorageError: The file is damaged.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                kind, _, name = member.name.partition("/")
                file = tar.extractfile(member)
                if file is not None:
                    yield kind, int(name.removesuffix(".jpg")), file.read()
    except (OSError, ValueError, tarfile.TarError) as error:
        raise StorageError(f"cannot read {path}: it is damaged; run again") from error


def _jpeg(rgb_hwc_u8: NDArray[np.uint8], quality: int, *, side: int) -> bytes:
    """A picture as JPEG, made smaller if its longer side has more pixels than `side`."""
    height, width = rgb_hwc_u8.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        small_wh = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(rgb_hwc_u8, small_wh, interpolation=cv2.INTER_AREA)
        rgb_hwc_u8 = np.asarray(small, np.uint8)
    bgr = cv2.cvtColor(rgb_hwc_u8, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("this build of OpenCV writes no JPEG")
    return data.tobytes()
