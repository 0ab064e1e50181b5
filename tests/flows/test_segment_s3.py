"""The flow from bucket to bucket: through a bad network, and from one machine to the next."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.sorting import FlowRunSort

from flows.segment_video import segment_video
from tasks.files import file_record
from tasks.locations import S3Location
from tasks.request import SegmentRequest
from tasks.result_store import open_result_store
from tasks.storage import ObjectStore
from tests.servers.faults import (
    INTERNAL_ERROR,
    SLOW_DOWN,
    Break,
    FaultProxy,
    LoseAnswer,
    Storm,
)
from tests.servers.swift import SwiftServer
from tests.servers.warm import WarmCommands

Ask = Callable[..., SegmentRequest]

START_LIMIT_S = 120
CHUNKS = {
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
def calm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the result of a run from disk to disk is put."""
    return tmp_path_factory.mktemp("calm")


@pytest.fixture
def calm(prefect_api: str, ask: Ask, calm_folder: Path) -> Path:
    """The result of the same request from disk to disk."""
    segment_video(ask(**CHUNKS, destination=str(calm_folder)))
    return calm_folder


def _task_states(like: str) -> dict[str, str | None]:
    """Task runs of the last flow run of this name, and how they ended."""
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=like)),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id={"any_": [run.id]}),  # type: ignore[arg-type]
        )
    return {task.name.partition(": ")[2]: task.state_name for task in tasks}


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
    assert {key.partition("/index/")[0] for key in left} == {
        "out/.longtake",
        *(f"out/{name}" for name in ("manifest.json", "masks.parquet", "seams.json")),
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
        *("--model", "nano", "--device", "cpu"),
        *("--stop", "22", "--chunk-frames", "8", "--overlap", "2"),
    ]
    command = warm.start(args, **swift.environment(), LONGTAKE_CACHE=str(tmp_path / "first"))
    store = ObjectStore()
    deadline = time.monotonic() + START_LIMIT_S
    while not _has(store, bucket, "chunks/00001/done.json"):
        assert command.poll() is None, command.err
        assert time.monotonic() < deadline, command.err
        time.sleep(0.02)
    command.kill(signal.SIGKILL)
    command.wait()
    assert not _has(store, bucket, "out/manifest.json")

    second = warm.start(args, **swift.environment(), LONGTAKE_CACHE=str(tmp_path / "second"))
    assert second.wait(START_LIMIT_S) == 0, second.err
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
