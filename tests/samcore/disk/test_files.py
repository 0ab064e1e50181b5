"""Files are whole or absent; locks end with their holder."""

import subprocess
import sys
from pathlib import Path

import pytest

from samcore.disk import files
from samcore.disk.files import exclusive, file_record, is_intact, write_atomic
from samcore.errors import StorageError

_HOLD = """
import sys, time
from pathlib import Path
from samcore.disk.files import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

_FILL = """
import resource, signal, sys
from pathlib import Path
from samcore.disk.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_atomic(Path(sys.argv[1]), b"x" * 5000)
"""


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """A second process waits for the lock, says so once, and has it when the first is killed."""
    lock = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock)], stdout=subprocess.PIPE, text=True
    )
    said: list[str] = []

    def on_wait() -> None:
        said.append("waiting")
        holder.kill()

    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with exclusive(lock, on_wait=on_wait):
            assert said == ["waiting"]
    finally:
        holder.kill()
        holder.communicate()


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """When a file cannot be written whole, the one before stays, with nothing beside it."""
    path = tmp_path / "file"
    write_atomic(path, b"old")
    run = subprocess.run(
        [sys.executable, "-c", _FILL, str(path)], capture_output=True, text=True, check=False
    )
    assert "StorageError: cannot write" in run.stderr.splitlines()[-1]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_record_shows_a_change(tmp_path: Path) -> None:
    """A file with other bytes of the same length, or none, is not the one that was recorded."""
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    record = file_record(path)
    assert is_intact(path, record)
    path.write_bytes(b"abd")
    assert not is_intact(path, record)
    path.unlink()
    assert not is_intact(path, record)


def test_no_folder_is_one_line(tmp_path: Path) -> None:
    """A file where a folder is wanted is an error that names the path."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        write_atomic(tmp_path / "file" / "inside", b"x")


def test_folders_below_a_private_root_are_the_user_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New ones and one that was open to others; folders elsewhere go by the umask."""
    monkeypatch.setattr(files, "_private", [])
    files.keep_private(lambda: tmp_path / "cache")
    (tmp_path / "cache" / "open").mkdir(parents=True, mode=0o755)
    for name in ("cache/open/new", "cache/runs/one", "elsewhere"):
        files.make_folder(tmp_path / name)
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")}
    assert modes.pop("elsewhere")
    assert modes.pop("cache")
    assert modes == {"open": 0, "new": 0, "runs": 0, "one": 0}
