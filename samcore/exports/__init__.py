"""One run's masks in the formats that the next tool in line reads.

The names of the formats are here, and cost no import; each writer is imported when it is used.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samcore.errors import InputError

if TYPE_CHECKING:
    from samcore.exports.masklets import Masklets
    from samcore.video import VideoSource

Progress = Callable[[int, int], None]
"""Called now and then with the steps done so far and all of them."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format that masks can be written in."""

    name: str
    """As people give it, and the name of its folder."""
    about: str
    """One line for people."""
    home: str
    """Module and function of its writer."""
    needs_video: bool = False
    """Whether the frames themselves are in it."""
    file_per_frame: bool = False
    """Whether it has as many files as the video has frames."""
    has_limit: bool = False
    """Whether it cannot hold any number of objects: `number_objects` in its module says so."""


_ALL = (
    ExportFormat(
        "coco-video", "YouTube-VIS JSON: one annotation a masklet", "coco:write_coco_video"
    ),
    ExportFormat(
        "coco-image", "COCO JSON: one annotation a frame and object", "coco:write_coco_image"
    ),
    ExportFormat(
        "davis-png",
        "palette PNGs in DAVIS layout",
        "davis:write_davis_png",
        file_per_frame=True,
        has_limit=True,
    ),
    ExportFormat(
        "mots-png",
        "16-bit PNGs of MOTS Challenge",
        "mots:write_mots_png",
        file_per_frame=True,
        has_limit=True,
    ),
    ExportFormat("mots-txt", "text of MOTS Challenge", "mots:write_mots_txt", has_limit=True),
    ExportFormat("mot-txt", "boxes as text of MOT Challenge", "mots:write_mot_txt"),
    ExportFormat(
        "cvat-xml", "CVAT for video 1.1: one mask a frame and object", "cvat:write_cvat_xml"
    ),
    ExportFormat(
        "label-studio", "Label Studio tasks: boxes and brushes", "label_studio:write_label_studio"
    ),
    ExportFormat(
        "mask-video", "lossless FFV1 video of ids", "mask_video:write_mask_video", has_limit=True
    ),
    ExportFormat("overlay", "H.264 video to look at", "overlaid:write_overlay_export", True),
)

FORMATS = {item.name: item for item in _ALL}
"""The formats, by name."""


def check_formats(names: Iterable[str]) -> tuple[ExportFormat, ...]:
    """The formats of these names, each once, in the order of their first mention.

    Raises:
        InputError: One is not known; the known ones are listed.
    """
    wanted = tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in FORMATS:
            raise InputError(f"unknown format: got {name!r}, known are {', '.join(FORMATS)}")
    return tuple(FORMATS[name] for name in wanted)


def check_objects(
    names: Iterable[str], object_ids: Sequence[int], labels: Mapping[int, str]
) -> None:
    """Refuse formats that cannot hold these objects, before there is anything to write.

    Args:
        names: Of formats.
        object_ids: All objects, ascending.
        labels: Names of those that have one.

    Raises:
        InputError: A format is not known, or cannot hold them.
    """
    for item in check_formats(names):
        if item.has_limit:
            module = importlib.import_module(f"samcore.exports.{item.home.partition(':')[0]}")
            module.number_objects(object_ids, labels)


def write_export(
    masklets: "Masklets",
    name: str,
    folder: Path,
    *,
    video: "VideoSource | None" = None,
    replace: bool = False,
    on_progress: Progress | None = None,
) -> None:
    """Write masks in one format. The folder is there when all of it is, and not before.

    Holds a few frames, or one masklet's rows at a time; never all of them.

    Args:
        masklets: What to write.
        name: One of `FORMATS`.
        folder: Where to; made, with the folders above it.
        video: The video that was tracked; only for a format that needs it.
        replace: Whether `folder` may be there already; it is replaced as a whole.
        on_progress: Called now and then.

    Raises:
        InputError: The format is not known, cannot hold these objects or lacks its video, or the
            folder is there and is not to be replaced.
        StorageError: The masks cannot be read, or the folder cannot be written.
        VideoError: A frame cannot be read.
    """
    from samcore.exports.folder import NewFolder  # with what follows, some tenths of a second

    (chosen,) = check_formats([name])
    if chosen.needs_video and video is None:
        raise InputError(f"the format {name} shows the video's frames: give the video, too")
    module, _, function = chosen.home.partition(":")
    writer = getattr(importlib.import_module(f"samcore.exports.{module}"), function)
    options = {"video": video} if chosen.needs_video else {}
    with NewFolder(folder, replace=replace) as new:
        writer(masklets, new.path, on_progress or _ignore, **options)


def _ignore(done: int, total: int) -> None:
    """For who does not want to know."""
