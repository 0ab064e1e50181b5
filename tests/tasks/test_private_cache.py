"""What the cache holds of private videos, other users of the machine cannot read."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samcore.disk.files import file_record, make_folder
from samcore.errors import StorageError
from samcore.run.folder import RunFolder
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.sources.opened import open_run_source
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

Ask = Callable[..., SegmentRequest]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of one's own, and a umask that closes nothing."""
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "cache"))
    before = os.umask(0)
    yield tmp_path / "cache"
    os.umask(before)


def _open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o077)


@pytest.mark.parametrize("there", [False, True], ids=["new", "of an older version"])
def test_videos_and_runs_are_the_user_s_alone(
    ask: Ask, clip: Path, bucket: str, cache: Path, there: bool
) -> None:
    """The video from a bucket and the run's folder, whatever the umask is, also in a cache that was
    open before; the folder that the cache lies in stays as it is."""
    if there:
        for name in ("sources", "runs", "index"):
            (cache / name).mkdir(parents=True)
            assert _open_to_others(cache / name)
    source = S3Location(bucket, "clip.mp4")
    ObjectStore().put_file(clip, source, sha256=file_record(clip).sha256)
    asked = {"source": source.uri, "destination": f"s3://{bucket}/out"}
    run = RunFolder.from_ref(plan_run.fn(ask(**asked)))
    assert run.path.is_relative_to(cache)
    folders = [path for path in cache.rglob("*") if path.is_dir() and path.name != "digests"]
    assert {path.name for path in folders} >= {"sources", "runs", "index", "chunks"}
    assert not [path for path in folders if _open_to_others(path)]
    (video,) = cache.rglob("clip.mp4")
    assert not _open_to_others(video)
    assert _open_to_others(cache) or not there

    video.chmod(0o644)
    open_run_source(run).frame(0)
    assert not _open_to_others(video)


def test_folders_elsewhere_go_by_the_umask(cache: Path, tmp_path: Path) -> None:
    """Results are for whom the person lets read them."""
    make_folder(tmp_path / "out" / "exports")
    assert (tmp_path / "out" / "exports").stat().st_mode & 0o777 == 0o777


def test_a_file_in_place_of_the_cache_is_said(cache: Path) -> None:
    """In one line that names it."""
    cache.touch()
    with pytest.raises(StorageError, match=r"cache.*a file is in the way"):
        make_folder(cache / "runs")
