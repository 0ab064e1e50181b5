"""One run's masks in the formats that the next tool in line reads.

The names of the formats are here, and cost no import; each writer is imported when it is used.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samcore.errors import InputError
from samcore.failures import Failures
from samcore.registry import Entry, Registry

if TYPE_CHECKING:
    from samcore.exports.source import ExportSource
    from samcore.video import VideoSource
    from samcore.video.viewers import Show

Progress = Callable[[int, int], None]
"""Called now and then with the steps done so far and all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat(Entry):
    """A format that masks can be written in. Its home is the function that writes it; its name is
    that of its folder, too."""

    sees_frames: bool = False
    """Whether the frames themselves are in it. Its home then gives a `samcore.video.viewers.Viewer`
    of the frames that were tracked, so that one pass over the video serves all such formats."""
    file_per_frame: bool = False
    """Whether it has as many files as the video has frames."""
    has_limit: bool = False
    """Whether it holds some objects only: `number_objects` in its module refuses the others."""


FORMATS = Registry(
    "format",
    "longtake.exports",
    ExportFormat,
    [
        ExportFormat(
            name="coco-video",
            about="YouTube-VIS JSON: one annotation a masklet",
            home="samcore.exports.coco:write_coco_video",
        ),
        ExportFormat(
            name="coco-image",
            about="COCO JSON: one annotation a frame and object",
            home="samcore.exports.coco:write_coco_image",
        ),
        ExportFormat(
            name="davis-png",
            about="palette PNGs in DAVIS layout",
            home="samcore.exports.davis:write_davis_png",
            file_per_frame=True,
            has_limit=True,
        ),
        ExportFormat(
            name="mots-png",
            about="16-bit PNGs of MOTS Challenge",
            home="samcore.exports.mots:write_mots_png",
            file_per_frame=True,
            has_limit=True,
        ),
        ExportFormat(
            name="mots-txt",
            about="text of MOTS Challenge",
            home="samcore.exports.mots:write_mots_txt",
            has_limit=True,
        ),
        ExportFormat(
            name="mot-txt",
            about="boxes as text of MOT Challenge",
            home="samcore.exports.mots:write_mot_txt",
        ),
        ExportFormat(
            name="cvat-xml",
            about="CVAT for video 1.1: one mask a frame and object",
            home="samcore.exports.cvat:write_cvat_xml",
        ),
        ExportFormat(
            name="label-studio",
            about="Label Studio tasks: boxes and brushes",
            home="samcore.exports.label_studio:write_label_studio",
        ),
        ExportFormat(
            name="mask-video",
            about="lossless FFV1 video of ids",
            home="samcore.exports.mask_video:write_mask_video",
            has_limit=True,
        ),
        ExportFormat(
            name="overlay",
            about="H.264 video to look at",
            home="samcore.exports.overlay:view_overlay",
            sees_frames=True,
        ),
    ],
)
"""The formats, by name."""


def check_formats(names: Iterable[str]) -> tuple[ExportFormat, ...]:
    """The formats of these names, each once, in the order of their first mention.

    Raises:
        InputError: One is not known; the known ones are listed.
    """
    return tuple(FORMATS.get(name) for name in dict.fromkeys(names))


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
            module = importlib.import_module(item.home.partition(":")[0])
            module.number_objects(object_ids, labels)


def write_export(
    masklets: "ExportSource",
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
    if not chosen.sees_frames:
        with NewFolder(folder, replace=replace) as new:
            chosen.load()(masklets, new.path, on_progress or _ignore)
        return
    if video is None:
        raise InputError(f"the format {name} shows the video's frames: give the video, too")
    from samcore.video.tracked import skipping
    from samcore.video.viewers import show_frames

    failures = Failures()
    video = skipping(video, masklets.tracked)
    viewer = view_export(masklets, name, folder, video=video, replace=replace)
    show_frames(video, masklets.start, masklets.stop, [viewer], failures, on_progress=on_progress)
    failures.say()


@contextlib.contextmanager
def view_export(
    masklets: "ExportSource",
    name: str,
    folder: Path,
    *,
    video: "VideoSource",
    replace: bool = False,
) -> "Iterator[Show]":
    """Write a format that sees frames, as a viewer of all frames that were tracked.

    Args and errors are those of `write_export`. The folder is there when the block has ended.
    """
    from samcore.exports.folder import NewFolder

    with (
        NewFolder(folder, replace=replace) as new,
        FORMATS.get(name).load()(masklets, new.path, video) as show,
    ):
        yield show


def _ignore(done: int, total: int) -> None:
    """For who does not want to know."""
