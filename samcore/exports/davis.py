"""Palette PNGs in the layout of DAVIS 2017 (davischallenge.org)."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samcore.errors import InputError
from samcore.exports import Progress
from samcore.exports.flatten import paint
from samcore.exports.source import ExportSource, numbering, write_objects

MAX_OBJECTS = 254
"""0 is the background, and 255 is left out of account by DAVIS's own tools."""
_COMPRESSION = 3
"""Of 9; more takes several times longer and saves little on masks."""


def write_davis_png(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `Annotations/Full-Resolution/<video>/00000.png` and so on, `ImageSets/2017/val.txt` and
    `objects.json`, which says what object an index is.

    A file is named like the picture of a folder, or for the frame's number in the video. Where
    masks overlap, a pixel belongs to the object with the higher score.

    Raises:
        InputError: More than 254 objects.
    """
    numbers = number_objects(masklets.object_ids, masklets.labels)
    images = folder / "Annotations" / "Full-Resolution" / masklets.sequence
    images.mkdir(parents=True)
    sets = folder / "ImageSets" / "2017"
    sets.mkdir(parents=True)
    (sets / "val.txt").write_text(f"{masklets.sequence}\n")
    write_objects(folder / "objects.json", masklets, numbers)
    pictures = masklets.pictures()
    palette = davis_palette()
    canvas = np.empty((masklets.video.height, masklets.video.width), np.uint8)
    for frame, rows in masklets.frames():
        data = palette_png(paint(canvas, rows, numbers), palette)
        (images / f"{pictures.stem(frame)}.png").write_bytes(data)
        on_progress(masklets.done(frame), masklets.num_frames)


def palette_png(index_hw: NDArray[np.uint8], palette: bytes) -> bytes:
    """A PNG file of H x W palette indices."""
    image = Image.fromarray(index_hw)
    image.putpalette(palette)  # makes it a palette image, with the indices as they are
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_COMPRESSION)
    return file.getvalue()


def davis_palette() -> bytes:
    """256 colours as RGB: those of PASCAL VOC, which DAVIS has taken over.

    The bits of an index go, three at a time, to red, green and blue, the lowest to the highest bit
    of each colour.
    """
    index = np.arange(256)
    rgb = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            rgb[:, channel] |= (((index >> (3 * place + channel)) & 1) << (7 - place)).astype(
                np.uint8
            )
    return rgb.tobytes()


def number_objects(object_ids: Sequence[int], labels: Mapping[int, str]) -> dict[int, int]:
    """The index of each object; labels do not matter.

    Raises:
        InputError: More than 254 objects.
    """
    try:
        return numbering(object_ids, MAX_OBJECTS)
    except ValueError as error:
        raise InputError(
            f"davis-png holds {MAX_OBJECTS} objects at most, this result has "
            f"{len(object_ids)}: use mots-png or mask-video"
        ) from error
