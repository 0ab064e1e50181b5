"""Writes a result of pictures in each of the formats."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samcore.disk.atomic import storage_errors
from samcore.disk.files import make_folder
from samcore.errors import StorageError
from samcore.exports.davis import davis_palette, palette_png
from samcore.exports.source import NO_LABEL
from samcore.picture_runs.records import PictureEntry, PictureRecord
from samcore.picture_runs.table import PictureRow, read_pictures
from samcore.text import file_name

Progress = Callable[[int, int], None]
"""Called with the pictures that are done, and all of them."""
_MOST_PALETTE = 255


@dataclass(frozen=True, slots=True)
class PictureSource:
    """What writers are given."""

    table: Path
    """The masks."""
    entries: Sequence[PictureEntry]
    """All pictures."""
    records: Sequence[PictureRecord]
    """What became of each one."""

    def pictures(self) -> Iterator[tuple[PictureEntry, PictureRecord, list[PictureRow]]]:
        """Each picture that could be read, with its masks by object id, but for empty ones.

        Raises:
            StorageError: The table is damaged.
        """
        found = read_pictures(self.table)
        at, rows = next(found, (-1, []))
        for entry, record in zip(self.entries, self.records, strict=True):
            mine: list[PictureRow] = []
            if at == record.index:
                mine = [row for row in rows if row.area]
                at, rows = next(found, (-1, []))
            if not record.error:
                yield entry, record, mine


def write_coco(source: PictureSource, folder: Path, on_progress: Progress) -> None:
    """Write `annotations.json`: each picture that could be read, and an annotation a mask.

    Categories are the labels; masks without one are `object`. Masks may overlap.
    """
    labels: set[str] = set()
    for _, _, rows in source.pictures():
        labels |= {row.label or NO_LABEL for row in rows}
    category = {label: number for number, label in enumerate(sorted(labels), 1)}
    path = folder / "annotations.json"
    with storage_errors(path, "write"), path.open("w", encoding="utf-8") as out:
        out.write('{"info": {"description": "segmented by Longtake"},\n"images": [')
        for number, (entry, record, _) in enumerate(source.pictures()):
            image = {
                "id": record.index,
                "file_name": entry.name,
                "width": record.width,
                "height": record.height,
            }
            out.write((",\n" if number else "\n") + _json(image))
        categories = [{"id": number, "name": label} for label, number in category.items()]
        out.write(f'\n],\n"categories": {_json(categories)},\n"annotations": [')
        number = 0
        for _, record, rows in source.pictures():
            for row in rows:
                number += 1
                annotation = {
                    "id": number,
                    "image_id": record.index,
                    "category_id": category[row.label or NO_LABEL],
                    "object_id": row.object_id,
                    "segmentation": {
                        "size": [row.height, row.width],
                        "counts": row.counts.decode("ascii"),
                    },
                    "bbox": [row.x, row.y, row.w, row.h],
                    "area": row.area,
                    "iscrowd": 0,
                    "score": round(row.score, 6),
                }
                out.write((",\n" if number > 1 else "\n") + _json(annotation))
            on_progress(record.index + 1, len(source.records))
        out.write("\n]}\n")


def write_label_png(source: PictureSource, folder: Path, on_progress: Progress) -> None:
    """Write a PNG for each picture that could be read: 0 is the ground, else the object's id, in a
    palette; in 16 bits of grey where an id is above 255. Smaller masks lie on top.

    Raises:
        StorageError: A mask is damaged, or an id is above 65535.
    """
    palette = davis_palette()
    for entry, record, rows in source.pictures():
        label_hw = np.zeros((record.height, record.width), np.uint16)
        for row in sorted(rows, key=lambda row: (-row.area, row.object_id)):
            if row.object_id > np.iinfo(np.uint16).max:
                raise StorageError(
                    f"{entry.name}: object {row.object_id} has too large a number for label-png: "
                    "wanted at most 65535; take coco"
                )
            label_hw[row.y : row.y + row.h, row.x : row.x + row.w][_crop(row)] = row.object_id
        path = folder / f"{entry.stem}.png"
        make_folder(path.parent)
        deep = bool(rows) and max(row.object_id for row in rows) > _MOST_PALETTE
        data = _png(label_hw) if deep else palette_png(label_hw.astype(np.uint8), palette)
        with storage_errors(path, "write"):
            path.write_bytes(data)
        on_progress(record.index + 1, len(source.records))


def write_mask_png(source: PictureSource, folder: Path, on_progress: Progress) -> None:
    """Write a folder for each picture that has masks, and in it a PNG a mask: `0001.png`, or
    `0001-dog.png` where it has a label; 255 inside, 0 outside.

    Raises:
        StorageError: A mask is damaged.
    """
    for entry, record, rows in source.pictures():
        for row in rows:
            mask_hw = np.zeros((record.height, record.width), np.uint8)
            mask_hw[row.y : row.y + row.h, row.x : row.x + row.w][_crop(row)] = 255
            label = file_name(row.label or "")[:60]
            name = f"{row.object_id:04d}" + (f"-{label}" if label else "") + ".png"
            path = folder / entry.stem / name
            make_folder(path.parent)
            with storage_errors(path, "write"):
                path.write_bytes(_png(mask_hw))
        on_progress(record.index + 1, len(source.records))


def _crop(row: PictureRow) -> NDArray[np.bool_]:
    try:
        return row.crop()
    except ValueError as error:
        raise StorageError(
            f"cannot read the masks: {row.name}, object {row.object_id}: {error}; run again"
        ) from error


def _png(image_hw: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    done, data = cv2.imencode(".png", image_hw)
    if not done:
        raise RuntimeError("this build of OpenCV writes no PNG")
    return data.tobytes()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
