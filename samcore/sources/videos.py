"""Lists of videos: what several arguments, a folder, a pattern, a table or a prefix mean.

longtake track a.mp4 b.mkv               two videos
longtake track tapes/                    the videos of a folder, and of folders in it
longtake track frames/                   one video: a folder of pictures
longtake track 'tapes/**/*.mp4'          a pattern
longtake track todo.csv                  a table: source, and options for that video alone
longtake track s3://bucket/tapes/        a prefix
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from samcore.errors import InputError
from samcore.progress import counted
from samcore.sources.listing import Bucket, SourceFile, SourceList, list_sources
from samcore.sources.names import stable_names
from samcore.sources.table import TABLE_SUFFIXES, Said, path_of_row, read_rows
from samcore.video.images import is_picture

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"),
    *(".ts", ".m2ts", ".mts", ".flv", ".wmv", ".mpg", ".mpeg", ".vob", ".mxf"),
)
"""What is taken for a video in folders and prefixes, in small letters."""
SOURCE = "source"
"""The column of a table that names a video."""
ORDERS = ("given", "name", "smallest", "largest")
"""In which order videos of a list are worked on."""
_MAGIC = re.compile(r"[*?\[]")


def means_list(asked: Sequence[str], bucket: Bucket | None = None) -> bool:
    """Whether arguments mean a list of videos, and not one video.

    Args:
        asked: Paths, patterns and addresses.
        bucket: Asked whether an `s3://` address with a `*`, `?` or `[` in it is that of an object.

    Raises:
        InputError: A folder has both videos and pictures, so that nobody knows.
    """
    if len(asked) != 1:
        return True
    (text,) = asked
    if text.startswith("s3://"):
        if text.endswith("/") or text.count("/") < 3 or _is_table(text):
            return True
        return _MAGIC.search(text) is not None and (bucket is None or bucket.mark(text) is None)
    if "://" in text:
        return False
    path = Path(text).expanduser()
    if path.is_dir():
        return not is_one_video(path) and _has_videos(path)
    return _is_table(text) if path.exists() else _MAGIC.search(text) is not None


def list_videos(
    asked: Sequence[str],
    *,
    columns: Sequence[str],
    bucket: Bucket | None = None,
    leave_out: Path | None = None,
) -> SourceList:
    """Find all videos that are meant. Their names stay when others are added behind them.

    Args:
        asked: Files, folders, patterns, tables, `s3://` addresses of these, `https://` addresses.
        columns: What tables may have beside `source`.
        bucket: Asked for what begins with `s3://`.
        leave_out: A folder none of whose files is meant: that of the results.

    Raises:
        InputError: Nothing is there, a table is wrong (which names line and column), a folder has
            both videos and pictures, or there are too many.
        StorageError: A bucket does not answer, or refuses.
    """

    def read(name: str, data: bytes) -> list[tuple[str, Said]]:
        rows: list[tuple[str, Said]] = []
        for where, raw in read_rows(name, data, (SOURCE, *columns)):
            options = {key: value for key, value in raw.items() if key != SOURCE}
            rows.append((path_of_row(raw, SOURCE, where), Said(where=where, options=options)))
        return rows

    return list_sources(
        asked,
        kind="videos",
        suffixes=VIDEO_SUFFIXES,
        bucket=bucket,
        leave_out=leave_out,
        read=read,
        by_row=True,
        is_one=is_one_video,
        schemes=("https://",),
        named=lambda files: stable_names([(file.place, file.root) for file in files]),
    )


def is_one_video(folder: Path) -> bool:
    """Whether a folder is one video, a picture a frame.

    Raises:
        InputError: It has videos, too; or it cannot be read.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"cannot look into the folder {folder}: {error.strerror}") from error
    pictures = [name for name in names if is_picture(name)]
    videos = [name for name in names if name.lower().endswith(VIDEO_SUFFIXES)]
    if pictures and videos:
        raise InputError(
            f"{folder} has {counted(len(pictures), 'picture')} and {counted(len(videos), 'video')}"
            f": is it one video, a picture a frame, or a folder of videos? Name the videos, such "
            f"as '{folder}/*{PurePosixPath(videos[0]).suffix}', or move one kind elsewhere"
        )
    return bool(pictures)


def ordered(files: Sequence[SourceFile], order: str) -> list[SourceFile]:
    """The videos in one of `ORDERS`; those of one size, or of none that is known, stay as given.

    Videos whose size is not known without opening them (addresses of the web) come last.
    """
    if order == "name":
        return sorted(files, key=lambda file: file.name)
    if order == "given":
        return list(files)
    sizes = {file.place: _size(file) for file in files}
    known = [file for file in files if sizes[file.place] is not None]
    rest = [file for file in files if sizes[file.place] is None]
    sign = 1 if order == "smallest" else -1
    return [*sorted(known, key=lambda file: sign * (sizes[file.place] or 0)), *rest]


def _size(file: SourceFile) -> int | None:
    """Bytes; of a folder of pictures all of them."""
    path = Path(file.place)
    if "://" not in file.place and path.is_dir():
        return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
    size = file.mark.partition("-")[0]
    return int(size) if size.isdigit() else None


def _is_table(text: str) -> bool:
    return PurePosixPath(text).suffix.lower() in TABLE_SUFFIXES


def _has_videos(folder: Path) -> bool:
    return any(
        not name.startswith(".") and name.lower().endswith(VIDEO_SUFFIXES)
        for _, _, names in os.walk(folder)
        for name in names
    )
