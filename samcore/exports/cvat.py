"""CVAT for video 1.1: a track of masks for each object (docs.cvat.ai, "XML annotation format").

CVAT's run lengths go along the rows of the mask's box, not down the picture's columns. A mask holds
until the track's next keyframe; `outside` ends it.
"""

from pathlib import Path
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

from samcore.exports import Progress
from samcore.exports.by_object import RowsByObject
from samcore.exports.exclusive import crop
from samcore.exports.masklets import Masklets
from samcore.masks.row_runs import row_runs
from samcore.masks.table import MaskRow
from samcore.overlay import object_colour


def write_cvat_xml(masklets: Masklets, folder: Path, on_progress: Progress) -> None:
    """Write `annotations.xml`, to be imported into a task of the whole video.

    Masks may overlap; those of later ids lie on top. A keyframe is where the mask changes.
    """
    steps = masklets.num_frames + len(masklets.object_ids)

    def read(done: int, total: int) -> None:
        on_progress(done, steps)

    with (
        RowsByObject(masklets, folder, read) as rows,
        (folder / "annotations.xml").open("w", encoding="utf-8") as out,
    ):
        _write_head(out, masklets)
        for place, object_id in enumerate(masklets.object_ids):
            label = quoteattr(masklets.label(object_id))
            out.write(f'  <track id="{place}" label={label} source="file">\n')
            _write_masks(out, masklets, rows, object_id, z_order=place)
            out.write("  </track>\n")
            on_progress(masklets.num_frames + place + 1, steps)
        out.write("</annotations>\n")


def _write_head(out: TextIO, masklets: Masklets) -> None:
    video = masklets.video
    out.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
    out.write("  <version>1.1</version>\n  <meta>\n    <task>\n")
    out.write(f"      <name>{escape(masklets.sequence)}</name>\n")
    out.write(f"      <size>{video.num_frames}</size>\n")
    out.write("      <mode>interpolation</mode>\n      <overlap>0</overlap>\n")
    out.write("      <start_frame>0</start_frame>\n")
    out.write(f"      <stop_frame>{video.num_frames - 1}</stop_frame>\n")
    out.write("      <frame_filter></frame_filter>\n      <labels>\n")
    for place, name in enumerate(masklets.classes):
        red, green, blue = object_colour(place + 1)
        out.write(f"        <label><name>{escape(name)}</name>")
        out.write(f"<color>#{red:02x}{green:02x}{blue:02x}</color>")
        out.write("<type>mask</type><attributes></attributes></label>\n")
    out.write("      </labels>\n      <original_size>\n")
    out.write(f"        <width>{video.width}</width>\n        <height>{video.height}</height>\n")
    out.write("      </original_size>\n    </task>\n  </meta>\n")


def _write_masks(
    out: TextIO, masklets: Masklets, rows: RowsByObject, object_id: int, *, z_order: int
) -> None:
    shown: MaskRow | None = None
    text = ""
    for row in rows.rows(object_id):
        if row.area and (shown is None or row.counts != shown.counts):
            text = _mask(row, z_order)
            _write_keyframe(out, row.frame, text, outside=False)
            shown = row
        elif not row.area and shown is not None:
            _write_keyframe(out, row.frame, text, outside=True)
            shown = None
    if shown is not None and masklets.stop < masklets.video.num_frames:
        _write_keyframe(out, masklets.stop, text, outside=True)


def _write_keyframe(out: TextIO, frame: int, mask: str, *, outside: bool) -> None:
    out.write(
        f'    <mask frame="{frame}" keyframe="1" outside="{int(outside)}" occluded="0" {mask}>'
        "</mask>\n"
    )


def _mask(row: MaskRow, z_order: int) -> str:
    runs = ", ".join(map(str, row_runs(crop(row)).tolist()))
    return (
        f'rle="{runs}" left="{row.x}" top="{row.y}" width="{row.w}" height="{row.h}" '
        f'z_order="{z_order}"'
    )
