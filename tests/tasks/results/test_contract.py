"""What holds for every store of results; a new one is put under it by a line in `PLACES`."""

import json
import posixpath
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from samcore.errors import InputError, StorageError
from samcore.result.folder import LocalResults
from samcore.result.store import ResultStore
from tasks.results.bucket import BucketResults
from tasks.store.locations import S3Location
from tasks.store.object_store import shared_store
from tests.servers.swift import SwiftServer
from tests.tasks.conftest import FILES, Made

MakeResult = Callable[..., Made]


@dataclass(frozen=True)
class Place:
    """A destination, and the means to change it behind its store's back. Names are relative to it;
    `..` is the place above."""

    open: Callable[[], ResultStore]
    """Open it as another process would."""
    put: Callable[[str, bytes], object]
    get: Callable[[str], bytes]
    remove: Callable[[str], object]
    names: Callable[[], set[str]]
    """All that is published there, but for Longtake's own folder."""


def _folder(request: pytest.FixtureRequest) -> Place:
    folder: Path = request.getfixturevalue("tmp_path") / "above" / "out"
    folder.mkdir(parents=True)

    def names() -> set[str]:
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {path.as_posix() for path in found if path.parts[0] != ".longtake"}

    return Place(
        open=lambda: LocalResults(folder),
        put=lambda name, data: (folder / name).write_bytes(data),
        get=lambda name: (folder / name).read_bytes(),
        remove=lambda name: (folder / name).unlink(),
        names=names,
    )


def _bucket(request: pytest.FixtureRequest) -> Place:
    swift: SwiftServer = request.getfixturevalue("swift")
    bucket: str = request.getfixturevalue("bucket")
    local: Path = request.getfixturevalue("tmp_path") / "copies"
    client = swift.client()
    machines = iter(range(1000))

    def key(name: str) -> str:
        return posixpath.normpath(f"above/out/{name}")

    def names() -> set[str]:
        listed = client.list_objects_v2(Bucket=bucket, Prefix="above/out/").get("Contents", [])
        found = {item["Key"].removeprefix("above/out/") for item in listed}
        return {name for name in found if not name.startswith(".longtake/")}

    return Place(
        open=lambda: BucketResults(
            S3Location(bucket, "above/out"), shared_store(None), local=local / str(next(machines))
        ),
        put=lambda name, data: client.put_object(Bucket=bucket, Key=key(name), Body=data),
        get=lambda name: client.get_object(Bucket=bucket, Key=key(name))["Body"].read(),
        remove=lambda name: client.delete_object(Bucket=bucket, Key=key(name)),
        names=names,
    )


PLACES = {"folder": _folder, "bucket": _bucket}


