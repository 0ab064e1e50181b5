"""Runs over pictures: nothing lost and nothing twice, one result, whatever happens."""

import contextlib
import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from flows.images.artifact import result_page
from flows.images.plan import plan_images
from flows.images.request import ImagesRequest, validate_images
from flows.segment_images import segment_images
from flows.segment_video import WITH_FINDINGS
from samcore.errors import InputError
from samcore.picture_runs.records import PictureManifest
from samcore.result.folder import LocalResults
from samcore.result.manifest import MANIFEST, MASKS
from tasks.results.open import open_result_store
from tests.bench.image_kills import check, make_pictures
from tests.servers.forked_commands import WarmCommands
from tests.servers.swift import SwiftServer

Args = Callable[..., list[str]]
QUICK = {"points_per_side": 2, "min_stability": 0.5}


@pytest.fixture
def args(tmp_path: Path) -> Args:
    """A command line that segments everything on the pictures of a folder."""
    return lambda destination, *more: [
        *("image", str(tmp_path / "pictures"), "--everything", "-o", str(destination)),
        *(word for one in QUICK.items() for word in ("--everything-option", "{}={}".format(*one))),
        *("--model", "nano", "--image-size", "64", "--device", "cpu", "--shard-pictures", "6"),
        *more,
    ]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., ImagesRequest]:
    """Ask for the same in a program; keywords change it."""
    return lambda **changes: validate_images(
        **{
            "pictures": [str(tmp_path / "pictures")],
            "everything": QUICK,
            "destination": str(tmp_path / "out"),
            "model": "nano",
            "image_size": 64,
            "device": "cpu",
            "shard_pictures": 3,
            **changes,
        }
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_runs_go_on_and_processes_share_the_work(
    warm: WarmCommands, args: Args, tmp_path: Path
) -> None:
    """60 pictures, 6 of them broken. Killed twice and run again, by two processes at once: each
    picture once, the broken ones listed, no finished shard done again, the bytes of a calm run."""
    broken = make_pictures(tmp_path / "pictures", 60, 6, seed=3)
    calm, out = tmp_path / "calm", tmp_path / "out"
    command = warm.start(args(calm))
    whole_s = command.compute(float("inf"))
    assert command.wait() == 3, command.err
    check(calm, 60, broken)
    assert "6 pictures without masks because of a fault:" in command.out
    assert all(f"  {name}: " in command.out for name in broken)

    chance = random.Random(11)
    written: dict[Path, int] = {}
    for _ in range(2):
        command = warm.start(args(out))
        command.compute(chance.uniform(0.2, 0.7) * whole_s)
        command.kill(signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL, command.err
        _look(out, written)
        assert not (out / MANIFEST).exists()
    both = [warm.start(args(out)), warm.start(args(out))]
    while any(command.poll() is None for command in both):
        time.sleep(0.01)
        _look(out, written)
    assert [command.wait() for command in both] == [3, 3], both[0].err + both[1].err

    assert len(written) == 10
    check(out, 60, broken)
    assert (out / MASKS).read_bytes() == (calm / MASKS).read_bytes()
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("done.json"))
    again = warm.start(args(out, "--format", "coco"))
    assert again.wait() == 3, again.err
    assert "nothing to do" in again.out
    assert len(json.loads((out / "exports/coco/annotations.json").read_text())["images"]) == 54
    shown = warm.start(["show", str(out)])
    assert shown.wait() == 0, shown.err
    assert str(out / "report.html") in shown.out


def _look(out: Path, written: dict[Path, int]) -> None:
    """Fail if a shard that was done was done again; shards that are published go."""
    for path in out.glob(".longtake/runs/*/chunks/*/done.json"):
        with contextlib.suppress(FileNotFoundError):
            changed = path.stat().st_mtime_ns
            assert written.setdefault(path, changed) == changed, f"{path} was written twice"


@pytest.mark.usefixtures("prefect_api")
def test_a_changed_folder_is_another_result(
    ask: Callable[..., ImagesRequest], tmp_path: Path
) -> None:
    """The same request again does nothing, also where it began earlier; with one more picture it is
    another one, which replaces the result only by force, and leaves no file of the one before."""
    make_pictures(tmp_path / "pictures", 4, 1, seed=0)
    late = plan_images(ask())
    state = segment_images(ask(), return_state=True)
    first = state.result()
    assert state.name == WITH_FINDINGS
    assert (first.pictures, first.broken, first.was_there) == (4, 1, False)
    store = LocalResults(tmp_path / "out", PictureManifest)
    before = store.read_manifest()
    assert segment_images(ask()).was_there
    assert before is not None
    # One that has planned before that finds the result, and begins nothing anew.
    assert late.lay_out() == before
    assert late.folder.is_published
    page = result_page(store, before)
    assert "**1 picture without masks because of a fault**" in page
    assert (tmp_path / "out" / "report.html").as_uri() in page
    with get_client(sync_client=True) as client:
        shown = client.request(
            "POST",
            "/artifacts/latest/filter",
            json={"artifacts": {"key": {"any_": [f"longtake-{before.key[:12]}-result"]}}},
        ).json()
    assert [one["data"] for one in shown] == [page]

    (tmp_path / "pictures" / "0001.png").rename(tmp_path / "pictures" / "renamed.png")
    with pytest.raises(InputError, match="holds the result of another request"):
        plan_images(ask())
    assert store.read_manifest() == before
    second = segment_images(ask(force=True, overlay=False))
    assert (second.pictures, second.was_there) == (4, False)
    assert not list((tmp_path / "out" / "overlays").glob("*.jpg"))
    # Overlays are asked for again: they are drawn, and the masks are the same.
    masks = (tmp_path / "out" / MASKS).read_bytes()
    third = segment_images(ask())
    assert (third.was_there, third.has_overlays) == (False, True)
    assert (tmp_path / "out" / MASKS).read_bytes() == masks
    assert len(list((tmp_path / "out" / "overlays").glob("*.jpg"))) == 3


@pytest.mark.usefixtures("prefect_api")
def test_from_bucket_to_bucket_by_another_machine(
    ask: Callable[..., ImagesRequest],
    swift: SwiftServer,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pictures of a prefix, a result in a bucket; a machine with a disk of its own goes on with
    what the first one left, and takes its shards as they are."""
    make_pictures(tmp_path / "pictures", 7, 1, seed=1)
    client = swift.client()
    for path in sorted((tmp_path / "pictures").iterdir()):
        client.put_object(Bucket=bucket, Key=f"new/{path.name}", Body=path.read_bytes())
    request = ask(pictures=[f"s3://{bucket}/new/"], destination=f"s3://{bucket}/out")

    import flows.segment_images as flow

    done: list[int] = []
    segment_shard = flow.segment_shard

    def die_after_two(run, index, on_picture, device):  # type: ignore[no-untyped-def]
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(index)
        return segment_shard(run, index, on_picture, device)

    monkeypatch.setattr(flow, "segment_shard", die_after_two)
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "one"))
    with pytest.raises(KeyboardInterrupt):
        segment_images.fn(request)
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "two"))
    done.clear()

    result = segment_images.fn(request)

    assert len(done) == 1
    assert (result.data.pictures, result.data.broken) == (7, 1)
    store = open_result_store(f"s3://{bucket}/out", kind=PictureManifest)
    manifest = store.read_manifest()
    assert manifest is not None
    assert len([one for one in manifest.files if one.name.startswith("overlays/")]) == 6
    # A third one that has planned before that, and comes too late, segments nothing.
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "three"))
    late = plan_images(request)
    late.lay_out()
    done.clear()
    flow._do_shards(late)
    assert done == []
    left = client.list_objects_v2(Bucket=bucket, Prefix="out/.longtake/runs/").get("Contents", [])
    assert left == []
