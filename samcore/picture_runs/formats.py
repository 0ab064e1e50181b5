"""A result of pictures in the formats that the next tool in line reads.

The names of the formats are here, and cost no import; each writer is imported when it is used.
"""

from dataclasses import dataclass

from samcore.registry import Entry, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFormat(Entry):
    """A format. Its home is a function that writes `PictureSource` into a folder."""


PICTURE_FORMATS = Registry(
    "format",
    "longtake.picture_exports",
    PictureFormat,
    [
        PictureFormat(
            name="coco",
            about="COCO JSON: an annotation a mask, as run lengths",
            home="samcore.picture_runs.writers:write_coco",
        ),
        PictureFormat(
            name="label-png",
            about="a PNG a picture, in which a pixel has the number of its object",
            home="samcore.picture_runs.writers:write_label_png",
        ),
        PictureFormat(
            name="mask-png",
            about="a PNG a mask, white on black",
            home="samcore.picture_runs.writers:write_mask_png",
        ),
    ],
)
"""The formats, by name."""
