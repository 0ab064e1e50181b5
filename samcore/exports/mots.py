"""The formats of MOTS Challenge and of MOT Challenge (motchallenge.net).

In MOTS an object is `1000 * class + number`, and no two masks share a pixel. Classes 1 (car) and 2
(pedestrian) are the challenge's, and 10 marks regions to be ignored; other labels get the classes
from 3 on by their names' order. Frames count from 1; of a folder of pictures they have the numbers
in the pictures' names, if all have one, and `frames.json` says which picture each is.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from samcore.errors import InputError
from samcore.exports import Progress
from samcore.exports.flatten import exclusive_rles, paint
from samcore.exports.source import NO_LABEL, ExportSource, numbering, write_objects

_CLASSES = {"car": 1, "pedestrian": 2, "person": 2}
_IGNORE = 10
_PER_CLASS = 1000
_MAX_CLASS = 64
"""64999 is the last number that fits 16 bits with all of its class."""
_DIGITS = 6
_PNG = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""Masks are runs of one value: half the time of OpenCV's general packing, and smaller files."""


def write_mots_png(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `instances/<video>/000001.png` and so on, or named like the pictures of a folder, 16
    bits a pixel, and `objects.json`.

    Where masks overlap, a pixel belongs to the object with the higher score.

    Raises:
        InputError: More objects of a class, or more classes, than the format can number.
    """
    numbers = mots_numbers(masklets)
    images = folder / "instances" / masklets.sequence
    images.mkdir(parents=True)
    write_objects(folder / "objects.json", masklets, numbers)
    canvas = np.empty((masklets.video.height, masklets.video.width), np.uint16)
    pictures = masklets.pictures()
    for frame, rows in masklets.frames():
        _, data = cv2.imencode(".png", paint(canvas, rows, numbers), _PNG)
        name = f"{pictures.stem(frame, first=1, digits=_DIGITS)}.png"
        (images / name).write_bytes(data.tobytes())
        on_progress(masklets.done(frame), masklets.num_frames)


def write_mots_txt(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `<video>.txt`, a line a frame and object: frame, object, class, height, width, mask;
    and `objects.json`.

    Where masks overlap, a pixel belongs to the object with the higher score.

    Raises:
        InputError: More objects of a class, or more classes, than the format can number.
    """
    numbers = mots_numbers(masklets)
    write_objects(folder / "objects.json", masklets, numbers)
    pictures = masklets.pictures()
    pictures.write_places(folder / "frames.json", masklets)
    with (folder / f"{masklets.sequence}.txt").open("w", encoding="ascii") as out:
        for frame, rows in masklets.frames():
            place = pictures.number(frame)
            for object_id, rle in exclusive_rles(rows).items():
                number = numbers[object_id]
                out.write(
                    f"{place} {number} {number // _PER_CLASS} {rle.height} {rle.width} "
                    f"{rle.counts.decode('ascii')}\n"
                )
            on_progress(masklets.done(frame), masklets.num_frames)


def write_mot_txt(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `<video>.txt`, a line a frame and object: frame, object, left, top, width, height,
    confidence, and three times -1 for the place in the world; and `objects.json`.

    Frames, objects and pixels count from 1, as in that challenge's own files.
    """
    numbers = numbering(masklets.object_ids, 2**53)
    write_objects(folder / "objects.json", masklets, numbers)
    pictures = masklets.pictures()
    pictures.write_places(folder / "frames.json", masklets)
    with (folder / f"{masklets.sequence}.txt").open("w", encoding="ascii") as out:
        for frame, rows in masklets.frames():
            place = pictures.number(frame)
            for row in rows:
                if row.area:
                    out.write(
                        f"{place},{numbers[row.object_id]},{row.x + 1},{row.y + 1},"
                        f"{row.w},{row.h},{row.confidence:.6f},-1,-1,-1\n"
                    )
            on_progress(masklets.done(frame), masklets.num_frames)


def mots_numbers(masklets: ExportSource) -> dict[int, int]:
    """`number_objects` of a result."""
    return number_objects(masklets.object_ids, masklets.labels)


def number_objects(object_ids: Sequence[int], labels: Mapping[int, str]) -> dict[int, int]:
    """`1000 * class + number` of each object.

    Within a class the number is the object's id, if all of the class have ids from 1 to 999.

    Raises:
        InputError: There are too many objects or classes.
    """
    others = _other_classes()
    label_of = {object_id: labels.get(object_id, NO_LABEL) for object_id in object_ids}
    class_of = {
        name: _CLASSES[name.lower()] if name.lower() in _CLASSES else next(others)
        for name in sorted(set(label_of.values()))
    }
    members: dict[int, list[int]] = {}
    for object_id, label in label_of.items():
        members.setdefault(class_of[label], []).append(object_id)
    numbers: dict[int, int] = {}
    for number, ids in members.items():
        if number > _MAX_CLASS or len(ids) >= _PER_CLASS:
            raise InputError(
                f"MOTS numbers {_PER_CLASS - 1} objects of one class and {_MAX_CLASS} classes at "
                f"most, this result has {len(object_ids)} objects of {len(class_of)} "
                "labels: use coco-video or mask-video"
            )
        for object_id, place in numbering(ids, _PER_CLASS - 1).items():
            numbers[object_id] = _PER_CLASS * number + place
    return numbers


def _other_classes() -> Iterator[int]:
    number = max(_CLASSES.values())
    while True:
        number += 1
        if number != _IGNORE:
            yield number
