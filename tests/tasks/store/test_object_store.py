"""What object storage promises, on a real S3 server."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from samcore.errors import InputError, MissingObjectError, StorageConflictError, StorageError
from tasks.store.locations import S3Location
from tasks.store.object_store import ClientOptions, ObjectStore, aws_client
from tests.servers.faults import FaultProxy
from tests.servers.swift import SwiftServer

MIB = 1 << 20


def make_file(path: Path, size: int, seed: int = 0) -> tuple[Path, str]:
    """A file of random bytes, and its SHA-256."""
    data = np.random.default_rng(seed).bytes(size)
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, 17 * MIB])
def test_object_store_gives_back_what_was_put(bucket: str, tmp_path: Path, size: int) -> None:
    """A file of any size, also one that goes in parts, comes back as it was."""
    path, sha256 = make_file(tmp_path / "in.mp4", size)
    store, location = ObjectStore(), S3Location(bucket, "a folder/ünd+(1)%20.mp4")

    assert store.put_file(path, location, sha256=sha256)
    info = store.get_file(location, tmp_path / "out.mp4")

    assert (tmp_path / "out.mp4").read_bytes() == path.read_bytes()
    assert (info.size, info.sha256) == (size, sha256)
    assert [entry.size for entry in store.list(S3Location(bucket, "a "))] == [size]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_a_second_put_sends_nothing(faults: FaultProxy, bucket: str, tmp_path: Path) -> None:
    """The same bytes again cost one HEAD; other bytes of the same length are sent."""
    store, location = ObjectStore(), S3Location(bucket, "k")
    path, sha256 = make_file(tmp_path / "a", 1000)
    assert store.put_file(path, location, sha256=sha256)
    faults.clear()

    assert not store.put_file(path, location, sha256=sha256)
    assert faults.methods() == ["HEAD"]

    other, other_sha256 = make_file(tmp_path / "b", 1000, seed=1)
    assert store.put_file(other, location, sha256=other_sha256)
    assert store.get_bytes(location, limit=1000) == other.read_bytes()


@pytest.mark.parametrize("size", [1000, 9 * MIB])
def test_only_the_right_bytes_are_stored(
    bucket: str, swift: SwiftServer, tmp_path: Path, size: int
) -> None:
    """A file that is not what its digest says is refused, and nothing is left in the bucket."""
    path, _ = make_file(tmp_path / "a", size)

    with pytest.raises(StorageError, match="it is not the file that was to be uploaded"):
        ObjectStore().put_file(path, S3Location(bucket, "k"), sha256="0" * 64)

    assert "Contents" not in swift.client().list_objects_v2(Bucket=bucket)
    assert "Uploads" not in swift.client().list_multipart_uploads(Bucket=bucket)


def test_object_store_tells_progress(bucket: str, tmp_path: Path) -> None:
    """Bytes so far only grow, and end at all of them, up and down."""
    path, sha256 = make_file(tmp_path / "a", 9 * MIB)
    store, location = ObjectStore(), S3Location(bucket, "k")
    seen: list[tuple[int, int | None]] = []

    for move in (
        lambda: store.put_file(
            path, location, sha256=sha256, on_progress=lambda *s: seen.append(s)
        ),
        lambda: store.get_file(location, tmp_path / "b", on_progress=lambda *s: seen.append(s)),
    ):
        seen.clear()
        move()
        assert seen == sorted(seen)
        assert seen[-1] == (9 * MIB, 9 * MIB)


def test_a_download_goes_on(faults: FaultProxy, bucket: str, tmp_path: Path) -> None:
    """Each byte of an object is served once, also when the first try was cut."""
    path, sha256 = make_file(tmp_path / "a", 3 * MIB)
    store, location = ObjectStore(), S3Location(bucket, "k")
    store.put_file(path, location, sha256=sha256)
    info = store.head(location)
    faults.clear()

    def stop(count: int, total: int | None) -> None:
        if count >= 2 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get_file(location, tmp_path / "b", expected=info, on_progress=stop)
    assert not (tmp_path / "b").exists()
    before = faults.served
    store.get_file(location, tmp_path / "b", expected=info)

    assert (tmp_path / "b").read_bytes() == path.read_bytes()
    assert faults.exchanges[-1].request.headers["range"] == f"bytes={2 * MIB}-"
    assert faults.served - before == MIB
    assert [file.name for file in tmp_path.iterdir() if ".part" in file.name] == []


def test_a_part_of_another_version_is_not_gone_on_with(bucket: str, tmp_path: Path) -> None:
    """Half of the old content and half of the new one never become one file."""
    store, location = ObjectStore(), S3Location(bucket, "k")
    old, old_sha256 = make_file(tmp_path / "old", 3 * MIB)
    new, new_sha256 = make_file(tmp_path / "new", 3 * MIB, seed=1)
    store.put_file(old, location, sha256=old_sha256)

    def stop(count: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get_file(location, tmp_path / "b", on_progress=stop)
    store.put_file(new, location, sha256=new_sha256)
    store.get_file(location, tmp_path / "b")

    assert (tmp_path / "b").read_bytes() == new.read_bytes()
    assert not list(tmp_path.glob(".*.part"))


def test_a_change_in_mid_download_is_told(bucket: str, tmp_path: Path) -> None:
    """Whoever downloads while another one uploads gets an error that says so, not a mixture."""
    store, location = ObjectStore(), S3Location(bucket, "k")
    store.put_bytes(location, b"old" * 1000)
    info = store.head(location)
    store.put_bytes(location, b"new" * 1000)

    with pytest.raises(StorageConflictError, match=r"s3://\S+/k: it changed while"):
        store.get_file(location, tmp_path / "b", expected=info)
    assert not (tmp_path / "b").exists()


def test_a_version_stays_readable(swift: SwiftServer, bucket: str, tmp_path: Path) -> None:
    """In a bucket with versions, what was looked at can be downloaded after it was replaced."""
    versions = swift.make_bucket(versioned=True)
    store, location = ObjectStore(), S3Location(versions, "k")
    info = store.put_bytes(location, b"old")
    store.put_bytes(location, b"new")

    store.get_file(location, tmp_path / "b", expected=info)

    assert info.version_id
    assert (tmp_path / "b").read_bytes() == b"old"
    url = store.presign(location, seconds=60, version_id=info.version_id)
    assert httpx.get(url).content == b"old"


def test_a_presigned_url_reads_ranges_for_a_while(bucket: str) -> None:
    """It reads without credentials, any range, and not after its time."""
    store, location = ObjectStore(), S3Location(bucket, "a b/ü.mp4")
    store.put_bytes(location, bytes(range(256)))

    url = store.presign(location, seconds=60)
    short = store.presign(location, seconds=1)
    answer = httpx.get(url, headers={"range": "bytes=100-109"})
    time.sleep(2.1)

    assert (answer.status_code, answer.content) == (206, bytes(range(100, 110)))
    assert httpx.get(short).status_code == 403


def test_object_store_says_what_is_absent(bucket: str, tmp_path: Path) -> None:
    """Looking for what is not there says None; reading it is an error of its own kind."""
    store, location = ObjectStore(), S3Location(bucket, "nothing")

    assert store.head(location) is None
    assert list(store.list(location)) == []
    store.delete(location)
    with pytest.raises(MissingObjectError, match="there is no such object"):
        store.get_bytes(location, limit=10)
    with pytest.raises(MissingObjectError, match="there is no such object"):
        store.get_file(location, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_large_object_is_not_read_into_memory(faults: FaultProxy, bucket: str) -> None:
    """`get_bytes` refuses what is larger than its limit, without reading it."""
    store, location = ObjectStore(), S3Location(bucket, "k")
    store.put_bytes(location, bytes(5 * MIB))
    faults.clear()

    with pytest.raises(StorageError, match="has 5242880 bytes, at most 1024 are allowed"):
        store.get_bytes(location, limit=1024)
    assert store.get_bytes(location, limit=5 * MIB) == bytes(5 * MIB)


def test_only_the_first_of_two_writers_wins(bucket: str) -> None:
    """What is there already is not replaced, unless it is the very same."""
    store, location = ObjectStore(), S3Location(bucket, "claim")

    store.put_bytes(location, b"first", only_if_absent=True)
    with pytest.raises(StorageConflictError, match="changed by another writer"):
        store.put_bytes(location, b"second", only_if_absent=True)
    store.put_bytes(location, b"first", only_if_absent=True)

    assert store.get_bytes(location, limit=100) == b"first"


def test_only_the_expected_content_is_replaced(bucket: str) -> None:
    """A writer that has not seen the latest content does not replace it."""
    store, location = ObjectStore(), S3Location(bucket, "k")
    first = store.put_bytes(location, b"1")
    second = store.put_bytes(location, b"2", only_if_etag=first.etag)

    with pytest.raises(StorageConflictError):
        store.put_bytes(location, b"3", only_if_etag=first.etag)
    assert store.get_bytes(location, limit=100) == b"2"
    store.put_bytes(location, b"3", only_if_etag=f'"{second.etag}"')
    store.delete(location)
    with pytest.raises(StorageConflictError):
        store.put_bytes(location, b"4", only_if_etag=second.etag)


def test_many_objects_are_listed_in_order(bucket: str) -> None:
    """All pages of a listing come, by key."""
    store, prefix = ObjectStore(), S3Location(bucket, "p")
    client = aws_client("s3", credentials=None)
    keys = [f"p/{number:03}" for number in range(12)]
    for key in reversed(keys):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    client.put_object(Bucket=bucket, Key="q", Body=b"x")

    assert [entry.location.key for entry in store.list(prefix)] == keys


KILLED_UPLOAD = """
import os, sys
from pathlib import Path
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
ObjectStore().put_file(
    Path(sys.argv[1]), S3Location(sys.argv[2], "a/k"), sha256=sys.argv[3],
    on_progress=lambda *seen: os.kill(os.getpid(), 9),
)
"""


def test_a_killed_upload_leaves_nothing_for_ever(
    bucket: str, swift: SwiftServer, tmp_path: Path
) -> None:
    """Killed in mid-upload no object appears; its parts are swept, but not those of a live one."""
    path, sha256 = make_file(tmp_path / "a", 17 * MIB)
    store, prefix = ObjectStore(), S3Location(bucket, "a/")
    arguments = [sys.executable, "-c", KILLED_UPLOAD, str(path), bucket, sha256]

    ended = subprocess.run(arguments, cwd=Path(__file__).parents[3])

    assert ended.returncode == -9
    assert store.head(S3Location(bucket, "a/k")) is None
    assert store.abort_stale_uploads(prefix, older_than_s=3600) == 0
    assert store.abort_stale_uploads(S3Location(bucket, "b/"), older_than_s=-3600) == 0
    assert store.abort_stale_uploads(prefix, older_than_s=-3600) == 1
    assert "Uploads" not in swift.client().list_multipart_uploads(Bucket=bucket)
    assert store.put_file(path, S3Location(bucket, "a/k"), sha256=sha256)


def test_a_sweep_takes_no_parts_from_an_object(
    bucket: str, swift: SwiftServer, tmp_path: Path
) -> None:
    """An upload that has become the object, and that the store has not struck off its list, is left
    alone; one of other parts under that key is swept."""
    path, sha256 = make_file(tmp_path / "a", 17 * MIB)
    store, location, s3 = ObjectStore(), S3Location(bucket, "a/k"), swift.client()
    assert store.put_file(path, location, sha256=sha256)
    data, place = path.read_bytes(), {"Bucket": bucket, "Key": "a/k"}
    ids = [s3.create_multipart_upload(**place)["UploadId"] for _ in range(2)]
    for number, start in enumerate(range(0, len(data), 8 * MIB), start=1):
        part = data[start : start + 8 * MIB]
        s3.upload_part(**place, UploadId=ids[0], PartNumber=number, Body=part)
    s3.upload_part(**place, UploadId=ids[1], PartNumber=1, Body=b"another one")

    assert store.abort_stale_uploads(S3Location(bucket, "a/"), older_than_s=-3600) == 1

    left = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["UploadId"] for upload in left] == ids[:1]
    store.get_file(location, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data


@pytest.mark.parametrize(
    ("settings", "way_out"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "check AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "test:nobody"}, "check AWS_ACCESS_KEY_ID|check AWS_SECRET"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "set AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "check the network, and AWS_ENDPOINT_URL"),
    ],
)
def test_settings_that_do_not_work(
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    way_out: str,
) -> None:
    """Each call says in one line which object it was about and what to set."""
    path, sha256 = make_file(tmp_path / "a", 10)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    store = ObjectStore(options=ClientOptions(attempts=2))
    location = S3Location(bucket, "k")

    for call in (
        lambda: store.head(location),
        lambda: list(store.list(location)),
        lambda: store.get_bytes(location, limit=10),
        lambda: store.put_bytes(location, b"x"),
        lambda: store.put_file(path, location, sha256=sha256),
        lambda: store.delete(location),
    ):
        with pytest.raises(StorageError, match=way_out) as caught:
            call()
        assert location.uri in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "Signature=" not in str(caught.value)


def test_a_wrong_region_does_not_matter(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says where the bucket is, and the call is made again there."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-9")
    location = S3Location(bucket, "k")
    assert ObjectStore().head(location) is None
    ObjectStore().put_bytes(location, b"x")
    assert ObjectStore().get_bytes(location, limit=9) == b"x"
    found = ObjectStore().head(location)
    assert found is not None
    assert [entry.etag for entry in ObjectStore().list(location)] == [found.etag]


@pytest.mark.parametrize("default", [None, "eu-west-9"])
def test_the_region_is_the_one_that_is_set(
    default: str | None, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_REGION counts, as with AWS's other libraries; and without any, a queue says so."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(InputError, match="set AWS_REGION"):
        aws_client("sqs")
    if default is not None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", default)
    monkeypatch.setenv("AWS_REGION", "eu-west-3")

    assert aws_client("sqs").meta.region_name == "eu-west-3"
    assert aws_client("s3").meta.region_name == "eu-west-3"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AWS_ENDPOINT_URL": "not an address"}, "Invalid endpoint"),
        ({"AWS_PROFILE": "nobody"}, "nobody"),
    ],
)
def test_settings_that_no_client_can_be_made_of(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], said: str
) -> None:
    """They are an error of the person's, said in one line."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        ObjectStore()


def test_a_missing_bucket_is_told_from_a_missing_object(bucket: str, tmp_path: Path) -> None:
    """Every call on a bucket that is not there says that it is the bucket."""
    path, sha256 = make_file(tmp_path / "a", 10)
    store, location = ObjectStore(), S3Location("no-such-bucket-here", "k")

    for call in (
        lambda: store.head(location),
        lambda: list(store.list(location)),
        lambda: store.get_bytes(location, limit=10),
        lambda: store.get_file(location, tmp_path / "b"),
        lambda: store.put_bytes(location, b"x", only_if_absent=True),
        lambda: store.put_file(path, location, sha256=sha256),
        lambda: store.abort_stale_uploads(location, older_than_s=1),
    ):
        with pytest.raises(StorageError, match=r"no-such-bucket-here.*there is no such bucket"):
            call()
