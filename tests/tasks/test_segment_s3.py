"""Runs whose video, work in progress and result are in a bucket."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.disk.files import file_record
from samcore.errors import InputError, StateError, StorageError
from samcore.run.backward import backward_pass
from samcore.run.early import early_chunks
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import find_partial_chunk
from tasks.add_output import add_output
from tasks.clear_work import clear_work
from tasks.fetch_chunks import fetch_chunks
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.results.open import find_result, open_result_store
from tasks.run.mirror import open_mirror
from tasks.run.refs import ResultRef, RunRef, backward_ref
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tasks.track_chunk import track_chunk
from tests.held_scan import held_scan
from tests.servers.faults import FaultProxy
from tests.servers.swift import SwiftServer

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]
TrackChunks = Callable[..., RunRef]

THREE_CHUNKS = {
    "image_size": 64,
    "stop": 16,
    "chunk_frames": 8,
    "overlap": 3,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
}
"""[0, 8) [5, 13) [10, 16)"""


@pytest.fixture
def in_bucket(bucket: str, clip: Path, ask: Ask) -> Ask:
    """Make a request for the clip, which is in the bucket, to a prefix of the bucket."""
    source = S3Location(bucket, "videos/my clip.mp4")
    ObjectStore().put_file(clip, source, sha256=file_record(clip).sha256)
    return lambda **changes: ask(
        **{
            "source": source.uri,
            "destination": f"s3://{bucket}/results/clip",
            **THREE_CHUNKS,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def calm(clip: Path, segment: Segment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the same request from disk to disk."""
    folder = tmp_path_factory.mktemp("calm")
    request = validate_request(
        source=str(clip),
        destination=str(folder),
        model="nano",
        settings={"device": "cpu"},
        **THREE_CHUNKS,
    )
    segment(request)
    return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go on as on a machine of this name: what another one has on its disk is not there."""
    return lambda name: monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / name))


def _names(bucket: str, prefix: str) -> set[str]:
    """The objects below a prefix, but for the index of the video's frames, which stays there."""
    keys = [info.location.key for info in ObjectStore().list(S3Location(bucket, prefix))]
    return {key.removeprefix(prefix) for key in keys if "/.longtake/index/" not in key}


def test_result_is_the_local_one(bucket: str, in_bucket: Ask, segment: Segment, calm: Path) -> None:
    """From bucket to bucket gives the very bytes of a run from disk to disk; files are added to it;
    and nothing of the work stays, here or there."""
    request = in_bucket()
    result = segment(request)

    store = open_result_store(result)
    for name in ("masks.parquet", "seams.json"):
        assert store.fetch(name).read_bytes() == (calm / name).read_bytes()
    manifest = store.read_manifest(result.key)
    assert manifest is not None
    assert manifest.request.source == request.source
    assert result.address("masks.parquet") == f"s3://{bucket}/results/clip/masks.parquet"

    run = plan_run.fn(request)
    add_output.fn(run, "overlay")
    clear_work.fn(run, keep_folder=False)
    files = {"manifest.json", "masks.parquet", "objects.json", "overlay.mp4", "seams.json"}
    mark = f"source-{manifest.request.source_mark}.json"
    assert _names(bucket, "results/clip/") == {*files, mark}
    assert not list(RunFolder.from_ref(run).path.rglob("*.parquet"))
    found = find_result(run, RunFolder.from_ref(run).record())
    assert found is not None
    assert found.has_overlay


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no header's claim without it")
def test_early_work_stays_here_until_the_scan_has_ended(
    bucket: str, in_bucket: Ask, segment: Segment, calm: Path, machine: Callable[[str], None]
) -> None:
    """Of a video in a bucket the first chunk is tracked and the second one stopped while it is
    scanned; the bucket hears of that only when the run goes on, and gets the bytes of calm."""
    machine("without an index")
    request = in_bucket()
    with held_scan(until=11) as scan:
        run = plan_run.fn(request)
    assert scan.early >= 11
    folder = RunFolder.from_ref(run)
    assert early_chunks(folder) == 1
    assert find_partial_chunk(folder, 1) is not None
    assert not _names(bucket, "results/clip/")

    result = segment(request)
    masks = open_result_store(result).fetch("masks.parquet")
    assert masks.read_bytes() == (calm / "masks.parquet").read_bytes()


