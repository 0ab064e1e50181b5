"""What lies under a prefix of a bucket is a whole result or none, whoever publishes meanwhile."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.errors import InputError, StorageConflictError, TransientStorageError
from tasks.results.bucket import BucketResults
from tasks.store.locations import S3Location
from tasks.store.object_store import shared_store
from tests.servers.faults import FaultProxy, Request
from tests.servers.swift import SwiftServer
from tests.tasks.conftest import FILES, Made


@pytest.fixture
def results(
    swift: SwiftServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., BucketResults]:
    """Open the results of one prefix as another machine would; directly, or through a proxy."""

    def open_one(endpoint: str | None = None, prefix: str = "clip") -> BucketResults:
        with monkeypatch.context() as context:
            context.setenv("AWS_ENDPOINT_URL", endpoint or swift.endpoint)
            store = shared_store(None)
        local = tmp_path / f"machine-{threading.get_ident()}-{endpoint is None}"
        return BucketResults(S3Location(bucket, f"out/{prefix}"), store, local=local)

    return open_one


def _accept(_found: str | None) -> None:
    """Whatever lies there may be replaced."""


def _refuse_others(own: Made) -> Callable[[str | None], None]:
    def check(found: str | None) -> None:
        if found not in (None, own.manifest.key):
            raise InputError("holds the result of another request")

    return check


def test_published_is_whole_and_again_sends_nothing(
    results: Callable[..., BucketResults], make_result: Callable[..., Made], faults: FaultProxy
) -> None:
    """A result is what was published, byte by byte; publishing it again puts no file."""
    made = make_result(1)
    store = results(faults.endpoint)
    assert store.read_manifest() is None
    assert store.published_key() is None
    store.publish(made.files, made.manifest, check=_refuse_others(made))

    there = results()
    assert there.read_manifest() == made.manifest
    for name, path in made.files.items():
        assert there.fetch(name).read_bytes() == path.read_bytes()

    faults.clear()
    store.publish(made.files, made.manifest, check=_refuse_others(made))
    put = [item.request.target for item in faults.exchanges if item.request.method == "PUT"]
    assert all("publishing.json" in target for target in put)


def test_manifest_comes_last_and_goes_first(
    results: Callable[..., BucketResults], make_result: Callable[..., Made], faults: FaultProxy
) -> None:
    """While files are put or replaced there is no manifest; another request's result is replaced
    only if that is wanted, and all of its files go."""
    old, new = make_result(1, names=(*FILES, "extra.bin")), make_result(2)
    store = results(faults.endpoint)
    store.publish(old.files, old.manifest, check=_accept)
    with pytest.raises(InputError, match="another request"):
        store.publish(new.files, new.manifest, check=_refuse_others(new))
    assert results().read_manifest() == old.manifest

    faults.clear()
    store.publish(new.files, new.manifest, check=_accept)

    changes = [
        (item.request.method, item.request.target.partition("?")[0].rpartition("/")[2])
        for item in faults.exchanges
        if item.request.method in ("PUT", "DELETE")
    ]
    changes = [change for change in changes if change[1] != "publishing.json"]
    assert changes[0] == ("DELETE", "manifest.json")
    assert changes[-1] == ("PUT", "manifest.json")
    assert ("DELETE", "extra.bin") in changes
    assert results().read_manifest() == new.manifest


@pytest.mark.parametrize("force", [True, False], ids=["both by force", "neither by force"])
def test_publishers_that_interleave(
    results: Callable[..., BucketResults],
    make_result: Callable[..., Made],
    faults: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    force: bool,
) -> None:
    """Another run's publishing between any two requests of this one's: what lies there at the end
    is one whole result, or none and an error; never a mix. One of the two always succeeds."""
    this, other = make_result(1), make_result(2)

    def publish(store: BucketResults, made: Made) -> bool:
        check = _accept if force else _refuse_others(made)
        try:
            store.publish(made.files, made.manifest, check=check)
        except (TransientStorageError, InputError):
            return False
        return True

    def play(prefix: str, moment: int | None) -> list[bool]:
        """Publish, with the other one's publishing before request `moment`; who succeeded."""
        faults.clear()
        succeeded = []

        def intrude(request: Request) -> None:
            if request.number == moment:
                # Another machine: the two share no lock.
                with monkeypatch.context() as context:
                    context.setenv("LONGTAKE_CACHE", str(tmp_path / "another machine"))
                    succeeded.append(publish(results(prefix=prefix), other))

        faults.set_rule(intrude)
        succeeded.append(publish(results(faults.endpoint, prefix=prefix), this))
        return succeeded

    assert play("calm", None) == [True]
    # Between two that only read, or before the next one that writes, is the same moment.
    writes = [
        item.request.number
        for item in faults.exchanges
        if item.request.method in ("PUT", "POST", "DELETE")
    ]
    assert len(writes) == 5  # the claim, two files, the manifest, the claim's end
    for moment in (writes[0], writes[1], writes[3], len(faults.exchanges) - 1):
        succeeded = play(f"moment-{moment}", moment)
        there = results(prefix=f"moment-{moment}")
        found = there.published_key()
        assert any(succeeded), f"neither was published at moment {moment}"
        assert found in (this.manifest.key, other.manifest.key)
        assert there.read_manifest(found) is not None, f"a mix at moment {moment}"


def test_claim_of_a_dead_run_does_not_stop_its_next_try(
    results: Callable[..., BucketResults], make_result: Callable[..., Made]
) -> None:
    """What a killed publisher left: the same run goes on at once, another one says what is on."""
    this, other = make_result(1), make_result(2)
    store = results()
    claim = json.dumps(
        {"machine": "gpu-7", "holder": "b", "run": this.manifest.key, "number": 0}
    ).encode()
    store._store.put_bytes(store.prefix.join(".longtake/publishing.json"), claim)

    with pytest.raises(TransientStorageError, match="another run is being published"):
        store.publish(other.files, other.manifest, check=_accept)
    store.publish(this.files, this.manifest, check=_accept)
    store.publish(other.files, other.manifest, check=_accept)
    assert store.read_manifest() == other.manifest
    with pytest.raises(StorageConflictError):
        store._store.put_bytes(store.prefix.join("manifest.json"), b"{}", only_if_absent=True)
