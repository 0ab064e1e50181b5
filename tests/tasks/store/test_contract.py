"""What every object store does for us, on each server that tests have.

Faults, damage and what servers say are tested on one of them, in the other files here.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from samcore.errors import (
    MissingObjectError,
    StorageConflictError,
    StorageError,
    TransientStorageError,
)
from tasks.store.lease import claimed
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

MIB = 1 << 20


@dataclass(frozen=True)
class Place:
    """A store, and a folder in it that is empty."""

    store: ObjectStore
    folder: S3Location

    def __truediv__(self, name: str) -> S3Location:
        return self.folder.join(name)


def _on_swift(request: pytest.FixtureRequest) -> Place:
    bucket = request.getfixturevalue("bucket")
    return Place(ObjectStore(), S3Location(bucket, "contract"))


def _on_moto(request: pytest.FixtureRequest) -> Place:
    request.getfixturevalue("aws").client("s3").create_bucket(Bucket="contract")
    return Place(ObjectStore(), S3Location("contract", "contract"))


STORES: dict[str, Callable[[pytest.FixtureRequest], Place]] = {
    "swift": _on_swift,
    "moto": _on_moto,
}
"""A new store is put under the contract by one line here, and a function that makes a place."""


@pytest.fixture(params=STORES)
def at(request: pytest.FixtureRequest) -> Place:
    """An empty place on each store."""
    return STORES[request.param](request)


def make_file(path: Path, size: int, seed: int = 0) -> str:
    """A file of random bytes; its SHA-256."""
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def test_bytes_come_back_with_their_identity(at: Place) -> None:
    """Another content has another identity; HEAD and a put say the same."""
    name = at / "a folder/ünd+(1)%20.json"
    first = at.store.put_bytes(name, b"first")
    assert at.store.get_bytes(name, limit=5) == b"first"
    assert at.store.head(name) == first
    assert first.is_made_of(5, hashlib.sha256(b"first").hexdigest())
    assert at.store.put_bytes(name, b"other").identity != first.identity
    with pytest.raises(StorageError, match="at most 4 are allowed"):
        at.store.get_bytes(name, limit=4)


@pytest.mark.parametrize("size", [0, 1000, 9 * MIB])
def test_files_come_back_and_are_sent_once(at: Place, tmp_path: Path, size: int) -> None:
    """In one request or in parts; the same bytes are not sent again, others replace them."""
    for seed in range(2 if size else 1):
        sha256 = make_file(tmp_path / "in", size, seed)
        assert at.store.put_file(tmp_path / "in", at / "k", sha256=sha256)
        assert not at.store.put_file(tmp_path / "in", at / "k", sha256=sha256)
        info = at.store.get_file(at / "k", tmp_path / "out")
        assert (info.size, info.sha256) == (size, sha256)
        assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    with pytest.raises(StorageError, match="not the file that was to be uploaded"):
        at.store.put_file(tmp_path / "in", at / "j", sha256="0" * 64)
    assert at.store.head(at / "j") is None


def test_a_listing_is_by_key(at: Place) -> None:
    """All that begins with the prefix, on however many pages, and nothing else."""
    for name in [*(f"p/{number:02}" for number in reversed(range(12))), "q"]:
        at.store.put_bytes(at / name, name.encode())
    found = list(at.store.list(at / "p"))
    assert [info.location for info in found] == [at / f"p/{number:02}" for number in range(12)]
    head = at.store.head(at / "p/00")
    assert head is not None
    assert (found[0].size, found[0].etag, found[0].mark) == (head.size, head.etag, head.mark)


def test_what_is_absent_is_told_from_a_missing_bucket(at: Place, tmp_path: Path) -> None:
    """None or an error of its own kind for an object, an error for a bucket; to delete nothing is
    no error."""
    at.store.put_bytes(at / "k", b"x")
    for _ in range(2):
        at.store.delete(at / "k")
    assert at.store.head(at / "k") is None
    assert not list(at.store.list(at / "k"))
    with pytest.raises(MissingObjectError, match="there is no such object"):
        at.store.get_bytes(at / "k", limit=9)
    with pytest.raises(MissingObjectError, match="there is no such object"):
        at.store.get_file(at / "k", tmp_path / "out")
    with pytest.raises(StorageError, match="there is no such bucket"):
        at.store.head(S3Location("no-such-bucket-here", "k"))


def test_conditions_hold(at: Place) -> None:
    """Only the first of two writers creates, and only one that has seen the latest replaces."""
    at.store.put_bytes(at / "k", b"1", only_if_absent=True)
    with pytest.raises(StorageConflictError, match="changed by another writer"):
        at.store.put_bytes(at / "k", b"2", only_if_absent=True)
    first = at.store.put_bytes(at / "k", b"1", only_if_absent=True)
    second = at.store.put_bytes(at / "k", b"2", only_if_etag=first.etag)
    with pytest.raises(StorageConflictError):
        at.store.put_bytes(at / "k", b"3", only_if_etag=first.etag)
    assert at.store.get_bytes(at / "k", limit=9) == b"2"
    at.store.delete(at / "k")
    with pytest.raises(StorageConflictError):
        at.store.put_bytes(at / "k", b"4", only_if_etag=second.etag)


def test_downloads_resume_one_content(at: Place, tmp_path: Path) -> None:
    """A download that was cut asks for the rest; of a content that was replaced it gives none."""
    sha256 = make_file(tmp_path / "in", 3 * MIB)
    at.store.put_file(tmp_path / "in", at / "k", sha256=sha256)
    info = at.store.head(at / "k")
    seen: list[int] = []

    def stop(count: int, total: int | None) -> None:
        seen.append(count)
        if count >= 2 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        at.store.get_file(at / "k", tmp_path / "out", expected=info, on_progress=stop)
    came = seen[-1]
    seen.clear()
    at.store.get_file(
        at / "k", tmp_path / "out", expected=info, on_progress=lambda count, _: seen.append(count)
    )
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    assert min(seen) > came

    at.store.put_bytes(at / "k", b"replaced")
    with pytest.raises(StorageConflictError, match="it changed while it was downloaded"):
        at.store.get_file(at / "k", tmp_path / "other", expected=info)
    assert not (tmp_path / "other").exists()


def test_a_presigned_address_reads_ranges(at: Place) -> None:
    """Without credentials, and any part of it."""
    at.store.put_bytes(at / "a b/ü.mp4", bytes(range(256)))
    url = at.store.presign(at / "a b/ü.mp4", seconds=60)
    answer = httpx.get(url, headers={"Range": "bytes=100-109"})
    assert (answer.status_code, answer.content) == (206, bytes(range(100, 110)))


def test_broken_off_uploads_are_swept(at: Place, tmp_path: Path) -> None:
    """No object appears of an upload that broke off, and its parts can be removed."""
    sha256 = make_file(tmp_path / "in", 9 * MIB)

    def stop(count: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        at.store.put_file(tmp_path / "in", at / "k", sha256=sha256, on_progress=stop)
    assert at.store.head(at / "k") is None
    at.store.abort_stale_uploads(at.folder, older_than_s=None)
    assert at.store.abort_stale_uploads(at.folder, older_than_s=None) == 0
    assert at.store.put_file(tmp_path / "in", at / "k", sha256=sha256)


def test_a_destination_is_claimed_by_one(
    at: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases need conditional puts, and reads that see the last write: both are there."""
    with claimed(at.store, at.folder, "a") as check:
        check()
        monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path))  # as on another machine
        with (
            pytest.raises(TransientStorageError, match="another run is being published"),
            claimed(at.store, at.folder, "b"),
        ):
            pass
    with claimed(at.store, at.folder, "b"):
        pass
    assert not list(at.store.list(at.folder))
