"""Tasks for Label Studio: the video with boxes on a timeline, and each frame with brush masks.

The boxes are for a project about the video, the masks for one about its frames as images: Label
Studio has no masks in videos. Import `video.json` with the labels of `video.xml`, or `brush.json`
with those of `brush.xml`. The addresses in `data` are those of Label Studio's local storage; put
your own in their place.

Label Studio's run lengths are not COCO's: those of Thi.ng's rle-pack, over the four channels of a
picture in reading order, each byte packed bit by bit. They are made here, from the runs of the
mask, and are the very bytes that Label Studio's converter gives for the whole picture; it takes
tens of times longer, since it looks at every pixel of every mask.
"""

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePath
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from samcore.exports import Progress
from samcore.exports.by_object import RowsByObject
from samcore.exports.flatten import crop
from samcore.exports.source import ExportSource
from samcore.masks.row_runs import row_runs_in
from samcore.masks.table import MaskRow

_WORD_BITS = 8
_SIZES = (3, 4, 8, 16)
"""Bits in which a run's length is written; which of the four is written before it."""
_LONGEST = 1 << _SIZES[-1]
_CHANNELS = 4
_INSIDE = 255


def write_label_studio(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `video.json` and `brush.json`, and the labels that they need as `.xml` files.

    Masks may overlap. Boxes have a keyframe on every frame that shows the object.
    """
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in masklets.classes)
    rate = float(masklets.video.avg_rate)
    (folder / "video.xml").write_text(
        f'<View>\n  <Labels name="label" toName="video">\n{labels}  </Labels>\n'
        f'  <Video name="video" value="$video" framerate="{rate:g}"/>\n'
        '  <VideoRectangle name="box" toName="video"/>\n</View>\n',
        "utf-8",
    )
    (folder / "brush.xml").write_text(
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="brush" toName="image">\n{labels}  </BrushLabels>\n</View>\n',
        "utf-8",
    )
    steps = 2 * masklets.num_frames

    def read(done: int, total: int) -> None:
        on_progress(done, steps)

    _write_timeline(masklets, folder, read)
    _write_brushes(masklets, folder, on_progress, steps)


def _write_timeline(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    with (
        RowsByObject(masklets, folder, on_progress) as rows,
        (folder / "video.json").open("w", encoding="utf-8") as out,
    ):
        out.write('[{"data": ' + _json({"video": _address(masklets)}) + ', "predictions": [')
        out.write('{"model_version": "longtake", "result": [')
        is_first = True
        for object_id in masklets.object_ids:
            keyframes = _keyframes(masklets, rows, object_id)
            first = next(keyframes, None)
            if first is None:
                continue  # never seen: a timeline without a keyframe is none
            region = {
                "id": f"object-{object_id}",
                "type": "videorectangle",
                "from_name": "box",
                "to_name": "video",
                "origin": "prediction",
            }
            out.write(("\n" if is_first else ",\n") + _json(region)[:-1])
            value = {
                "framesCount": masklets.video.num_frames,
                "duration": masklets.video.duration_s,
                "labels": [masklets.label(object_id)],
            }
            out.write(', "value": ' + _json(value)[:-1] + ', "sequence": [' + _json(first))
            for keyframe in keyframes:
                out.write(", " + _json(keyframe))
            out.write("]}}")
            is_first = False
        out.write("\n]}]}]\n")


def _keyframes(
    masklets: ExportSource, rows: RowsByObject, object_id: int
) -> Iterator[dict[str, object]]:
    """The object's boxes; `enabled` is false on the last one before it is absent."""
    held: tuple[MaskRow, dict[str, object]] | None = None
    for row in rows.rows(object_id):
        if not row.area:
            continue
        if held is not None:
            goes_on = masklets.done(row.frame) == masklets.done(held[0].frame) + 1
            yield {**held[1], "enabled": goes_on}
        held = row, _keyframe(masklets, row)
    if held is not None:
        yield {**held[1], "enabled": held[0].frame == masklets.video.num_frames - 1}


def _keyframe(masklets: ExportSource, row: MaskRow) -> dict[str, object]:
    video = masklets.video
    time_s = (row.pts - video.start_pts) * video.time_base
    return {
        "frame": row.frame + 1,
        "time": round(float(time_s), 6),
        "x": 100 * row.x / row.width,
        "y": 100 * row.y / row.height,
        "width": 100 * row.w / row.width,
        "height": 100 * row.h / row.height,
        "rotation": 0,
    }


def _write_brushes(masklets: ExportSource, folder: Path, on_progress: Progress, steps: int) -> None:
    with (folder / "brush.json").open("w", encoding="utf-8") as out:
        pictures = masklets.pictures()
        out.write("[")
        for frame, rows in masklets.frames():
            result = [_brush(masklets, row) for row in rows if row.area]
            task = {
                "data": {"image": _local(pictures.path(frame))},
                "predictions": [{"model_version": "longtake", "result": result}],
            }
            out.write(("\n" if frame == masklets.start else ",\n") + _json(task))
            on_progress(masklets.num_frames + masklets.done(frame), steps)
        out.write("\n]\n")


def _brush(masklets: ExportSource, row: MaskRow) -> dict[str, object]:
    return {
        "id": f"object-{row.object_id}",
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "original_width": row.width,
        "original_height": row.height,
        "image_rotation": 0,
        "score": round(row.confidence, 6),
        "value": {
            "format": "rle",
            "rle": brush_rle(row).tolist(),
            "brushlabels": [masklets.label(row.object_id)],
        },
    }


def brush_rle(row: MaskRow) -> NDArray[np.uint8]:
    """The mask as Label Studio's brush has it, as bytes.

    Raises:
        StorageError: The mask is damaged.
    """
    runs = row_runs_in(crop(row), (row.x, row.y), (row.height, row.width)) * _CHANNELS
    values = np.where(np.arange(len(runs)) % 2, _INSIDE, 0)
    is_there = runs > 0
    words, widths = _series(runs[is_there], values[is_there])
    sizes = [(size - 1, 4) for size in _SIZES]
    head = [(row.height * row.width * _CHANNELS, 32), (_WORD_BITS - 1, 5), *sizes]
    words = np.concatenate([np.array([word for word, _ in head]), words])
    widths = np.concatenate([np.array([width for _, width in head]), widths])
    return _pack(words, widths)


def _series(
    lengths: NDArray[np.int64], values: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The word of each run, and its width in bits: 1, which of the sizes, length less 1, value."""
    size = np.minimum(np.searchsorted([1 << bits for bits in _SIZES], lengths), len(_SIZES) - 1)
    # Runs that are too long for 16 bits are cut; the last piece, too, is written in that size.
    pieces = (lengths - 1) // _LONGEST + 1
    cut = np.full(pieces.sum(), _LONGEST, np.int64)
    cut[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST
    size, value = np.repeat(size, pieces), np.repeat(values, pieces)
    bits = np.array(_SIZES)[size]
    words = ((((1 << 2) | size) << bits | (cut - 1)) << _WORD_BITS) | value
    return words, 3 + bits + _WORD_BITS


def _pack(words: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The lowest `widths` bits of each word one after another, highest first, as bytes."""
    last = np.cumsum(widths)
    # How far each bit is from the lowest of its own word.
    shift = np.repeat(last, widths) - np.arange(last[-1]) - 1
    bits = ((np.repeat(words, widths) >> shift) & 1).astype(np.uint8)
    # As the converter does: a whole byte of zeros where the last one is full already.
    return np.packbits(np.append(bits, np.zeros(8 - len(bits) % 8, np.uint8)))


def _address(masklets: ExportSource) -> str:
    source = masklets.video.source
    if "://" in source:
        return source
    return _local(PurePath(source).name)


def _local(name: str) -> str:
    return f"/data/local-files/?d={urllib.parse.quote(name)}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