@pytest.fixture(params=PLACES.values(), ids=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """A destination of each kind, with nothing in it."""
    made: Place = request.param(request)
    return made


def _accept(_found: str | None) -> None:
    """Whatever lies there may be replaced."""


def _refuse_others(own: Made) -> Callable[[str | None], None]:
    def check(found: str | None) -> None:
        if found not in (None, own.manifest.key):
            raise InputError("holds the result of another request")

    return check


def test_store_of_nothing(place: Place, make_result: MakeResult) -> None:
    """Where nothing was published there is no key, no manifest and no file, and nothing can be
    added."""
    store = place.open()
    assert store.published_key() is None
    assert store.read_manifest() is None
    assert store.listed() is None
    with pytest.raises(StorageError, match="no whole result"):
        store.fetch("masks.parquet")
    made = make_result(1)
    with pytest.raises(StorageError, match="gone or damaged"):
        store.add_files({"notes.txt": made.files["seams.json"]}, made.manifest.key)
    assert place.names() == set()


def test_published_is_what_others_read(place: Place, make_result: MakeResult) -> None:
    """Another process finds the manifest, by its key, too, and each file byte by byte; publishing
    again is allowed and changes nothing."""
    made = make_result(1)
    store = place.open()
    published = store.publish(made.files, made.manifest, check=_refuse_others(made))
    assert published == made.manifest
    for _ in range(2):
        other = place.open()
        assert other.published_key() == made.manifest.key
        assert other.read_manifest() == other.listed() == made.manifest
        assert other.read_manifest(made.manifest.key) == made.manifest
        assert other.listed(made.manifest.key) == made.manifest
        assert other.read_manifest("another key") is other.listed("another key") is None
        for name, path in made.files.items():
            assert other.fetch(name).read_bytes() == path.read_bytes()
            assert other.address(name) == f"{other.location}/{name}"
        assert place.names() == {*FILES, "manifest.json"}
        store.publish(made.files, made.manifest, check=_refuse_others(made))


def test_another_result_goes_only_if_that_is_wanted(place: Place, make_result: MakeResult) -> None:
    """What `check` refuses stays whole; what it allows is replaced with all of its files."""
    old, new = make_result(1, names=(*FILES, "extra.bin")), make_result(2)
    place.open().publish(old.files, old.manifest, check=_accept)
    with pytest.raises(InputError, match="another request"):
        place.open().publish(new.files, new.manifest, check=_refuse_others(new))
    assert place.open().read_manifest() == old.manifest

    place.open().publish(new.files, new.manifest, check=_accept)

    assert place.open().read_manifest() == new.manifest
    assert place.names() == {*FILES, "manifest.json"}


def test_publishing_that_fails_leaves_no_result(place: Place, make_result: MakeResult) -> None:
    """If a file cannot be brought to its place there is no result: not the new one, and not an
    older one of which files were replaced already. The next try makes it whole."""
    old, new = make_result(1), make_result(2)
    store = place.open()
    store.publish(old.files, old.manifest, check=_accept)
    broken = {**new.files, FILES[-1]: new.files[FILES[-1]].with_name("gone")}

    with pytest.raises(StorageError):
        store.publish(broken, new.manifest, check=_accept)

    assert place.open().published_key() is None
    assert "manifest.json" not in place.names()
    store.publish(new.files, new.manifest, check=_accept)
    assert place.open().read_manifest() == new.manifest


def test_files_are_added_by_several_at_once(
    place: Place, make_result: MakeResult, tmp_path: Path
) -> None:
    """Files that threads add at the same time are all in the manifest, folders included; a file is
    replaced; and what belongs to another result is refused."""
    made = make_result(1)
    place.open().publish(made.files, made.manifest, check=_accept)

    def add(number: int) -> None:
        store = place.open()
        with store.workspace() as folder:
            path = folder / "notes.txt"
            path.write_text(f"note {number}")
            store.add_files({f"exports/notes/{number}.txt": path}, made.manifest.key)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    store = place.open()
    changed = tmp_path / "changed.txt"
    changed.write_text("another note")
    manifest = store.add_files({"exports/notes/2.txt": changed}, made.manifest.key)
    assert changed.exists()
    assert {file.name for file in manifest.files} == {
        *FILES,
        *(f"exports/notes/{number}.txt" for number in range(4)),
    }
    assert store.read_manifest() == place.open().listed() == manifest
    assert store.fetch("exports/notes/2.txt").read_text() == "another note"
    assert store.fetch("exports/notes/3.txt").read_text() == "note 3"
    with pytest.raises(StorageError, match=r"has no nothing\.txt; it has masks\.parquet"):
        store.fetch("nothing.txt")
    with pytest.raises(StorageError, match="gone or damaged"):
        store.add_files({"notes.txt": changed}, "another key")


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "/x", "a//b", "a/../b", "a/../../b"),
        *(".longtake/lock", "manifest.json", "a\nb", "a\\b", ""),
    ],
)
def test_names_stay_below_the_destination(
    place: Place, make_result: MakeResult, tmp_path: Path, name: str
) -> None:
    """A file's name cannot lead out of the destination, nor to what is not the caller's there."""
    made = make_result(1)
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(ValueError, match="plain file name"):
        place.open().add_files({name: path}, made.manifest.key)


