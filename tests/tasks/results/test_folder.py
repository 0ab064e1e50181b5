"""Published results in a folder, through the same door as those in a bucket."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.chunks.plan import Chunk
from samcore.errors import InputError, StorageError
from samcore.result import Result
from samcore.result.manifest import MANIFEST
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import open_result_store
from tasks.run.refs import ResultRef
from tasks.settings import load_settings
from tests.tasks.conftest import Made

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]

TINY = {
    "stop": 3,
    "chunk_frames": 3,
    "overlap": 0,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
}


def test_result_of_format_1_is_read(ask: Ask, segment: Segment) -> None:
    """A manifest whose run record has two numbers in place of a plan opens, with that plan."""
    result = segment(ask(**{**TINY, "chunk_frames": 2, "overlap": 1}))
    path = Path(result.destination) / MANIFEST
    content = json.loads(path.read_text())
    assert content["request"].pop("chunks")
    content["request"] |= {"format": 1, "chunk_frames": 2, "overlap": 1}
    path.write_text(json.dumps(content))

    manifest = open_result_store(result).read_manifest()

    assert manifest is not None
    assert manifest.request.chunks == (Chunk(0, 0, 2), Chunk(1, 1, 3))
    assert Result(result.destination).key == result.key


def test_files_are_added_and_replaced(ask: Ask, segment: Segment, tmp_path: Path) -> None:
    """A file made in a workspace is moved into the result, one from elsewhere copied; the manifest
    lists both; a name that is taken gets the new content; and no workspace stays."""
    result = segment(ask(**TINY))
    store = open_result_store(result)
    elsewhere = tmp_path / "notes.txt"
    elsewhere.write_text("one")
    with store.workspace() as folder:
        (folder / "made.json").write_text("{}")
        store.add_files(
            {"exports/x/made.json": folder / "made.json", "notes.txt": elsewhere}, result.key
        )
    elsewhere.write_text("two")
    manifest = store.add_files({"notes.txt": elsewhere}, result.key)

    assert elsewhere.exists()
    assert store.read_manifest(result.key) == manifest
    assert {file.name for file in manifest.files} == {
        *("masks.parquet", "objects.json", "seams.json", "notes.txt", "exports/x/made.json")
    }
    assert store.fetch("notes.txt").read_text() == "two"
    assert store.fetch("exports/x/made.json").parent == Path(store.location) / "exports/x"
    assert not list((Path(store.location) / ".longtake").glob("new/*"))

    with pytest.raises(StorageError, match="gone or damaged"):
        store.add_files({"notes.txt": elsewhere}, "another key")
    with pytest.raises(StorageError, match=r"has no nothing\.txt; it has masks\.parquet"):
        store.fetch("nothing.txt")
    (Path(store.location) / "notes.txt").write_text("six")
    assert store.read_manifest() is None


def test_a_manifest_never_lies_there_without_its_files(
    tmp_path: Path, make_result: Callable[..., Made]
) -> None:
    """If a file cannot be brought to its place there is no result: not the new one, and not an
    older one of which files were replaced already. The next try makes it whole."""
    store = open_result_store(tmp_path / "out")
    old, new = make_result(1), make_result(2)
    store.publish(old.files, old.manifest, check=lambda found: None)
    assert store.read_manifest() == old.manifest
    (first, *_, last) = new.files
    broken = {**new.files, last: tmp_path / "gone"}

    with pytest.raises(StorageError, match=f"cannot write .*{last}"):
        store.publish(broken, new.manifest, check=lambda found: None)

    assert (tmp_path / "out" / first).read_bytes() == new.files[first].read_bytes()
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert store.published_key() is None
    store.publish(new.files, new.manifest, check=lambda found: None)
    assert store.read_manifest() == new.manifest


def test_abandoned_workspaces_go(tmp_path: Path) -> None:
    """What a killed process left is removed after a while; what is new is somebody's."""
    store = open_result_store(tmp_path)
    for name, days in (("old", 8), ("new", 1)):
        folder = tmp_path / ".longtake" / "new" / name
        folder.mkdir(parents=True)
        at = folder.stat().st_mtime - days * 86_400
        os.utime(folder, (at, at))
    with store.workspace():
        pass
    assert [folder.name for folder in (tmp_path / ".longtake" / "new").iterdir()] == ["new"]


def test_copies_that_nobody_opens_go(bucket: str) -> None:
    """This machine's copies of results in buckets do not pile up; one that is opened stays."""
    copies = load_settings().cache_dir / "results"
    used = hashlib.sha256(f"s3://{bucket}/used".encode()).hexdigest()[:16]
    for name in (used, "forgotten"):
        (copies / name).mkdir(parents=True)
        (copies / name / "masks.parquet").write_text("a copy")
        os.utime(copies / name, (0, 0))

    open_result_store(f"s3://{bucket}/used")

    assert (copies / used / "masks.parquet").exists()
    assert not (copies / "forgotten").exists()


def test_addresses_that_hold_no_result(tmp_path: Path) -> None:
    """An empty folder holds none; a web address cannot."""
    assert open_result_store(tmp_path).read_manifest() is None
    assert open_result_store(str(tmp_path)).published_key() is None
    with pytest.raises(InputError, match="s3://bucket/prefix"):
        open_result_store("https://host/out")
