"""The identity of a source: a digest of its content, never of its name or date."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from samcore.disk.files import hash_file
from samcore.errors import VideoError
from samcore.video.images import list_images

Progress = Callable[[int, int | None], None]
"""Called while a video file is read, with the bytes so far and all of them."""


def source_digest(source: str | Path, *, on_read: Progress | None = None) -> str:
    """Digest a video file's bytes, or the names and bytes of a folder's images.

    A file that was not written to since is not read again in the same process.

    Args:
        source: A video file, or a folder of images.
        on_read: Called while a video file is read.

    Returns:
        "sha256:" and 64 hexadecimal digits.

    Raises:
        VideoError: The source is missing or cannot be read, or it is not clear which of a folder's
            pictures are its frames.
    """
    path = Path(source)
    try:
        if not path.is_dir():
            return _file_digest(_identity(path), on_read)
        whole = hashlib.sha256()
        for image in list_images(path).images:
            whole.update(f"{image.name}\0{_file_digest(_identity(image))}\n".encode())
    except OSError as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"cannot read {str(source)!r}: {error.strerror or error}") from error
    return f"sha256:{whole.hexdigest()}"


_Identity = tuple[Path, int, int, int, int]
_MOST = 4096
_known: dict[_Identity, str] = {}
"""Digests of the files that were read last."""


def _identity(path: Path) -> _Identity:
    """What changes with a file: device and inode, bytes, time of change."""
    stat = path.stat()
    return path.absolute(), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _file_digest(file: _Identity, on_read: Progress | None = None) -> str:
    """Read the whole file, unless this process has."""
    found = _known.get(file)
    if found is None:
        path, size = file[0], file[3]
        tell = None if on_read is None else lambda done: on_read(done, size)
        found = f"sha256:{hash_file(path, tell)[1]}"
        while len(_known) >= _MOST:
            _known.pop(next(iter(_known)), None)
        _known[file] = found
    return found