def test_damage_is_seen(place: Place, make_result: MakeResult) -> None:
    """A result with a changed byte is not intact; one with a file less, or a file of another size,
    is not even listed. Published again it is whole."""
    made = make_result(1)
    content = made.files["masks.parquet"].read_bytes()
    place.open().publish(made.files, made.manifest, check=_accept)
    for spoil, is_listed in (
        (lambda: place.put("masks.parquet", content[:-1] + b"?"), None),
        (lambda: place.put("masks.parquet", content + b"?"), False),
        (lambda: place.remove("masks.parquet"), False),
    ):
        spoil()
        store = place.open()
        assert store.read_manifest() is None
        assert store.published_key() == made.manifest.key
        if is_listed is False:
            assert store.listed() is None
            with pytest.raises(StorageError, match="no whole result"):
                store.fetch("masks.parquet")
            with pytest.raises(StorageError, match="gone or damaged"):
                store.add_files({"notes.txt": made.files["seams.json"]}, made.manifest.key)
        store.publish(made.files, made.manifest, check=_refuse_others(made))
        assert place.open().read_manifest() == made.manifest


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"key": 1}', b"\x00\xff"])
def test_a_manifest_of_nobody_has_an_empty_key(
    place: Place, make_result: MakeResult, data: bytes
) -> None:
    """What this version cannot read is no result, and no run replaces it unasked."""
    place.put("manifest.json", data)
    assert place.open().published_key() == ""
    assert place.open().read_manifest() is place.open().listed() is None
    made = make_result(1)
    with pytest.raises(InputError, match="another request"):
        place.open().publish(made.files, made.manifest, check=_refuse_others(made))
    assert place.get("manifest.json") == data


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"later": 1}], ids=["another format", "a name more"]
)
def test_manifest_of_a_later_version_is_refused(
    place: Place, make_result: MakeResult, change: dict[str, int]
) -> None:
    """Nothing of a result that this version may misread is given out, added to or replaced."""
    made, other = make_result(1), make_result(2)
    place.open().publish(made.files, made.manifest, check=_accept)
    later = json.loads(place.get("manifest.json")) | change
    place.put("manifest.json", json.dumps(later).encode())
    store = place.open()

    assert store.published_key() == made.manifest.key
    assert store.read_manifest() is store.listed() is None
    with pytest.raises(StorageError, match="no whole result"):
        store.fetch("masks.parquet")
    with pytest.raises(StorageError, match="gone or damaged"):
        store.add_files({"notes.txt": made.files["seams.json"]}, made.manifest.key)
    with pytest.raises((InputError, StorageError)):
        store.require("there")
    with pytest.raises(InputError, match="another request"):
        store.publish(other.files, other.manifest, check=_refuse_others(other))
    assert json.loads(place.get("manifest.json")) == later
    assert place.names() == {*FILES, "manifest.json"}


def test_forged_manifest_deletes_nothing_else(place: Place, make_result: MakeResult) -> None:
    """A manifest that lists names outside of its destination harms nothing there."""
    made = make_result(1)
    place.open().publish(made.files, made.manifest, check=_accept)
    place.put("../precious", b"keep me")
    forged = json.loads(made.manifest.model_dump_json())
    forged["files"].append({"name": "../precious", "size": 7, "sha256": "0" * 64})
    place.put("manifest.json", json.dumps(forged).encode())
    assert place.open().read_manifest() is None
    other = make_result(2)
    place.open().publish(other.files, other.manifest, check=_accept)
    assert place.get("../precious") == b"keep me"


def test_workspaces_are_empty_and_go(place: Place, make_result: MakeResult) -> None:
    """Each is an empty folder of its own; after its block it is gone, and nothing of it was
    published that was not added."""
    made = make_result(1)
    store = place.open()
    store.publish(made.files, made.manifest, check=_accept)
    with store.workspace() as one, store.workspace() as other:
        assert one != other
        assert not [*one.iterdir(), *other.iterdir()]
        (one / "left").write_text("over")
    assert not one.exists()
    assert not other.exists()
    assert place.names() == {*FILES, "manifest.json"}
