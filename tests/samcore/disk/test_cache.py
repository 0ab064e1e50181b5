"""One copy of a source a machine, within the bound, and never gone while it is read."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from samcore.disk import cache as download_cache
from samcore.disk.cache import CachedFile, DoesNotFit, DownloadCache
from samcore.errors import StorageError


class Source:
    """Something to download, which counts how often that was done."""

    def __init__(self, identity: str, size: int) -> None:
        self.identity, self.size = identity, size
        self.downloads = 0

    def lease(self, cache: DownloadCache, **options: Any) -> AbstractContextManager[Any]:
        def download(path: Path) -> None:
            self.downloads += 1
            path.write_bytes(self.identity.encode() * (self.size // len(self.identity)))

        return cache.lease(
            self.identity,
            download,
            name="dog.mp4",
            size=self.size,
            label=self.identity,
            **options,
        )

    def read(self, cache: DownloadCache) -> bytes | DoesNotFit:
        with self.lease(cache) as found:
            return found.path.read_bytes() if isinstance(found, CachedFile) else found


def held(folder: Path) -> int:
    """Bytes of all contents in a cache."""
    return sum(path.stat().st_size for path in folder.glob("*/dog.mp4"))


def test_a_source_is_downloaded_once(tmp_path: Path) -> None:
    """The second lease has the first one's file, also through another cache object."""
    source = Source("a", 100)
    assert source.read(DownloadCache(tmp_path, max_bytes=1000)) == b"a" * 100
    assert source.read(DownloadCache(tmp_path, max_bytes=1000)) == b"a" * 100
    assert source.downloads == 1
    assert Source("b", 100).read(DownloadCache(tmp_path, max_bytes=1000)) == b"b" * 100


def test_a_damaged_copy_is_downloaded_again(tmp_path: Path) -> None:
    """A flipped bit, a copy of another source and one of an older version are not believed."""
    a, b = Source("a", 100), Source("b", 100)
    cache = DownloadCache(tmp_path, max_bytes=1000)
    a.read(cache)
    (path,) = tmp_path.glob("*/dog.mp4")
    path.write_bytes(b"a" * 50 + b"b" + b"a" * 49)
    assert a.read(cache) == b"a" * 100
    assert a.downloads == 2

    b.read(cache)
    (other,) = set(tmp_path.glob("*/dog.mp4")) - {path}
    for name in ("dog.mp4", "content.json"):
        shutil.copy(other.with_name(name), path.with_name(name))
    assert a.read(cache) == b"a" * 100
    path.with_name("content.json").unlink()
    download_cache._known_whole.clear()  # as in another process
    assert a.read(cache) == b"a" * 100
    assert (a.downloads, b.downloads) == (4, 1)
    download_cache._known_whole.clear()
    assert b.read(cache) == b"b" * 100
    assert b.downloads == 1


def test_the_least_used_go_first(tmp_path: Path) -> None:
    """Room is made by removing what was not used for longest; the bound is never passed."""
    cache = DownloadCache(tmp_path, max_bytes=300)
    a, b, c, d = (Source(name, 100) for name in "abcd")
    for source in (a, b, c, a, d):
        source.read(cache)
        assert held(tmp_path) <= 300
        time.sleep(0.01)  # or the times of use are the same
    for source in (a, c, d):
        source.read(cache)
    assert [source.downloads for source in (a, b, c, d)] == [1, 1, 1, 1]
    b.read(cache)
    assert b.downloads == 2
    # Neither folders nor locks of what was removed are left.
    assert len(list(tmp_path.glob("*.lock"))) == 3


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    """A source that is being read is not removed for another; that one must be streamed then."""
    cache = DownloadCache(tmp_path, max_bytes=250)
    a, b, c = (Source(name, 100) for name in "abc")
    with a.lease(cache) as first, b.lease(cache):
        assert c.read(cache) == DoesNotFit(size=100, room=50)
        assert first.path.read_bytes() == b"a" * 100
    assert c.read(cache) == b"c" * 100
    assert held(tmp_path) <= 250


