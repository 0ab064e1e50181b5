"""A lossless video whose pixels are objects' numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.exports import Progress
from samcore.exports.flatten import paint
from samcore.exports.source import ExportSource, numbering, write_objects
from samcore.video import NUMBERS_8, NUMBERS_16, VideoWriter

MAX_OBJECTS = 65535
_MAX_IN_8_BITS = 255


def write_mask_video(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `masks.mkv`, FFV1 with one grey channel, and `objects.json`, which says what object a
    pixel's value is; 0 is none. Of a folder of pictures, or where not all frames were
    tracked, `frames.json` says which one a frame is.

    8 bits a pixel, or 16 where values above 255 are in use. A frame for each that was tracked, with
    its time from the first one on (to the millisecond, as Matroska has it). Where masks overlap, a
    pixel belongs to the object with the higher score.

    Raises:
        InputError: More than 65535 objects.
    """
    numbers = number_objects(masklets.object_ids, masklets.labels)
    write_objects(folder / "objects.json", masklets, numbers)
    masklets.pictures().write_places(folder / "frames.json", masklets)
    video = masklets.video
    size_hw = (video.height, video.width)
    fits_8 = max(numbers.values(), default=0) <= _MAX_IN_8_BITS
    canvas: NDArray[Any] = np.empty(size_hw, np.uint8 if fits_8 else np.uint16)
    first_pts = None
    last = -1
    with VideoWriter(
        folder / "masks.mkv",
        width=video.width,
        height=video.height,
        rate=video.avg_rate,
        time_base=video.time_base,
        codec=NUMBERS_8 if fits_8 else NUMBERS_16,
    ) as writer:
        for frame, pts, rows in masklets.timed_frames():
            first_pts = pts if first_pts is None else first_pts
            last = max(pts - first_pts, last + 1)  # in a broken video times may repeat
            writer.write(paint(canvas, rows, numbers), pts=last)
            on_progress(masklets.done(frame), masklets.num_frames)


def number_objects(object_ids: Sequence[int], labels: Mapping[int, str]) -> dict[int, int]:
    """The value of each object's pixels; labels do not matter.

    Raises:
        InputError: More than 65535 objects.
    """
    try:
        return numbering(object_ids, MAX_OBJECTS)
    except ValueError as error:
        raise InputError(
            f"mask-video holds {MAX_OBJECTS} objects at most, this result has "
            f"{len(object_ids)}: use coco-video"
        ) from error
