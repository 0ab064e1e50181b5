"""The identity of a source: a digest of its content, never of its name or date."""

import functools
import hashlib
from pathlib import Path

from samcore.disk.files import hash_file
from samcore.errors import VideoError
from samcore.video.images import list_images


def source_digest(source: str | Path) -> str:
    """Digest a video file's bytes, or the names and bytes of a folder's images.

    A file that was not written to since is not read again in the same process.

    Returns:
        "sha256:" and 64 hexadecimal digits.

    Raises:
        VideoError: The source is missing or cannot be read, or it is not clear which of a folder's
            pictures are its frames.
    """
    path = Path(source)
    try:
        if not path.is_dir():
            return _file_digest(*_identity(path))
        whole = hashlib.sha256()
        for image in list_images(path).images:
            whole.update(f"{image.name}\0{_file_digest(*_identity(image))}\n".encode())
    except OSError as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"cannot read {str(source)!r}: {error.strerror or error}") from error
    return f"sha256:{whole.hexdigest()}"


def _identity(path: Path) -> tuple[Path, int, int, int, int]:
    stat = path.stat()
    return path.absolute(), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=4096)
def _file_digest(path: Path, device: int, inode: int, size: int, mtime_ns: int) -> str:
    """Read the whole file; the other arguments make a changed file another cache entry."""
    return f"sha256:{hash_file(path)[1]}"
