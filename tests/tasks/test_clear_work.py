"""What is removed when a run's result is published, and what must not stop that."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.run.folder import RunFolder
from tasks.clear_work import clear_work
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.run.mirror import Mirror
from tasks.run.refs import RunRef
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.faults import FaultProxy, Refuse
from tests.servers.swift import SwiftServer


@pytest.mark.parametrize(
    "refusal", [Refuse(403, "AccessDenied"), Refuse(501, "NotImplemented")], ids=lambda it: it.code
)
def test_uploads_that_cannot_be_listed_stop_nothing(
    refusal: Refuse, faults: FaultProxy, bucket: str
) -> None:
    """Without the right to list uploads, or on a server that cannot, the work is removed."""
    store, prefix = ObjectStore(), S3Location(bucket, "results/clip")
    done = prefix.join(".longtake/runs/abc/chunks/00000/done.json")
    store.put_bytes(done, b"{}")
    faults.set_rule(lambda request: refusal if "uploads" in request.target else None)

    Mirror(prefix, store).remove("abc")

    assert faults.num_faults == 2
    assert store.head(done) is None


def test_what_killed_uploads_left_is_removed(swift: SwiftServer, bucket: str) -> None:
    """Of this run at once: nobody else is at it. What others are sending stays."""
    s3, work = swift.client(), "results/clip/.longtake/runs"
    for key in (f"{work}/abc/chunks/00000/masks.parquet", f"{work}/abcd/x", "results/clip/y"):
        s3.create_multipart_upload(Bucket=bucket, Key=key)

    Mirror(S3Location(bucket, "results/clip"), ObjectStore()).remove("abc")

    left = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == [f"{work}/abcd/x", "results/clip/y"]


DAY_S = 86_400.0


def make(path: Path, *, days: float) -> Path:
    """A file that was last touched so long ago, and with it the folders that it made needful."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    age(path, days=days)
    return path


def age(path: Path, *, days: float) -> None:
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))


def make_run(work_dir: Path, key: str, *, days: float) -> RunFolder:
    """A run's folder in which nothing was written since."""
    folder = RunFolder.for_key(work_dir, key)
    make(folder.masks_path(0), days=days)
    make(folder.path / "lock", days=days)
    for path in (*folder.path.rglob("*"), folder.path):
        age(path, days=days)
    return folder


def clear(folder: RunFolder, bucket: str, *, keep_folder: bool = False) -> None:
    run = RunRef(
        folder=str(folder.path),
        destination=f"s3://{bucket}/results/clip",
        key=folder.path.name,
        video="clip.mp4",
    )
    with folder.lock():
        clear_work.fn(run, keep_folder=keep_folder)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of work whose results go to buckets."""
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_work_that_nobody_came_back_for_is_removed(bucket: str, cache: Path) -> None:
    """After two weeks, of runs, indexes and found objects; nothing else goes, nor what is used."""
    done = make_run(cache, "done", days=20)
    left, recent = make_run(cache, "left", days=15), make_run(cache, "recent", days=13)
    in_use = make_run(cache, "in-use", days=20)
    never_locked = make_run(cache, "never-locked", days=20)
    (never_locked.path / "lock").unlink()
    age(never_locked.path, days=20)
    old = [make(cache / name, days=15) for name in ("index/a.parquet", "found/a.json")]
    new = [make(cache / name, days=13) for name in ("index/b.parquet", "found/b.json")]
    model = make(cache / "sam2.1_hiera_tiny.pt", days=400)
    source = make(cache / "sources" / "3f9a" / "dog.mp4", days=400)

    with in_use.lock():
        clear(done, bucket)

    assert not left.path.exists()
    assert not never_locked.path.exists()
    assert recent.masks_path(0).exists()
    assert in_use.masks_path(0).exists()
    assert not done.masks_path(0).exists()
    assert {path.name for path in (cache / "runs").iterdir()} == {"done", "in-use", "recent"}
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*new, model, source))


def test_a_folder_that_a_person_chose_is_left_alone(
    bucket: str, cache: Path, tmp_path: Path
) -> None:
    """Nothing goes from there, of whatever age."""
    done, left = (make_run(tmp_path / "chosen", key, days=20) for key in ("done", "left"))
    index = make(tmp_path / "chosen" / "index" / "a.parquet", days=20)

    clear(done, bucket, keep_folder=True)

    assert all(path.exists() for path in (done.masks_path(0), left.masks_path(0), index))


def test_a_run_that_is_asked_for_again_is_in_use(ask: Callable[..., SegmentRequest]) -> None:
    """Planning touches its folder, also where all that it would write is there already."""
    folder = RunFolder.from_ref(plan_run.fn(ask()))
    age(folder.path, days=20)

    plan_run.fn(ask())

    assert time.time() - folder.path.stat().st_mtime < DAY_S
