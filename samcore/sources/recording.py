"""The files of one recording that lies in several, in order.

longtake track a.mp4 b.mp4 --join        the files themselves
longtake track parts.txt --join          a list: a path or address a line; paths are relative to it
longtake track card/ --join              the videos of a folder, numbers in names by their value
longtake track s3://bucket/card/ --join  the same below a prefix
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from samcore.errors import InputError
from samcore.sources.listing import Bucket
from samcore.sources.videos import list_videos

LIST_SUFFIX = ".txt"
_MAX_LIST_BYTES = 16 * 1024 * 1024


def recording_parts(asked: Sequence[str], bucket: Bucket | None = None) -> list[str]:
    """Find the files that are meant: absolute paths and addresses, one at least.

    Args:
        asked: What a person names, in order: see above; tables and patterns, too.
        bucket: Asked for what begins with `s3://`.

    Raises:
        InputError: Nothing is there, a list cannot be read, or a file is named twice.
        StorageError: A bucket does not answer, or refuses.
    """
    named = [part for text in asked for part in _listed(text)]
    found = list_videos(named, columns=(), bucket=bucket)
    if found.repeated:
        raise InputError(
            f"{', '.join(asked)}: a file is named more than once: wanted each part of the "
            "recording once, in order"
        )
    return [file.place for file in found.files]


def _listed(text: str) -> Iterator[str]:
    """The lines of a list, or what was named itself."""
    path = Path(text).expanduser()
    if "://" in text or path.suffix.lower() != LIST_SUFFIX:
        yield text
        return
    try:
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise InputError(f"the list {text} has more than {_MAX_LIST_BYTES:,} bytes")
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read the list {text}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(
            f"the list {text} is no text in UTF-8: wanted a path or address a line"
        ) from error
    for line in filter(None, map(str.strip, lines)):
        if not line.startswith("#"):
            yield line if "://" in line else str(path.parent / Path(line).expanduser())
