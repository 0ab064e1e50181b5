"""COCO's JSON, for videos (one annotation a masklet) and for images (one a frame and object).

The former is that of YouTube-VIS (youtube-vos.org/dataset/vis): run lengths as lists of numbers, as
in its own files, which every reader takes; the latter has COCO's compressed run lengths.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from samcore.exports import Progress
from samcore.exports.by_object import RowsByObject
from samcore.exports.flatten import damaged
from samcore.exports.source import ExportSource
from samcore.masks.rle import run_lengths
from samcore.masks.table import MaskRow

FILE_NAME = "annotations.json"
VIDEO_ID = 1

_Item = TypeVar("_Item")


def write_coco_video(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `annotations.json`: the video, and for each object a list as long as the video, with
    null where the object is absent.

    Masks may overlap. An object's `score` is its mean confidence over the frames that show it.
    """
    steps = masklets.num_frames + len(masklets.object_ids)

    def read(done: int, total: int) -> None:
        on_progress(done, steps)

    with (
        RowsByObject(masklets, folder, read) as rows,
        (folder / FILE_NAME).open("w", encoding="utf-8") as out,
    ):
        out.write('{"info": ' + _json(_info(masklets)) + ',\n"videos": [{')
        out.write(f'"id": {VIDEO_ID}, ')
        out.write(f'"width": {masklets.video.width}, "height": {masklets.video.height}, ')
        out.write(f'"length": {masklets.num_frames}, "file_names": ')
        _write_list(out, _file_names(masklets), _json)
        out.write('}],\n"categories": ' + _json(_categories(masklets)) + ',\n"annotations": [')
        category = _category_ids(masklets)
        for place, object_id in enumerate(masklets.object_ids):
            out.write(",\n" if place else "\n")
            ids = {"id": place + 1, "category_id": category[masklets.label(object_id)]}
            _write_masklet(out, masklets, rows, object_id, ids)
            on_progress(masklets.num_frames + place + 1, steps)
        out.write("\n]}\n")


def write_coco_image(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `annotations.json`: an image for each frame, with the frame's number as its id, and an
    annotation for each object that is in it.

    Masks may overlap. `track_id` is the object's id.
    """
    category = _category_ids(masklets)
    with (folder / FILE_NAME).open("w", encoding="utf-8") as out:
        out.write('{"info": ' + _json(_info(masklets)) + ',\n"images": ')
        _write_list(out, _images(masklets), _json)
        out.write(',\n"categories": ' + _json(_categories(masklets)) + ',\n"annotations": [')
        number = 0
        for frame, rows in masklets.frames():
            for row in rows:
                if not row.area:
                    continue
                number += 1
                annotation = {
                    "id": number,
                    "image_id": frame,
                    "category_id": category[masklets.label(row.object_id)],
                    "track_id": row.object_id,
                    "segmentation": {
                        "size": [row.height, row.width],
                        "counts": row.counts.decode("ascii"),
                    },
                    "bbox": [row.x, row.y, row.w, row.h],
                    "area": row.area,
                    "iscrowd": 0,
                    "score": round(row.confidence, 6),
                    "predicted_iou": round(row.predicted_iou, 6),
                }
                out.write((",\n" if number > 1 else "\n") + _json(annotation))
            on_progress(masklets.done(frame), masklets.num_frames)
        out.write("\n]}\n")


def _write_masklet(
    out: TextIO, masklets: ExportSource, rows: RowsByObject, object_id: int, ids: dict[str, int]
) -> None:
    """One annotation; each of its lists is written while the object's rows are read anew."""
    total, present = 0.0, 0
    for row in rows.rows(object_id):
        if row.area:
            total += row.confidence
            present += 1
    head = {
        **ids,
        "video_id": VIDEO_ID,
        # For pycocotools, which files every annotation under an image.
        "image_id": VIDEO_ID,
        "track_id": object_id,
        "iscrowd": 0,
        "score": round(total / present, 6) if present else 0.0,
        "width": masklets.video.width,
        "height": masklets.video.height,
        "length": masklets.num_frames,
    }
    out.write(_json(head)[:-1])
    lists: tuple[tuple[str, Callable[[MaskRow], object]], ...] = (
        ("bboxes", lambda row: [row.x, row.y, row.w, row.h]),
        ("areas", lambda row: row.area),
        ("segmentations", _segmentation),
    )
    for name, value in lists:
        out.write(f', "{name}": ')
        _write_list(out, _every_frame(masklets, rows.rows(object_id), value), _json)
    out.write("}")


def _every_frame(
    masklets: ExportSource, rows: Iterable[MaskRow], value: Callable[[MaskRow], object]
) -> Iterator[object]:
    """A value for each frame that was tracked, None where the object is absent."""
    present = (row for row in rows if row.area)
    row = next(present, None)
    for frame in masklets.numbers:
        if row is not None and row.frame == frame:
            yield value(row)
            row = next(present, None)
        else:
            yield None


def _segmentation(row: MaskRow) -> object:
    try:
        runs = run_lengths(row.rle)
    except ValueError as error:
        raise damaged(row, error) from error
    return {"size": [row.height, row.width], "counts": runs.tolist()}


def _write_list(out: TextIO, items: Iterable[_Item], text: Callable[[_Item], str]) -> None:
    out.write("[")
    for place, item in enumerate(items):
        if place:
            out.write(", ")
        out.write(text(item))
    out.write("]")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _info(masklets: ExportSource) -> dict[str, str]:
    return {"description": f"{masklets.sequence}, tracked by Longtake"}


def _category_ids(masklets: ExportSource) -> dict[str, int]:
    return {name: number for number, name in enumerate(masklets.classes, 1)}


def _categories(masklets: ExportSource) -> list[dict[str, object]]:
    return [{"id": number, "name": name} for name, number in _category_ids(masklets).items()]


def _file_names(masklets: ExportSource) -> Iterator[str]:
    pictures = masklets.pictures()
    for frame in masklets.numbers:
        yield pictures.path(frame)


def _images(masklets: ExportSource) -> Iterator[dict[str, object]]:
    for frame, name in zip(masklets.numbers, _file_names(masklets), strict=True):
        yield {
            "id": frame,
            "file_name": name,
            "width": masklets.video.width,
            "height": masklets.video.height,
            "frame_id": frame,
        }