def test_another_machine_goes_on(
    bucket: str,
    in_bucket: Ask,
    machine: Callable[[str], None],
    track_chunks: TrackChunks,
    segment: Segment,
    calm: Path,
    faults: FaultProxy,
) -> None:
    """The machine is gone after two of three chunks: another one tracks the third only, without
    a scan of the video, and publishes the very bytes of a run that nobody disturbed."""
    machine("first")
    request = in_bucket()
    track_chunks(request, only=2)

    machine("second")
    faults.clear()
    run = plan_run.fn(request)
    folder = RunFolder.from_ref(run)
    assert not [item for item in faults.exchanges if _reads_video(item.request.target, item.served)]
    assert folder.plan_work(with_states=True) == [0, 1, 2]
    assert fetch_chunks.fn(run) == 2
    assert folder.plan_work(with_states=True) == [2]
    before = [folder.done_path(index).stat().st_mtime_ns for index in (0, 1)]
    assert fetch_chunks.fn(run) == 0

    result = segment(request)
    assert [folder.done_path(index).stat().st_mtime_ns for index in (0, 1)] == before
    for name in ("masks.parquet", "seams.json"):
        assert open_result_store(result).fetch(name).read_bytes() == (calm / name).read_bytes()


def _reads_video(target: str, served: int) -> bool:
    return "videos/" in target and served > 0


def test_what_is_damaged_in_the_bucket_is_tracked_again(
    bucket: str,
    in_bucket: Ask,
    machine: Callable[[str], None],
    track_chunks: TrackChunks,
    swift: SwiftServer,
    tmp_path: Path,
) -> None:
    """A chunk in the bucket that is half there, damaged or forged is none; and what lies there
    under names that a run does not give comes nowhere near this machine's disk."""
    machine("first")
    run = track_chunks(in_bucket(), only=3)
    prefix = f"results/clip/.longtake/runs/{run.work_key}/chunks"
    client = swift.client()
    # The record and the masks of another chunk, whole as they are.
    for name, path in (
        ("done.json", RunFolder.from_ref(run).done_path(1)),
        ("masks.parquet", RunFolder.from_ref(run).masks_path(1)),
        ("state.safetensors", RunFolder.from_ref(run).state_path(1)),
    ):
        client.put_object(Bucket=bucket, Key=f"{prefix}/00000/{name}", Body=path.read_bytes())
    table = RunFolder.from_ref(run).masks_path(1).read_bytes()
    client.put_object(Bucket=bucket, Key=f"{prefix}/00001/masks.parquet", Body=table[:-1] + b"?")
    client.delete_object(Bucket=bucket, Key=f"{prefix}/00002/masks.parquet")
    for name in ("00002/evil.sh", "../../evil.sh", "00002/x/../../../evil.sh", "/evil.sh"):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=b"evil")

    machine("second")
    run = plan_run.fn(in_bucket())
    assert fetch_chunks.fn(run) == 0
    assert RunFolder.from_ref(run).plan_work(with_states=True) == [0, 1, 2]
    assert not list(tmp_path.rglob("*evil*"))


def test_changed_source_ends_the_run(
    bucket: str, in_bucket: Ask, swift: SwiftServer, clip: Path
) -> None:
    """A source that is replaced after the run began is an error that says so."""
    run = plan_run.fn(in_bucket())
    swift.client().put_object(
        Bucket=bucket, Key="videos/my clip.mp4", Body=clip.read_bytes() + b"x"
    )
    with pytest.raises(StateError, match=r"my clip\.mp4 has changed since this run began"):
        track_chunk.fn(run, 0)


