"""Files that are written whole or not at all."""

import pytest

from samcore.disk.atomic import atomic
from samcore.errors import StorageError, VideoError


def test_atomic_leaves_the_old_file_on_an_error(tmp_path):
    """Whatever is raised in the block, the file is what it was, and nothing lies beside it."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(error: BaseException) -> None:
        with atomic(path) as file:
            file.write(b"new, but not all of it")
            raise error

    for error in (KeyboardInterrupt(), ValueError("no"), OSError(28, "No space left on device")):
        with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
            write(error)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_atomic_replaces_the_file_at_the_end_of_the_block(tmp_path):
    """Until then the old bytes are read."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_atomic_says_what_the_disk_refuses(tmp_path):
    """A folder that is not there is one line; an error of our own goes through as it is."""
    with pytest.raises(StorageError, match="there is no folder"), atomic(tmp_path / "no" / "file"):
        pass
    with pytest.raises(VideoError, match="broken"), atomic(tmp_path / "file"):
        raise VideoError("broken")
