"""Real exhaustion: the system gives a process less memory than its batches want."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from samcore.masks.rle import rle_iou
from samcore.masks.table import MaskReader
from samcore.result.records import ChunkRecord
from samcore.run.folder import RunFolder
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import RunRef
from tasks.track_chunk import track_chunk

ROOT = Path(__file__).parents[3]

STARVE = """
import faulthandler, resource, sys, threading
import psutil
faulthandler.dump_traceback_later(170, exit=True)  # where it hangs, if it does
from samcore.machine.out_of_memory import free_caches
from tasks.run.refs import RunRef
from tasks.track_chunk import track_chunk

def size():
    return psutil.Process().memory_info().vms

def watch():
    global most
    while not done.wait(0.001):
        most = max(most, size())

small, fed, starved = (RunRef.model_validate_json(text) for text in sys.argv[1:4])
track_chunk.fn(small, 0)  # all is imported and loaded
free_caches()
done = threading.Event()
most = before = size()
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
track_chunk.fn(fed, 0)
done.set()
watcher.join()
free_caches()
limit = size() + int((most - before) * float(sys.argv[4]))
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
track_chunk.fn(starved, 0)
"""
"""Tracks a chunk as it likes, measures what that took, and tracks it again with a part of it."""


@pytest.fixture
def run_of(
    ask: Callable[..., SegmentRequest], prompts: dict[str, object], tmp_path: Path
) -> Callable[..., RunRef]:
    """A run after its prompt pass, with `num_objects` copies of an object."""
    box = prompts["objects"][0]["prompts"][0]["box"]

    def run_of(name: str, num_objects: int, settings: dict[str, int], **changes: object) -> RunRef:
        objects = [
            {"id": obj_id, "prompts": [{"frame": 0, "box": box}]}
            for obj_id in range(1, num_objects + 1)
        ]
        request = ask(
            prompts={"objects": objects},
            destination=str(tmp_path / name),
            settings={"device": "cpu", **settings},
            overlap=0,
            **changes,
        )
        run = plan_run.fn(request)
        encode_prompts.fn(run)
        return run

    return run_of


def _done(run: RunRef) -> ChunkRecord:
    record = RunFolder.from_ref(run).finished_chunk(0)
    assert record is not None
    return record


def _least_iou(left: RunRef, right: RunRef) -> float:
    paths = [RunFolder.from_ref(run).masks_path(0) for run in (left, right)]
    with MaskReader(paths[0]) as ours, MaskReader(paths[1]) as theirs:
        pairs = list(zip(ours.rows(), theirs.rows(), strict=True))
    return min(rle_iou(a.rle, b.rle) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space for real")
@pytest.mark.parametrize(
    ("num_objects", "settings", "image_size", "part", "step"),
    [
        (1, {"encode_batch": 16, "object_batch": 1}, 256, 0.5, "encode batch 16 -> 8"),
        (24, {"encode_batch": 1, "object_batch": 24}, 256, 0.7, "object batch 24 -> 12"),
    ],
    ids=["frames", "objects"],
)
def test_what_does_not_fit_at_once_is_done_in_parts(
    num_objects: int,
    settings: dict[str, int],
    image_size: int,
    part: float,
    step: str,
    run_of: Callable[..., RunRef],
) -> None:
    """With a part of the memory that a chunk takes, under a limit that the kernel enforces,
    the chunk is finished in smaller batches, with the masks of the run that had all it wanted."""
    video = {"stop": 4, "chunk_frames": 4, "image_size": image_size}
    small = run_of("small", 1, {"encode_batch": 1, "object_batch": 1}, **{**video, "stop": 2})
    fed = run_of("fed", num_objects, settings, **video)
    starved = run_of("starved", num_objects, settings, **video)
    ended = subprocess.run(
        [
            *(sys.executable, "-c", STARVE),
            *(run.model_dump_json() for run in (small, fed, starved)),
            str(part),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            # What is freed goes back to the system at once, so that what is in use is what counts.
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "65536",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )

    assert ended.returncode == 0, ended.stderr
    assert not _done(fed).degradations
    assert any(step in line for line in _done(starved).degradations), _done(starved).degradations
    assert all("memory" in line for line in _done(starved).degradations)
    assert _least_iou(fed, starved) > 0.99


@pytest.mark.needs_cuda
def test_a_gpu_that_is_too_small(run_of: Callable[..., RunRef]) -> None:
    """With a limit on the part of the GPU that torch may take, below what the batches want: the
    chunk is finished in smaller ones, with the masks of the run that had all it wanted."""
    settings = {"device": "cuda", "encode_batch": 16, "object_batch": 16}
    video = {"stop": 8, "chunk_frames": 8, "image_size": 512}
    fed = run_of("fed", 16, settings, **video)
    starved = run_of("starved", 16, settings, **video)
    track_chunk.fn(fed, 0)
    wanted = _done(fed).peak_vram_bytes
    assert wanted is not None
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(0)
    try:
        torch.cuda.set_per_process_memory_fraction((held + (wanted - held) * 0.5) / total)
        track_chunk.fn(starved, 0)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert any("CUDA out of memory" in line for line in _done(starved).degradations)
    assert _done(starved).rung is not None
    assert _least_iou(fed, starved) > 0.95
