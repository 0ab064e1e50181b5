"""CVAT for video 1.1: a mask for each frame and object (docs.cvat.ai, "XML annotation format").

CVAT has no tracks of masks. Of a `<track>` with masks its importer takes the first one alone, as a
shape on that frame, and one without any stops it; so each mask is a track of its own, which ends on
the next frame, as CVAT's own exporter writes masks (`dump_as_cvat_interpolation` and `load_anno` in
cvat/apps/dataset_manager/formats/cvat.py). What is lost on the way in is a track's group; a mask's
attributes stay, if its label has them in the task: the object's id is one, `object_id`.

CVAT's run lengths go along the rows of the mask's box, not down the picture's columns.
"""

from pathlib import Path
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

from samcore.drawing import object_colour
from samcore.exports import Progress
from samcore.exports.flatten import crop
from samcore.exports.source import ExportSource
from samcore.masks.row_runs import row_runs
from samcore.masks.table import MaskRow

_OBJECT_ID = (
    "<attribute><name>object_id</name><mutable>False</mutable><input_type>text</input_type>"
    "<default_value></default_value><values></values></attribute>"
)


def write_cvat_xml(masklets: ExportSource, folder: Path, on_progress: Progress) -> None:
    """Write `annotations.xml`, to be imported into a task of the whole video.

    Masks may overlap; those of later ids lie on top. Frame after frame, by ascending id; nothing
    where an object is absent.
    """
    labels = {number: quoteattr(masklets.label(number)) for number in masklets.object_ids}
    z_orders = {number: place for place, number in enumerate(masklets.object_ids)}
    num_tracks = 0
    with (folder / "annotations.xml").open("w", encoding="utf-8") as out:
        _write_head(out, masklets)
        for frame, rows in masklets.frames():
            for row in rows:
                if row.area:
                    label = labels[row.object_id]
                    out.write(f'  <track id="{num_tracks}" label={label} source="file">\n')
                    mask = _mask(row, z_orders[row.object_id])
                    _write_keyframe(out, frame, mask, outside=False)
                    if frame + 1 < masklets.video.num_frames:
                        _write_keyframe(out, frame + 1, mask, outside=True)
                    out.write("  </track>\n")
                    num_tracks += 1
            on_progress(masklets.done(frame), masklets.num_frames)
        out.write("</annotations>\n")


def _write_head(out: TextIO, masklets: ExportSource) -> None:
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
        out.write(f"<type>mask</type><attributes>{_OBJECT_ID}</attributes></label>\n")
    out.write("      </labels>\n      <original_size>\n")
    out.write(f"        <width>{video.width}</width>\n        <height>{video.height}</height>\n")
    out.write("      </original_size>\n    </task>\n  </meta>\n")


def _write_keyframe(out: TextIO, frame: int, mask: str, *, outside: bool) -> None:
    out.write(f'    <mask frame="{frame}" keyframe="1" outside="{int(outside)}" {mask}</mask>\n')


def _mask(row: MaskRow, z_order: int) -> str:
    """The rest of the element, up to its end."""
    runs = ", ".join(map(str, row_runs(crop(row)).tolist()))
    return (
        f'occluded="0" rle="{runs}" left="{row.x}" top="{row.y}" width="{row.w}" '
        f'height="{row.h}" z_order="{z_order}">'
        f'<attribute name="object_id">{row.object_id}</attribute>'
    )
