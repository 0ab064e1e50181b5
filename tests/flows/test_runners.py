"""Units of work of one run on real engines, with a worker that is killed in the middle of one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from flows.segment_video import segment_video
from samcore.disk.sealed import open_record
from samcore.result.manifest import MASKS, SEAMS
from samcore.scenes import Scene, box_of
from tasks.request.segment_request import SegmentRequest

Ask = Callable[..., SegmentRequest]


@pytest.fixture
def match(ask: Ask, scene: Scene, tmp_path: Path) -> Ask:
    """Make a request for three chunks that find their own objects."""
    listed = [
        {"frame": frame, "box": list(box_of(mask)), "label": "ab"[place]}
        for frame in (0, 14, 28)
        for place, mask in enumerate(scene.masks_nhw(frame))
    ]
    path = tmp_path / "detections.json"
    path.write_text(json.dumps({"detections": listed}))
    return lambda **changes: ask(
        **{
            "handoff": "match",
            "automatic": {"detector": f"file:{path}"},
            "prompts": None,
            "image_size": 64,
            "stop": 46,
            "chunk_frames": 18,
            "overlap": 4,
            **changes,
        }
    )


@contextmanager
def killing_one_worker(work: Path) -> Iterator[list[int]]:
    """Kill the first other process that is seen to track a chunk; which one."""
    killed: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not killed and not ended.wait(0.01):
            for path in work.glob("runs/*/chunks/*/attempt.json"):
                try:
                    found = open_record(path.read_bytes(), of=f"{path.parent.name}/{path.name}")
                except OSError:
                    continue
                if isinstance(found, dict) and found["pid"] != os.getpid():
                    with contextlib.suppress(ProcessLookupError):  # it has just ended
                        os.kill(found["pid"], signal.SIGKILL)
                        killed.append(found["pid"])
                        return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield killed
    finally:
        ended.set()
        watcher.join()


def bytes_of(place: Path) -> list[bytes]:
    return [(place / name).read_bytes() for name in (MASKS, SEAMS, "objects.json")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "runner",
    [
        pytest.param("processes:2", marks=pytest.mark.slow),
        "dask:2",
        pytest.param("ray:2", marks=pytest.mark.slow),
    ],
)
def test_a_killed_worker_changes_nothing(
    prefect_api: str, match: Ask, tmp_path: Path, runner: str
) -> None:
    """Two workers on this machine, one of them killed in the middle of a chunk: the result is that
    of one process, and of the units nothing is left."""
    engine = {"dask": "prefect_dask", "ray": "prefect_ray"}.get(runner.partition(":")[0])
    if engine is not None:
        pytest.importorskip(engine, reason=f"{engine} is not installed here")
    here = Path(segment_video(match(destination=str(tmp_path / "here"))).destination)
    there = tmp_path / "there"
    with killing_one_worker(there / ".longtake") as killed:
        result = segment_video(match(destination=str(there), runner=runner))
    assert killed
    assert not result.was_there
    assert bytes_of(there) == bytes_of(here)
    (run,) = (there / ".longtake" / "runs").iterdir()
    assert (run / "request.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_is_told_to_stop_stops_its_workers(
    match: Ask, clip: Path, tmp_path: Path
) -> None:
    """SIGTERM at the command alone: workers save where they are and end with it, and the same
    command goes on from there."""
    request = match()
    assert request.automatic is not None
    out = tmp_path / "stopped"
    command = [
        *(sys.executable, "-m", "flows.cli", "track", str(clip), "-o", str(out), "--no-report"),
        *("--detect", request.automatic.detector, "--handoff", "match", "--model", "nano"),
        *("--image-size", "64", "--device", "cpu", "--stop", "60", "--chunk-frames", "40"),
        *("--overlap", "4", "--runner", "processes:2"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    workers: set[int] = set()
    while not workers and process.poll() is None:
        time.sleep(0.01)
        for path in out.glob(".longtake/runs/*/chunks/*/attempt.json"):
            with contextlib.suppress(OSError):
                found = open_record(path.read_bytes(), of=f"{path.parent.name}/{path.name}")
                workers |= {found["pid"]} if isinstance(found, dict) else set()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err.decode()
    assert workers
    assert not any(psutil.pid_exists(pid) for pid in workers)
    # A chunk that was begun is there whole or in part: a worker that was killed leaves
    # its mark instead.
    assert {path.name for path in out.glob(".longtake/runs/*/chunks/*/*.json")} & {
        "partial.json",
        "done.json",
    }
    assert not list(out.glob(".longtake/runs/*/chunks/*/attempt.json"))
    subprocess.run(command, check=True)
    assert (out / MASKS).exists()