def test_what_a_person_can_put_right(in_bucket: Ask, bucket: str, segment: Segment) -> None:
    """A bucket that is not there, a video that is not, and another request's result are said in one
    line before anything is tracked."""
    with pytest.raises(StorageError, match="no such bucket"):
        plan_run.fn(in_bucket(destination="s3://no-such-bucket-here/out"))
    with pytest.raises(OSError, match="no video at"):
        plan_run.fn(in_bucket(source=f"s3://{bucket}/none.mp4"))
    for wrong in ("https://host/out", "ftp://host/out", "s3://b"):
        with pytest.raises(InputError):
            in_bucket(destination=wrong)

    tiny = {"stop": 4, "chunk_frames": 4, "overlap": 0}
    segment(in_bucket(**tiny))
    with pytest.raises(InputError, match=r"another request.*-o.*--force"):
        plan_run.fn(in_bucket(**{**tiny, "stop": 3}))
    plan_run.fn(in_bucket(**{**tiny, "stop": 3}, force=True))


def test_publishing_again_sends_nothing(
    in_bucket: Ask, segment: Segment, faults: FaultProxy
) -> None:
    """A publish task that is tried again, since nobody heard that it was done, puts no file and
    ends the same way."""
    request = in_bucket(stop=4, chunk_frames=4, overlap=0)
    segment(request)
    run = plan_run.fn(request)
    faults.clear()
    again = publish.fn(run, request)
    assert again.key == run.key
    put = {item.request.target for item in faults.exchanges if item.request.method == "PUT"}
    assert all("publishing.json" in target for target in put)


def test_two_plans_publish_one_result(
    in_bucket: Ask, track_chunks: TrackChunks, machine: Callable[[str], None], faults: FaultProxy
) -> None:
    """Two machines that cut one video differently, and take no notice of each other, have one
    result: the second finds the first one's when it publishes, and sends nothing."""
    first = in_bucket(stop=8, chunk_frames=8, overlap=0)
    second = in_bucket(stop=8, chunk_frames=5, overlap=1)
    runs = []
    for name, request in (("first", first), ("second", second)):
        machine(name)
        runs.append(track_chunks(request))
    assert runs[0].key == runs[1].key
    assert runs[0].work_key != runs[1].work_key
    publish.fn(runs[0], first)
    published = open_result_store(runs[0]).read_manifest()
    faults.clear()

    assert publish.fn(runs[1], second).key == runs[0].key

    assert open_result_store(runs[1]).read_manifest() == published
    put = {item.request.target for item in faults.exchanges if item.request.method == "PUT"}
    assert all("publishing.json" in target for target in put)


def test_work_for_a_folder_is_not_mirrored(ask: Ask) -> None:
    """A run to a folder knows no bucket."""
    run = plan_run.fn(ask(**THREE_CHUNKS))
    assert not run.in_bucket
    assert open_mirror(run) is None
    assert fetch_chunks.fn(run) == 0


def test_a_backward_pass_goes_on_elsewhere(
    bucket: str, in_bucket: Ask, track_chunks: TrackChunks, machine: Callable[[str], None]
) -> None:
    """Another machine fetches the chunks of both passes that one has finished, and goes on; when
    the result is there nothing of either pass stays, here or there."""
    object_1 = {"id": 1, "prompts": [{"frame": 12, "box": [10, 10, 60, 60]}]}
    request = in_bucket(prompts={"objects": [object_1]}, direction="both")
    machine("first")
    track_chunks(request, only=1)

    machine("second")
    run = plan_run.fn(request)
    mirror = backward_pass(RunFolder.from_ref(run))
    assert mirror is not None
    for ref in (run, backward_ref(run, mirror)):
        fetch_chunks.fn(ref)
    assert mirror.plan_work(with_states=True) == [1]
    assert RunFolder.from_ref(run).plan_work(with_states=True) == [1, 2]
    publish.fn(track_chunks(request), request)
    clear_work.fn(run, keep_folder=False)

    assert not any(".longtake" in name for name in _names(bucket, "results/clip/"))
    assert not list(RunFolder.from_ref(run).work_dir.rglob("masks.parquet"))
