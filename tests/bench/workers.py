"""Three workers, twenty short videos, one server; all of them killed and started again at random.

    python -m pytest -s tests/bench/workers.py

Each worker has its own disk, as on a machine of its own; they share a bucket and a Prefect server.
Prints a line for each kill. Not part of the suite: it takes some ten minutes on two cores.
"""

import json
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import recover_runs as recover_module
from flows.arrivals.video_runs import DEPLOYMENT
from flows.cli import run as run_command
from flows.segment_video import segment_video
from flows.server.recovery import install_recovery
from flows.sweep_bucket import sweep_bucket
from samcore.disk.files import file_record
from samcore.scenes import Scene, box_of
from samcore.video import VideoWriter
from tasks.request.segment_request import validate_request
from tasks.results.open import open_result_store
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore
from tests.servers.prefect_server import PrefectServer, Worker

VIDEOS, WORKERS, KILLS = 20, 3, 24
FRAMES = 40
LIMIT_S = 3000.0
REQUEST = {
    "model": "nano",
    "settings": {"device": "cpu"},
    "chunk_frames": 8,
    "overlap": 2,
    "report": False,
}


@pytest.fixture
def videos(swift: object, bucket: str, tmp_path: Path) -> S3Location:
    """Twenty clips in a bucket, with their prompts beside them."""
    store, place = ObjectStore(), S3Location(bucket, "videos")
    for number in range(VIDEOS):
        scene = Scene(100 + number, num_frames=FRAMES, height=96, width=128, num_objects=1)
        path = tmp_path / f"{number:02d}.mp4"
        with VideoWriter(path, width=128, height=96, rate=Fraction(24)) as writer:
            for frame in scene:
                writer.write(frame.image_rgb_hwc_u8)
        box = [float(side) for side in box_of(scene.masks_nhw(0)[0])]
        prompts = {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]}
        prompts_place = place.join(f"{path.name}.prompts.json")
        store.put_bytes(prompts_place, json.dumps(prompts).encode())
        store.put_file(path, place.join(path.name), sha256=file_record(path).sha256)
    return place


def _digest(destination: str) -> str | None:
    """Of the masks of a whole result."""
    manifest = open_result_store(destination).read_manifest()
    files = {} if manifest is None else {file.name: file.sha256 for file in manifest.files}
    return files.get("masks.parquet")


@pytest.mark.timeout(4000)
def test_three_workers_twenty_videos(
    prefect_api: str,
    prefect_database: str,
    videos: S3Location,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every video has one run, which ends as Completed, and the result of a run in peace."""
    names = [f"{number:02d}.mp4" for number in range(VIDEOS)]
    peace, results = S3Location(videos.bucket, "peace"), S3Location(videos.bucket, "results")
    for name in names:
        source = videos.join(name).uri
        segment_video(
            validate_request(
                **REQUEST,
                source=source,
                prompts=f"{source}.prompts.json",
                destination=peace.join(name).uri,
            )
        )
    folder = tmp_path / "prefect"
    folder.mkdir()
    with (
        PrefectServer(folder, migrated=prefect_database) as server,
        temporary_settings({PREFECT_API_URL: server.url}),
    ):
        monkeypatch.setenv("PREFECT_API_URL", server.url)
        assert run_command(["deploy", "--model", "nano", "--pool", "gpu"]) == 0
        _use(REQUEST)
        install_recovery(silence=timedelta(seconds=60), rest=timedelta(seconds=25))
        monkeypatch.setenv("LONGTAKE_RECOVERY_REST_S", "30")
        monkeypatch.setattr(recover_module, "SPARE", timedelta(seconds=30))
        monkeypatch.setattr(recover_module, "PENDING_FOR", timedelta(seconds=90))
        _storm(server, tmp_path, sweep=lambda: _sweep(videos, results))
        runs = _runs()

    assert sorted(run.parameters["request"]["source"] for run in runs) == [
        videos.join(name).uri for name in names
    ]
    assert {run.state_name for run in runs} == {"Completed"}
    for name in names:
        assert (
            _digest(results.join(f"videos/{name}").uri) == _digest(peace.join(name).uri) is not None
        )
    left = [info.location.key for info in ObjectStore().list(results)]
    assert not [key for key in left if "/runs/" in key]
    print(f"{sum(run.run_count for run in runs)} tries of {VIDEOS} runs, equal bytes")


def _use(request: dict[str, object]) -> None:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(DEPLOYMENT)
        client.request(
            "PATCH", f"/deployments/{found.id}", json={"parameters": {"request": request}}
        ).raise_for_status()


def _runs() -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(DEPLOYMENT)
        of_this = DeploymentFilter(id=DeploymentFilterId(any_=[found.id]))
        return client.read_flow_runs(deployment_filter=of_this, limit=200)


def _sweep(videos: S3Location, results: S3Location) -> None:
    found = sweep_bucket(f"{videos.uri}/", results.uri, limit=VIDEOS)
    print(f"sweep: {found}", flush=True)


def _storm(server: PrefectServer, folder: Path, *, sweep: Callable[[], None]) -> None:
    """Kill something every few seconds, and start again what does not start by itself; sweep each
    minute."""
    chance = random.Random(7)
    started = time.monotonic()

    def start(place: int) -> Worker:
        disk = folder / f"machine-{place}"
        disk.mkdir(exist_ok=True)
        return Worker(
            server.url,
            "gpu",
            disk,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30",
            PREFECT_WORKER_QUERY_SECONDS="2",
            LONGTAKE_CACHE=str(disk / "cache"),
            OMP_NUM_THREADS="1",
        )

    workers = [start(place) for place in range(WORKERS)]
    kills = 0
    next_sweep = 0.0
    try:
        while True:
            if time.monotonic() >= next_sweep:
                sweep()
                next_sweep = time.monotonic() + 60
            time.sleep(chance.uniform(4, 14))
            states = sorted(str(run.state_name) for run in _runs())
            counts = {name: states.count(name) for name in dict.fromkeys(states)}
            if counts == {"Completed": VIDEOS}:
                break
            assert time.monotonic() - started < LIMIT_S, counts
            place = chance.randrange(WORKERS)
            if workers[place].process.poll() is not None:
                workers[place] = start(place)
            if kills >= KILLS:
                print(f"{time.monotonic() - started:.0f} s: {counts}", flush=True)
                continue
            what = chance.choice(("run", "run", "SIGTERM", "worker", "machine", "server"))
            if what in ("run", "SIGTERM"):
                engines = workers[place].runs()
                for engine in engines[:1]:
                    with suppress(psutil.NoSuchProcess):
                        engine.send_signal(signal.SIGKILL if what == "run" else signal.SIGTERM)
                kills += bool(engines)
            elif what == "server":
                server.kill()
                time.sleep(chance.uniform(0, 4))
                server.start()
                kills += 1
            else:
                if what == "machine":
                    workers[place].stop()  # with the runs that it has started
                else:
                    workers[place].kill()
                kills += 1
                time.sleep(chance.uniform(0, 4))
                workers[place] = start(place)
            print(f"{time.monotonic() - started:.0f} s: kill {kills}, {what}; {counts}", flush=True)
    finally:
        for worker in workers:
            worker.stop()
    print(f"{kills} kills in {time.monotonic() - started:.0f} s")
