"""Sessions with small streams, and what they have published."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from flows.streams.plan import check_watch, plan_watch
from flows.streams.request import validate_watch
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.rle import encode_masks
from samcore.progress import Progress, listening
from samcore.result import Result
from samcore.streams import tally
from samcore.streams.folder import WatchFolder
from samcore.streams.plan import WatchPlan
from samcore.streams.session import WatchSession
from samcore.streams.tally import WatchSummary
from samcore.tracking.tracker import VideoTracker

HEIGHT, WIDTH = 48, 64
BOX = {"objects": [{"id": 3, "label": "square", "prompts": [{"frame": 0, "box": [8, 8, 30, 30]}]}]}

ONE_PART = "366d"
ONE_PART_S = 366 * 86_400.0
"""Of one result for all frames: a part that ends by the hour may end in the middle of a test."""

Rows = list[tuple[int, int, bytes, float]]
"""Frame, object, mask and score."""


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """A bright square that moves over noise."""
    rng = np.random.default_rng(5)
    found = []
    for t in range(count):
        image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        x, y = 8 + t % 20, 8 + t % 12
        image[y : y + 20, x : x + 20] = (220, 200, 40)
        found.append(image)
    return found


@contextmanager
def piped(frames: Sequence[NDArray[np.uint8]]) -> Iterator[int]:
    """A descriptor from which raw frames come, as fast as they are taken."""
    read, write = os.pipe()

    def feed() -> None:
        # Closing it writes what is left, and meets the broken pipe once more.
        with contextlib.suppress(BrokenPipeError), os.fdopen(write, "wb") as out:
            for frame in frames:
                out.write(frame.tobytes())

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield read
    finally:
        os.close(read)
        thread.join()


def plan_of(destination: Path | str, **asked: object) -> WatchPlan:
    """A plan with the smallest model; parts of a third of a second, chunks of a tenth."""
    given = {
        "source": "-",
        "size": f"{WIDTH}x{HEIGHT}",
        "rate": "10",
        "prompts": BOX,
        "settings": {"device": "cpu", "dtype": "float32"},
        **asked,
    }
    request = validate_watch(destination=str(destination), model="nano", image_size=64, **given)
    plan = plan_watch(request, check_watch(request))
    return replace(plan, roll_s=0.3, chunk_s=0.1)


def watch(
    plan: WatchPlan,
    frames: Sequence[NDArray[np.uint8]],
    *,
    stop_on: str = "end",
    force: bool = False,
) -> WatchSummary:
    """A session with these frames, until the stream's end, the first frame or the first part."""
    stop = threading.Event()

    def on_progress(progress: Progress) -> None:
        if stop_on == "frame" and progress.done:
            stop.set()

    def on_published(_name: str, _frames: int) -> None:
        if stop_on == "part":
            stop.set()

    with (
        piped(frames) as stdin,
        listening(on_progress),
        pytest.MonkeyPatch.context() as patch,
    ):
        # Each frame is told of: otherwise the first one may come within a second of a silence
        # that was told of, and the last one, too.
        patch.setattr(tally, "_REPORT_S", 0.0)
        plan = replace(plan, stdin=stdin)
        session = WatchSession(
            plan, stop, destination="out", force=force, on_published=on_published
        )
        return session.run()


def rows_of(outputs: Sequence[FrameMasks]) -> Rows:
    return [
        (output.frame_idx, obj_id, rle.counts, float(score))
        for output in outputs
        for obj_id, rle, score in zip(
            output.obj_ids, encode_masks(output.masks_nhw), output.object_scores_n, strict=True
        )
    ]


def published(destination: Path) -> list[Result]:
    """All results, by their frames."""
    found = [Result(path.parent) for path in destination.glob("*/manifest.json")]
    return sorted(found, key=lambda result: result.manifest.request.start)


def published_rows(results: Sequence[Result]) -> Rows:
    tables = [pq.read_table(result.path / "masks.parquet").to_pylist() for result in results]
    return [
        (row["frame"], row["object_id"], row["counts"], row["object_score"])
        for table in tables
        for row in table
    ]


def frames_of(results: Sequence[Result]) -> list[dict[str, object]]:
    return [
        row
        for result in results
        for row in pq.read_table(result.path / "frames.parquet").to_pylist()
    ]


def one_tracker(plan: WatchPlan, frames: Sequence[NDArray[np.uint8]]) -> Rows:
    """The rows of a tracker that sees all frames without a break."""
    tracker = VideoTracker(plan.model, height=HEIGHT, width=WIDTH, settings=plan.settings)
    for prompt in plan.prompts(WIDTH, HEIGHT):
        tracker.add_prompt(prompt)
    return rows_of(list(tracker.track(frames)))


def next_frame(plan: WatchPlan) -> int:
    """Where the next process goes on."""
    checkpoint = WatchFolder(plan.folder).checkpoint()
    return 0 if checkpoint is None else checkpoint.next_frame
