"""Object storage over a network that fails: nothing lost, nothing half there, clear errors."""

import hashlib
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.errors import (
    StorageConflictError,
    StorageError,
    TransientStorageError,
)
from tasks.retries import is_transient
from tasks.store.locations import S3Location
from tasks.store.object_store import ClientOptions, ObjectStore
from tests.servers.faults import (
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    PASSING,
    SLOW_DOWN,
    Break,
    Corrupt,
    Fault,
    FaultProxy,
    LoseAnswer,
    Refuse,
    Request,
    Slow,
)
from tests.servers.swift import SwiftServer

MIB = 1 << 20
LAST = 10**6


def write(path: Path, size: int, seed: int = 0) -> tuple[Path, str]:
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def once(faults: FaultProxy, fault: Fault, meets: Callable[[Request], bool]) -> list[Request]:
    """Let the next request that `meets` says meet `fault`; the list holds it when it has come."""
    met: list[Request] = []

    def choose(request: Request) -> Fault | None:
        if met or not meets(request):
            return None
        met.append(request)
        return fault

    faults.set_rule(choose)
    return met


def test_an_upload_outlives_what_passes(faults: FaultProxy, bucket: str, tmp_path: Path) -> None:
    """A fault at any request costs another try inside the call; the object is right."""
    store = ObjectStore(options=ClientOptions(retry_mode="standard"))
    for number, fault in enumerate(PASSING):
        for method in ("HEAD", "PUT"):
            path, sha256 = write(tmp_path / "a", 1000, seed=number)
            location = S3Location(bucket, f"{method}{number}")
            met = once(faults, fault, lambda request, method=method: request.method == method)
            assert store.put_file(path, location, sha256=sha256), fault
            assert met
            assert store.get_bytes(location, limit=1000) == path.read_bytes(), fault


STEPS = {
    "begin": lambda request: "uploads" in request.target,
    "part 1": lambda request: "partNumber=1&" in request.target,
    "part 2": lambda request: "partNumber=2&" in request.target,
    "complete": lambda request: request.method == "POST" and "uploadId=" in request.target,
    "look": lambda request: request.method == "HEAD" and request.number > 3,
}


