"""Object storage on a machine with little memory and a full disk."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.faults import FaultProxy

MIB = 1 << 20
ROOT = Path(__file__).parents[3]

MEMORY = """
import hashlib, sys, threading, time
from pathlib import Path
import psutil
from samcore.disk.files import file_record
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

bucket, source, copy = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
store, location, process = ObjectStore(), S3Location(bucket, "k"), psutil.Process()
store.put_bytes(S3Location(bucket, "warm"), b"x" * (1 << 20))
record = file_record(source)
before = peak = process.memory_info().rss
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, process.memory_info().rss)

watcher = threading.Thread(target=watch)
watcher.start()
store.put_file(source, location, sha256=record.sha256)
store.get_file(location, copy)
done.set()
watcher.join()
print((peak - before) >> 20)
"""


@pytest.mark.slow
def test_memory_does_not_depend_on_the_size(bucket: str, tmp_path: Path) -> None:
    """Up and down, a file of any size takes a few parts' memory: less than 60 MiB."""
    size_mib = 200
    with (tmp_path / "in").open("wb") as file:
        file.truncate(size_mib * MIB)

    ended = subprocess.run(
        [sys.executable, "-c", MEMORY, bucket, tmp_path / "in", tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 60
    assert (tmp_path / "out").stat().st_size == size_mib * MIB


FULL_DISK = """
import resource, sys
from pathlib import Path
from samcore.errors import StorageError
from tasks.store.locations import S3Location
from tasks.retries import is_transient
from tasks.store.object_store import ObjectStore

# The kernel refuses to let a file grow past this, as a full disk does.
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    ObjectStore().get_file(S3Location(sys.argv[1], "k"), Path(sys.argv[2]))
except StorageError as error:
    print(is_transient(error), error)
"""


def test_a_full_disk_is_told_and_the_download_goes_on(
    faults: FaultProxy, bucket: str, tmp_path: Path
) -> None:
    """One line that names the file; what has come is used when there is room again."""
    data = hashlib.sha256(b"seed").digest() * (MIB // 16)
    store, location = ObjectStore(), S3Location(bucket, "k")
    store.put_bytes(location, data)
    target = tmp_path / "dog.mp4"

    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, bucket, target, "1500001"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert ended.stdout.startswith(f"False cannot write {target}: the disk is full; free"), ended
    assert not target.exists()
    faults.clear()
    store.get_file(location, target)
    assert target.read_bytes() == data
    assert faults.served == len(data) - 1_500_001