def test_what_never_fits_is_not_begun(tmp_path: Path) -> None:
    """A source larger than the bound removes nothing and downloads nothing."""
    cache = DownloadCache(tmp_path, max_bytes=250)
    small, large = Source("a", 100), Source("b", 251)
    small.read(cache)
    assert large.read(cache) == DoesNotFit(size=251, room=250)
    assert large.downloads == 0
    small.read(cache)
    assert small.downloads == 1
    # While one process streams it, another one that asks need not wait.
    with large.lease(cache):
        assert isinstance(large.read(cache), DoesNotFit)


def test_half_of_the_free_disk_is_the_bound(tmp_path: Path) -> None:
    """However large a cache may be, it leaves half of what is free."""
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    found = Source("a", free * 2 // 3).read(DownloadCache(tmp_path, max_bytes=10**18))
    assert isinstance(found, DoesNotFit)
    assert found.room < free * 0.55


def test_a_failed_download_can_be_tried_again(tmp_path: Path) -> None:
    """The error comes through, nothing is in the cache, and the next one may do it."""
    cache = DownloadCache(tmp_path, max_bytes=250)

    def fail(path: Path) -> None:
        (path.parent / f"left-of-{path.name}").write_bytes(b"x" * 10)
        raise StorageError("the disk is full")

    with (
        pytest.raises(StorageError, match="disk is full"),
        cache.lease("a", fail, name="dog.mp4", size=100, label="a"),
    ):
        pass
    assert held(tmp_path) == 0
    assert Source("a", 100).read(cache) == b"a" * 100
    # What others left half is removed when room is needed.
    with pytest.raises(StorageError), cache.lease("b", fail, name="b", size=100, label="b"):
        pass
    assert Source("c", 250).read(cache) == b"c" * 250
    assert not list(tmp_path.glob("*/left-of-b"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "entry.json", "a/b", "x" * 400 + ".mp4", "ü" * 200, "a\0b", "\ud800"]
)
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    """What an object is called neither leaves the folder nor fails."""
    cache = DownloadCache(tmp_path / "cache", max_bytes=250)
    with cache.lease(name, lambda path: Path(path).touch(), name=name, size=0, label="a") as found:
        assert isinstance(found, CachedFile)
        assert found.path.resolve().parent.parent == tmp_path / "cache"
        assert found.path.suffix == (".mp4" if name.endswith(".mp4") else found.path.suffix)


LEASE = """
import sys, time
from pathlib import Path
from samcore.disk.cache import DownloadCache

def download(path):
    print("downloading", flush=True)
    if sys.argv[2] == "when told":
        sys.stdin.readline()
    path.write_bytes(b"content")

cache = DownloadCache(Path(sys.argv[1]), max_bytes=250)
with cache.lease("a", download, name="dog.mp4", size=100, label="a") as found:
    print(found.path.read_text(), flush=True)
    time.sleep(float(sys.argv[3]))
"""


def start(folder: Path, *, download: str, read_s: float) -> "subprocess.Popen[str]":
    """A process that leases `a`, and says what it does."""
    return subprocess.Popen(
        [sys.executable, "-c", LEASE, str(folder), download, str(read_s)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_of_many_processes_downloads(tmp_path: Path) -> None:
    """Processes that ask at once get one download between them; when it is killed, one more."""
    with start(tmp_path, download="when told", read_s=0) as killed:
        assert line(killed) == "downloading"
        with (
            start(tmp_path, download="at once", read_s=60) as one,
            start(tmp_path, download="at once", read_s=60) as two,
        ):
            time.sleep(0.1)
            killed.kill()
            assert sorted([line(one), line(two)]) == ["content", "downloading"]
            one.kill()
            two.kill()


def test_waiting_is_told_and_killed_readers_hold_nothing(tmp_path: Path) -> None:
    """Whoever waits for another's download is told; what a killed process read can be removed."""
    cache = DownloadCache(tmp_path, max_bytes=250)
    told: list[bool] = []

    def tell() -> None:
        told.append(True)
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()

    with start(tmp_path, download="when told", read_s=60) as other:
        assert line(other) == "downloading"
        source = Source("a", 100)  # it waits until the other one has it
        with source.lease(cache, on_wait=tell) as found:
            assert found.path.read_bytes() == b"content"
        assert line(other) == "content"
        assert source.downloads == 0
        assert told == [True]
        assert isinstance(Source("b", 200).read(cache), DoesNotFit)
        other.kill()
    assert Source("b", 200).read(cache) == b"b" * 200
