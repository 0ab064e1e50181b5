"""The flow from bucket to bucket: through a bad network, and from one machine to the next."""

import json
import platform
import signal
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import FlowRunSort

from flows import segment_video as flow_module
from flows.segment_video import segment_video
from samcore.disk.files import file_record
from samcore.errors import TransientStorageError
from samcore.scenes import Scene
from samcore.video import VideoWriter
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import open_result_store
from tasks.run.refs import ResultRef, RunRef
from tasks.store import lease as run_lease
from tasks.store import object_store as storage
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.faults import (
    INTERNAL_ERROR,
    SLOW_DOWN,
    Break,
    FaultProxy,
    LoseAnswer,
    Storm,
)
from tests.servers.forked_commands import WarmCommand, WarmCommands
from tests.servers.swift import SwiftServer

Ask = Callable[..., SegmentRequest]

START_LIMIT_S = 120
CHUNKS = {
    "image_size": 64,
    "stop": 22,
    "chunk_frames": 8,
    "overlap": 2,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
    "report": False,
}
"""[0, 8) [6, 14) [12, 20) [18, 22)"""


@pytest.fixture
def source(bucket: str, clip: Path) -> str:
    """The clip in a bucket."""
    location = S3Location(bucket, "videos/clip.mp4")
    ObjectStore().put_file(clip, location, sha256=file_record(clip).sha256)
    return location.uri


@pytest.fixture(scope="module")
def other_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another video of the same size."""
    path = tmp_path_factory.mktemp("other") / "clip.mp4"
    scene = Scene(4, num_frames=24, height=96, width=128, num_objects=1)
    with VideoWriter(path, width=scene.width, height=scene.height, rate=Fraction(24)) as writer:
        for frame in scene:
            writer.write(frame.image_rgb_hwc_u8)
    return path


@pytest.fixture(scope="module")
def calm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the result of a run from disk to disk is put."""
    return tmp_path_factory.mktemp("calm")


@pytest.fixture
def calm(prefect_api: str, ask: Ask, calm_folder: Path) -> Path:
    """The result of the same request from disk to disk."""
    segment_video(ask(**CHUNKS, destination=str(calm_folder)))
    return calm_folder


def _tasks(like: str) -> dict[str, TaskRun]:
    """Task runs of the last flow run of this name."""
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=like)),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id={"any_": [run.id]}),  # type: ignore[arg-type]
        )
    return {task.name.partition(": ")[2]: task for task in tasks}


def _task_states(like: str) -> dict[str, str | None]:
    """How they ended."""
    return {name: task.state_name for name, task in _tasks(like).items()}


def _wait_until(found: Callable[[], bool], command: WarmCommand) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not found():
        assert command.poll() is None, command.err
        assert time.monotonic() < deadline, command.err
        time.sleep(0.02)