def test_an_upload_in_parts_outlives_what_passes(
    faults: FaultProxy, bucket: str, tmp_path: Path
) -> None:
    """Also when the answer to "complete" is lost, the object is whole and no parts are left."""
    store = ObjectStore(options=ClientOptions(retry_mode="standard"))
    path, sha256 = write(tmp_path / "a", 8 * MIB + 100)
    for name, meets in STEPS.items():
        fault = INTERNAL_ERROR if name == "part 2" else LoseAnswer()
        location = S3Location(bucket, name)
        faults.clear()
        met = once(faults, fault, meets)
        assert store.put_file(path, location, sha256=sha256), name
        assert met, name
        found = store.head(location)
        assert found is not None
        assert found.size == path.stat().st_size
        # Nobody knows of an upload whose id was lost; a sweep finds it.
        assert store.abort_stale_uploads(location, older_than_s=-60) == (name == "begin")
    store.get_file(location, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("size", [1000, 8 * MIB + 100])
def test_bytes_that_are_damaged_on_their_way_are_not_stored(
    faults: FaultProxy, swift: SwiftServer, bucket: str, tmp_path: Path, size: int
) -> None:
    """The server sees it, nothing is left there, and the next call works."""
    path, sha256 = write(tmp_path / "a", size)
    store, location = ObjectStore(), S3Location(bucket, "k")
    met = once(faults, Corrupt("request", at=5), lambda request: request.method == "PUT")

    with pytest.raises(TransientStorageError, match="damaged on their way"):
        store.put_file(path, location, sha256=sha256)
    assert met
    assert "Contents" not in swift.client().list_objects_v2(Bucket=bucket)
    assert "Uploads" not in swift.client().list_multipart_uploads(Bucket=bucket)
    assert store.put_file(path, location, sha256=sha256)


@pytest.mark.parametrize(
    "fault",
    [LoseAnswer(), Break("answer", after=0), Break("answer", after=60), Break("request")],
    ids=str,
)
def test_an_object_whose_answer_was_lost_stays_whole(
    faults: FaultProxy, bucket: str, tmp_path: Path, fault: Fault
) -> None:
    """Completed in the store or not, nobody heard of it: that is told as a fault that may pass, and
    takes no parts away from an object that is there."""
    path, sha256 = write(tmp_path / "a", 9 * MIB)
    place = S3Location(bucket, "k")
    faults.set_rule(
        lambda request: fault if request.method == "POST" and "Id=" in request.target else None
    )

    with pytest.raises(TransientStorageError, match=r"cannot write s3://\S+/k"):
        ObjectStore(options=ClientOptions(attempts=2)).put_file(path, place, sha256=sha256)

    assert faults.num_faults == 2
    # A store that is at it yet, or whose list of uploads is behind, would take the parts away.
    assert "DELETE" not in faults.methods()
    faults.clear()
    if ObjectStore().head(place) is not None:
        ObjectStore().get_file(place, tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == path.read_bytes()
    ObjectStore().put_file(path, place, sha256=sha256)
    ObjectStore().get_file(place, tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == path.read_bytes()


def test_an_upload_that_fails_leaves_nothing(
    faults: FaultProxy, swift: SwiftServer, bucket: str, tmp_path: Path
) -> None:
    """When a part cannot be sent in all tries, no object and no parts stay in the bucket."""
    path, sha256 = write(tmp_path / "a", 17 * MIB)
    faults.set_rule(lambda request: INTERNAL_ERROR if "partNumber=2" in request.target else None)

    with pytest.raises(TransientStorageError, match=r"cannot write s3://\S+/k: .*InternalError"):
        ObjectStore(options=ClientOptions(attempts=2)).put_file(
            path, S3Location(bucket, "k"), sha256=sha256
        )

    assert "Contents" not in swift.client().list_objects_v2(Bucket=bucket)
    assert "Uploads" not in swift.client().list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize(
    "fault",
    [
        Break("answer", after=100_000),
        Break("answer", after=100_000, politely=True),
        Corrupt("answer", at=1),
        Corrupt("answer", at=LAST),
        Slow(2.5),
    ],
    ids=str,
)
def test_a_broken_download_is_transient_and_goes_on(
    faults: FaultProxy, bucket: str, tmp_path: Path, fault: Fault
) -> None:
    """No file appears, the error is for the task to retry, and the next call gives the bytes."""
    path, sha256 = write(tmp_path / "a", 300_000)
    store, location = ObjectStore(), S3Location(bucket, "k")
    hasty = ObjectStore(options=ClientOptions(read_timeout_s=2.0, attempts=1))
    store.put_file(path, location, sha256=sha256)
    info = store.head(location)
    faults.clear()
    faults.set_rule(lambda request: fault)

    with pytest.raises(TransientStorageError, match=f"cannot read {location.uri}") as caught:
        hasty.get_file(location, tmp_path / "b", expected=info)
    assert is_transient(caught.value)
    assert not (tmp_path / "b").exists()
    faults.set_rule(None)
    before = faults.served
    store.get_file(location, tmp_path / "b", expected=info)

    assert (tmp_path / "b").read_bytes() == path.read_bytes()
    if isinstance(fault, Break):
        # Of what was on its way when the connection was reset a block may be lost.
        lost = 0 if fault.politely else 1 << 16
        assert 200_000 <= faults.served - before <= 200_000 + lost


def test_a_refusal_that_breaks_off_is_transient(faults: FaultProxy, bucket: str) -> None:
    """Nobody knows what it would have said: that is for the task to try again."""
    store = ObjectStore(options=ClientOptions(attempts=1))
    faults.set_rule(lambda request: Break("answer", after=0))

    with pytest.raises(TransientStorageError, match=r"the connection to .* broke") as caught:
        store.get_bytes(S3Location(bucket, "nothing"), limit=10)

    assert is_transient(caught.value)


def test_a_long_download_goes_on_by_itself(faults: FaultProxy, bucket: str, tmp_path: Path) -> None:
    """A connection that brought much before it broke is opened again for the rest, and no byte
    comes twice."""
    path, sha256 = write(tmp_path / "a", 17 * MIB)
    store, location = ObjectStore(), S3Location(bucket, "k")
    store.put_file(path, location, sha256=sha256)
    faults.clear()
    faults.set_rule(
        lambda request: (
            Break("answer", after=8 * MIB + 5, politely=True) if request.method == "GET" else None
        )
    )

    store.get_file(location, tmp_path / "b")

    assert (tmp_path / "b").read_bytes() == path.read_bytes()
    assert faults.methods() == ["HEAD", "GET", "GET", "GET"]
    assert faults.served == 17 * MIB


REFUSALS: list[tuple[Fault, str, bool]] = [
    (EXPIRED_TOKEN, "the session token has expired; get new credentials", False),
    (Refuse(403, "AccessDenied"), "these credentials do not allow it", False),
    (Refuse(403, "InvalidAccessKeyId"), "does not know this access key", False),
    (Refuse(403, "RequestTimeTooSkewed"), "this machine's clock is wrong", False),
    (Refuse(403, "InvalidObjectState"), "it is archived; restore it first", False),
    (Refuse(404, "NoSuchBucket"), "there is no such bucket", False),
    (Refuse(507, "InsufficientStorage"), "the bucket's quota is used up", False),
    (Refuse(418, "Teapot"), r"the server refused \(Teapot, status 418\): a fault", False),
    (SLOW_DOWN, "the server is busy or has a fault", True),
    (INTERNAL_ERROR, "the server is busy or has a fault", True),
    (LoseAnswer(), "the connection to 127.0.0.1:[0-9]+ broke", True),
]


def test_what_stays_is_one_clear_line(faults: FaultProxy, bucket: str, tmp_path: Path) -> None:
    """Each call names the object and the way out, and says whether a retry may help."""
    path, sha256 = write(tmp_path / "a", 10)
    store = ObjectStore(options=ClientOptions(attempts=1))
    location = S3Location(bucket, "k")
    for fault, said, transient in REFUSALS:
        faults.set_rule(lambda request, fault=fault: fault)
        for call in (
            lambda: store.head(location),
            lambda: list(store.list(location)),
            lambda: store.get_bytes(location, limit=10),
            lambda: store.get_file(location, tmp_path / "b"),
            lambda: store.put_bytes(location, b"x"),
            lambda: store.put_file(path, location, sha256=sha256),
            lambda: store.delete(location),
        ):
            with pytest.raises(StorageError, match=said) as caught:
                call()
            assert f"s3://{bucket}" in str(caught.value)
            assert "\n" not in str(caught.value)
            assert is_transient(caught.value) is transient


def test_refusals_are_not_tried_again(faults: FaultProxy, bucket: str) -> None:
    """What a person must put right fails at once."""
    faults.set_rule(lambda request: Refuse(403, "AccessDenied"))
    with pytest.raises(StorageError):
        ObjectStore().get_bytes(S3Location(bucket, "k"), limit=10)
    assert faults.methods() == ["GET"]


def test_a_lost_answer_does_not_make_one_lose_to_oneself(faults: FaultProxy, bucket: str) -> None:
    """A claim that was written, but whose answer was lost, is still one's own."""
    store, location = ObjectStore(), S3Location(bucket, "claim")
    lost = once(faults, LoseAnswer(), lambda request: request.method == "PUT")
    store.put_bytes(location, b"mine", only_if_absent=True)

    assert lost
    with pytest.raises(StorageConflictError):
        store.put_bytes(location, b"theirs", only_if_absent=True)


def test_no_part_is_sent_after_the_abort(faults: FaultProxy, bucket: str, tmp_path: Path) -> None:
    """The caller ends an upload of which parts are on their way: these are waited for, then what
    came is removed; a part that came later would stay for ever."""
    path, sha256 = write(tmp_path / "a", 40 * MIB)
    senders: list[str] = []

    def choose(request: Request) -> Fault | None:
        if request.method == "DELETE":
            alive = [thread.name for thread in threading.enumerate()]
            senders.extend(name for name in alive if name.startswith("upload"))
        # The first part is done while the others are still waiting for their answers.
        return Slow(0.5) if re.search("partNumber=[2-5]", request.target) else None

    def end(done: int, total: int) -> None:
        raise RuntimeError("the claim is lost")

    faults.set_rule(choose)
    with pytest.raises(RuntimeError, match="the claim is lost"):
        ObjectStore().put_file(path, S3Location(bucket, "a"), sha256=sha256, on_progress=end)

    assert faults.methods()[-1] == "DELETE"
    assert faults.methods().count("PUT") >= 2
    assert senders == []