def test_the_report_comes_last(
    prefect_api: str, source: str, bucket: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the report, as the page for operators does, finds all of the result there: of
    all files of its own it is the last that is written, the manifest that lists it aside."""
    written: list[str] = []
    put_file = ObjectStore.put_file

    def recorded(self: ObjectStore, path: Path, location: S3Location, **options: Any) -> Any:
        answer = put_file(self, path, location, **options)
        written.append(location.key)
        return answer

    monkeypatch.setattr(ObjectStore, "put_file", recorded)
    asked = {**CHUNKS, "report": True, "formats": ("overlay", "mot-txt")}
    segment_video(ask(**asked, source=source, destination=f"s3://{bucket}/out"))

    files = [key for key in written if not key.startswith("out/.longtake/")]
    assert {"out/masks.parquet", "out/overlay.mp4"} < set(files)
    assert files[-1] == "out/report.html"


def test_bad_network_changes_nothing(
    prefect_api: str, bucket: str, source: str, ask: Ask, calm: Path, faults: FaultProxy
) -> None:
    """Every tenth request fails in one way or another: the run ends, its result is that of a calm
    run byte by byte, and nothing else is left. The same request again tracks nothing."""
    kinds = (SLOW_DOWN, INTERNAL_ERROR, LoseAnswer(), Break("answer", after=100), Break("request"))
    faults.set_rule(Storm(seed=5, faults=kinds, rate=0.1))
    request = ask(**CHUNKS, source=source, destination=f"s3://{bucket}/out")

    result = segment_video(request)

    assert faults.num_faults >= 5
    faults.clear()
    store = open_result_store(result)
    for name in ("masks.parquet", "seams.json"):
        assert store.fetch(name).read_bytes() == (calm / name).read_bytes()
    left = [info.location.key for info in ObjectStore().list(S3Location(bucket, "out/"))]
    (video,) = ObjectStore().list(S3Location(bucket, "videos/clip.mp4"))
    mark = video.mark  # as a sweep sees it
    assert {key.partition("/index/")[0] for key in left} == {
        "out/.longtake",
        "out/manifest.json",
        *(f"out/{name}" for name in ("masks.parquet", "objects.json", "seams.json")),
        f"out/source-{mark}.json",
    }
    states = _task_states("clip.mp4: segment")
    assert {"fetch finished chunks", "publish", "clear up"} <= set(states)
    assert set(states.values()) == {"Completed"}

    assert segment_video(request).was_there
    assert not [name for name in _task_states("clip.mp4: segment") if "chunk" in name]


def test_killed_machine_is_replaced(
    warm: WarmCommands,
    bucket: str,
    source: str,
    calm: Path,
    tmp_path: Path,
    swift: SwiftServer,
) -> None:
    """SIGKILL after the second chunk is in the bucket, and a machine with an empty disk: the same
    command tracks the rest only, and publishes the very bytes of an undisturbed run."""
    destination = f"s3://{bucket}/out"
    args = [
        *("track", source, "--box", "1:0:10,10,60,60", "-o", destination, "--no-report"),
        *("--model", "nano", "--image-size", "64", "--device", "cpu"),
        *("--stop", "22", "--chunk-frames", "8", "--overlap", "2"),
    ]
    command = warm.start(args, **swift.environment(), LONGTAKE_CACHE=str(tmp_path / "first"))
    store = ObjectStore()
    _wait_until(lambda: _has(store, bucket, "chunks/00001/done.json"), command)
    command.kill(signal.SIGKILL)
    command.wait()
    assert not _has(store, bucket, "out/manifest.json")

    second = warm.start(args, **swift.environment(), LONGTAKE_CACHE=str(tmp_path / "second"))
    assert second.wait(START_LIMIT_S) == 0, second.err
    assert "waiting" not in second.err  # that the first one is dead can be seen on its machine
    assert f"masks of 1 object on 22 frames: {destination}/masks.parquet" in second.out
    resumed = [
        name for name, state in _task_states("clip.mp4: segment").items() if state == "Resumed"
    ]
    assert {"track chunk 0", "track chunk 1"} <= set(resumed)
    results = open_result_store(destination)
    for name in ("masks.parquet", "seams.json"):
        assert results.fetch(name).read_bytes() == (calm / name).read_bytes()

    third = warm.start(args, **swift.environment(), LONGTAKE_CACHE=str(tmp_path / "third"))
    assert third.wait(START_LIMIT_S) == 0, third.err
    assert f"nothing to do: {destination} holds this result already" in third.out


def _has(store: ObjectStore, bucket: str, ending: str) -> bool:
    found = store.list(S3Location(bucket, "out/"))
    return any(info.location.key.endswith(ending) for info in found)


def test_memory_that_runs_out_in_uploads(
    prefect_api: str,
    bucket: str,
    source: str,
    ask: Ask,
    calm: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the first chunk, of a later one's state, and of the whole masks, before or after the bytes
    are sent: only the uploads are done again, and the result is that of a calm run."""
    failing = {
        "chunks/00000/masks.parquet": "before",
        "chunks/00002/state.safetensors": "after",
        "out/masks.parquet": "before",
    }
    upload = storage.upload

    def short_of_memory(s3: Any, path: Path, location: S3Location, *rest: Any) -> None:
        name = next((name for name in failing if location.key.endswith(name)), None)
        when = None if name is None else failing.pop(name)
        if when == "before":
            raise MemoryError
        upload(s3, path, location, *rest)
        if when == "after":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes")

    monkeypatch.setattr(storage, "upload", short_of_memory)

    result = segment_video(ask(**CHUNKS, source=source, destination=f"s3://{bucket}/out"))

    assert not failing
    store = open_result_store(result)
    for name in ("masks.parquet", "seams.json"):
        assert store.fetch(name).read_bytes() == (calm / name).read_bytes()
    tries = {name: run.run_count for name, run in _tasks("clip.mp4: segment").items()}
    assert {name for name, count in tries.items() if count > 1} == {
        "publish chunk 0",
        "publish chunk 2",
        "publish",
    }


def test_two_machines_at_one_request(
    warm: WarmCommands, bucket: str, source: str, calm: Path, tmp_path: Path, swift: SwiftServer
) -> None:
    """One tracks; the other says that it waits, and for which machine, and then has the result."""
    args = [
        *("track", source, "--box", "1:0:10,10,60,60", "-o", f"s3://{bucket}/out", "--no-report"),
        *("--model", "nano", "--image-size", "64", "--device", "cpu"),
        *("--stop", "22", "--chunk-frames", "8", "--overlap", "2"),
    ]

    def start(name: str) -> WarmCommand:
        return warm.start(args, **swift.environment(), LONGTAKE_CACHE=str(tmp_path / name))

    works = start("first")
    _wait_until(lambda: _has(ObjectStore(), bucket, "lease.json"), works)
    works.kill(signal.SIGSTOP)  # so that it does not end too early
    waits = start("second")
    said = f"longtake: warning: {platform.node()} is at this run: waiting"
    _wait_until(lambda: said in waits.err, waits)
    works.kill(signal.SIGCONT)

    assert works.wait(START_LIMIT_S) == 0, works.err
    assert waits.wait(START_LIMIT_S) == 0, waits.err
    assert "nothing to do" in waits.out
    assert "nothing to do" not in works.out
    masks = open_result_store(f"s3://{bucket}/out").fetch("masks.parquet")
    assert masks.read_bytes() == (calm / "masks.parquet").read_bytes()


@pytest.fixture
def versions(
    swift: SwiftServer, bucket: str, ask: Ask, clip: Path, other_clip: Path
) -> tuple[SegmentRequest, SegmentRequest]:
    """The same asked of an old and of the present version of a video."""
    place, store = (
        S3Location(swift.make_bucket("versions", versioned=True), "clip.mp4"),
        ObjectStore(),
    )
    found = []
    for path in (other_clip, clip):
        store.put_file(path, place, sha256=file_record(path).sha256)
        info = store.head(place)
        assert info is not None
        found.append(info.version_id)
    assert len({*found, None}) == 3
    out = {"source": place.uri, "destination": f"s3://{bucket}/out", "force": True}
    old, new = (ask(**CHUNKS, **out, source_version=version) for version in found)
    return old, new


def test_a_newer_versions_result_stays(
    prefect_api: str,
    bucket: str,
    versions: tuple[SegmentRequest, SegmentRequest],
    clip: Path,
    other_clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two versions of a video, whose runs end in the wrong order: each tracks its own version, and
    the newer one's result is the one that stays, whether the older run ends or begins after it."""
    old, new = versions
    # The newer one's whole run takes place while the older one tracks its last chunk.
    inner: list[ResultRef] = []
    publish = flow_module.publish

    def publish_late(run: RunRef, request: SegmentRequest) -> ResultRef:
        if not inner:
            inner.append(ResultRef.model_construct())
            inner[0] = segment_video(new)
        return publish(run, request)

    monkeypatch.setattr(flow_module, "publish", publish_late)
    late = segment_video(old)

    assert not inner[0].superseded
    assert late.superseded
    assert late.key == inner[0].key
    manifest = open_result_store(f"s3://{bucket}/out").read_manifest()
    assert manifest is not None
    assert manifest.key == inner[0].key
    assert manifest.request.source_version == new.source_version
    assert manifest.request.source_digest == f"sha256:{file_record(clip).sha256}"
    assert not list(ObjectStore().list(S3Location(bucket, "out/.longtake/runs/")))

    assert segment_video(old).superseded
    assert not [name for name in _task_states("clip.mp4: segment") if "chunk" in name]
    # Where nothing is in its way, a version that was replaced has a result of its own.
    apart = segment_video(old.model_copy(update={"destination": f"s3://{bucket}/old"}))
    assert not apart.superseded
    manifest = open_result_store(apart).read_manifest()
    assert manifest is not None
    assert manifest.request.source_digest == f"sha256:{file_record(other_clip).sha256}"


def test_a_newer_versions_result_comes_before_the_end(
    prefect_api: str,
    bucket: str,
    versions: tuple[SegmentRequest, SegmentRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The older run's masks were published, and the newer one's take their place before its report
    is written: that is no failure, and the newer one's result is whole."""
    old, new = (request.model_copy(update={"report": True}) for request in versions)
    inner: list[ResultRef] = []
    add = flow_module.add_output

    def add_late(run: RunRef, name: str) -> str:
        if not inner:
            inner.append(ResultRef.model_construct())
            inner[0] = segment_video(new)
        return add(run, name)

    monkeypatch.setattr(flow_module, "add_output", add_late)
    late = segment_video(old)

    assert late.superseded
    assert late.key == inner[0].key
    assert inner[0].has_report
    assert open_result_store(inner[0]).read_manifest(inner[0].key) is not None
    assert not list(ObjectStore().list(S3Location(bucket, "out/.longtake/runs/")))


def test_faults_that_last_are_tried_again_where_runs_are_scheduled(
    prefect_api: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away for longer than all retries is nothing that a person has to put right:
    the run of a deployment counts as crashed, and those are scheduled again. A command fails."""

    def away(request: SegmentRequest) -> ResultRef:
        raise TransientStorageError("cannot read s3://videos/clip.mp4: the server is away")

    monkeypatch.setattr(flow_module, "_segment", away)
    assert segment_video(ask(), return_state=True).is_failed()
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "a deployment's")
    state = segment_video(ask(), return_state=True)
    assert state.is_crashed()
    assert "tried again: cannot read s3://videos/clip.mp4" in str(state.message)


def test_a_machine_that_was_taken_for_dead_waits(
    prefect_api: str,
    bucket: str,
    source: str,
    ask: Ask,
    calm: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another machine goes on while this one is paused: it leaves the run to it, waits, and does
    the rest when that one is dead, too."""
    monkeypatch.setattr(run_lease, "BEAT_S", 0.2)
    monkeypatch.setattr(run_lease, "EXPIRES_S", 2.0)
    monkeypatch.setattr(run_lease, "_POLL_S", 0.2)
    store = ObjectStore()
    track, taken = flow_module.track_chunk, []

    def paused(run: RunRef, index: int) -> Any:
        done = track(run, index)
        if not taken:
            place = S3Location(bucket, f"out/.longtake/runs/{run.key}/lease.json")
            beat = json.loads(store.get_bytes(place, limit=4096))
            beat |= {"machine": "gpu-7/boot", "holder": "another one"}
            store.put_bytes(place, json.dumps(beat).encode())
            taken.append(index)
            time.sleep(1)
        return done

    monkeypatch.setattr(flow_module, "track_chunk", paused)
    result = segment_video(ask(**CHUNKS, source=source, destination=f"s3://{bucket}/out"))

    assert taken == [0]
    masks = open_result_store(result).fetch("masks.parquet")
    assert masks.read_bytes() == (calm / "masks.parquet").read_bytes()
    assert not list(store.list(S3Location(bucket, "out/.longtake/runs/")))
