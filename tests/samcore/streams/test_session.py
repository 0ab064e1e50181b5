"""A stream's results are those of one tracker that saw all its frames."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from flows.streams.plan import check_watch, plan_watch
from flows.streams.request import validate_watch
from samcore.errors import InputError, StateError
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.rle import encode_masks
from samcore.masks.row import GIVEN_UP_SCORE
from samcore.progress import Progress, listening
from samcore.prompts.options import parse_automatic
from samcore.result import Result
from samcore.streams.folder import WatchFolder
from samcore.streams.plan import WatchPlan
from samcore.streams.session import WatchSession
from samcore.streams.tally import WatchSummary
from samcore.tracking.tracker import VideoTracker

HEIGHT, WIDTH = 48, 64
BOX = {"objects": [{"id": 3, "label": "square", "prompts": [{"frame": 0, "box": [8, 8, 30, 30]}]}]}

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
        with os.fdopen(write, "wb") as out:
            try:
                for frame in frames:
                    out.write(frame.tobytes())
            except BrokenPipeError:
                pass

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield read
    finally:
        os.close(read)
        thread.join()


@pytest.fixture(scope="module")
def plan_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., WatchPlan]:
    """Makes plans with the smallest model; parts of a third of a second, chunks of a tenth."""

    def make(destination: Path, **asked: object) -> WatchPlan:
        asked = {"settings": {"device": "cpu", "dtype": "float32"}, **asked}
        given = {"source": "-", "size": f"{WIDTH}x{HEIGHT}", "rate": "10", "prompts": BOX, **asked}
        request = validate_watch(destination=str(destination), model="nano", image_size=64, **given)
        plan = plan_watch(request, check_watch(request))
        return replace(plan, roll_s=0.3, chunk_s=0.1)

    return make


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

    with piped(frames) as stdin, listening(on_progress):
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


def test_results_roll_and_are_those_of_one_tracker(
    tmp_path: Path, plan_of: Callable[..., WatchPlan]
) -> None:
    """Whatever the parts and chunks: the same bits, each frame once, and each part a whole result
    by itself; nothing of the work in progress is left but one state."""
    plan, frames = plan_of(tmp_path), pictures(40)
    summary = watch(plan, frames)

    results = published(tmp_path)
    assert len(results) > 1
    assert summary.frames == 40
    assert summary.dropped == summary.gaps == 0
    assert published_rows(results) == one_tracker(plan, frames)
    ends = [(one.manifest.request.start, one.manifest.request.stop) for one in results]
    assert [start for start, _ in ends] == [0, *(stop for _, stop in ends[:-1])]
    assert ends[-1][1] == 40
    assert {one.path.name for one in results} == {*summary.published}
    for result in results:
        result.check()
        stream = result.manifest.stream
        assert stream is not None
        assert stream.counts.received == len(result)
        assert [item.label for item in result.objects] == ["square"]
        assert [frame.frame_idx for frame in result] == [*range(*ends[results.index(result)])]
    stamps = frames_of(results)
    times = [row["captured_us"] for row in stamps]
    assert [row["received"] for row in stamps] == [*range(40)]
    assert times == sorted(set(times))
    assert not any(row["gap"] for row in stamps)
    left = [path.name for path in plan.folder.rglob("*") if path.is_file()]
    assert len(left) == 3
    assert {"lock", "checkpoint.json"} < {*left}


def test_a_stopped_stream_is_published_and_goes_on(
    tmp_path: Path, plan_of: Callable[..., WatchPlan]
) -> None:
    """A stop at any moment publishes what there is; the next process goes on with memory, numbers
    and ids, so that all rows together are those of one tracker."""
    plan, frames = plan_of(tmp_path), pictures(90)
    begins = [0]
    for stop_on in ("frame", "frame", "part"):
        watch(plan, frames[begins[-1] :], stop_on=stop_on)
        begins.append(next_frame(plan))
    if begins[-1] < len(frames):
        watch(plan, frames[begins[-1] :])

    results = published(tmp_path)
    assert published_rows(results) == one_tracker(plan, frames)
    restarts = {begin for begin in begins if 0 < begin < len(frames)}
    assert len(restarts) >= 2
    gaps = {row["frame"]: row["gap"] for row in frames_of(results) if row["gap"]}
    assert gaps == dict.fromkeys(restarts, "restarted")
    counts = [one.manifest.stream.counts.restarted for one in results if one.manifest.stream]
    assert sum(counts) == len(restarts)


def test_objects_that_detectors_find_keep_their_ids_over_parts_and_stops(
    tmp_path: Path, plan_of: Callable[..., WatchPlan]
) -> None:
    """What enters later is tracked from there on, under one id and label in all results; all rows
    are those of one tracker that sees the same detections."""
    boxes = {t: (8 + t % 20, 8 + t % 12, 28 + t % 20, 28 + t % 12) for t in range(5, 40)}
    seen = [{"frame": t, "box": box, "label": "square"} for t, box in boxes.items()]
    found = tmp_path / "seen.json"
    found.write_text(json.dumps({"detections": seen}))
    options = parse_automatic(None, detect=[f"file:{found}"], detect_every="1")
    plan = plan_of(tmp_path / "out", prompts=None, automatic=options)
    frames = pictures(40)
    watch(plan, frames[:25])
    watch(plan, frames[25:])

    results = published(tmp_path / "out")
    rows = published_rows(results)
    assert [row[0] for row in rows] == [*range(5, 40)]
    assert {row[1] for row in rows} == {1}
    shown = [item for result in results for item in result.objects]
    assert {(item.id, item.label, item.source) for item in shown} == {(1, "square", "file")}


def test_another_request_does_not_go_on(tmp_path: Path, plan_of: Callable[..., WatchPlan]) -> None:
    """What another request has left is not gone on from unasked; with `force` it is begun anew,
    and results that are published stay."""
    plan, frames = plan_of(tmp_path), pictures(3)
    watch(plan, frames)
    other = replace(plan, prompts_digest="0" * 64)
    with pytest.raises(InputError, match=r"work of another request.*--force"):
        watch(other, frames)
    watch(other, frames, force=True)
    assert [(len(one), one.manifest.request.start) for one in published(tmp_path)] == [(3, 0)] * 2


def test_a_damaged_state_is_said(tmp_path: Path, plan_of: Callable[..., WatchPlan]) -> None:
    """A state that is not what its checkpoint says is not gone on from."""
    plan = plan_of(tmp_path)
    watch(plan, pictures(2))
    (state,) = plan.folder.glob("state-*.safetensors")
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(StateError, match=r"gone or damaged.*--force"):
        watch(plan, pictures(2))


def test_two_processes_do_not_share_a_destination(
    tmp_path: Path, plan_of: Callable[..., WatchPlan]
) -> None:
    """The second one is refused at once."""
    plan = plan_of(tmp_path)
    with WatchFolder(plan.folder).alone("out"), pytest.raises(InputError, match="another process"):
        watch(plan, pictures(1))


def test_given_up_objects_leave_no_trace(tmp_path: Path, plan_of: Callable[..., WatchPlan]) -> None:
    """Objects that are given up have no more rows, and are not in the state: neither grows with
    the objects that were ever there."""
    objects = [{"id": i, "prompts": [{"frame": 0, "box": [8, 8, 28, 28]}]} for i in (1, 2, 3)]
    settings = {"retire_after": 1, "archive_size": 1, "device": "cpu", "dtype": "float32"}
    plan = plan_of(tmp_path, prompts={"objects": objects}, settings=settings)
    watch(plan, [*pictures(1), *[np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 8])

    rows = published_rows(published(tmp_path))
    assert {row[1] for row in rows if row[0] == 0} == {1, 2, 3}
    assert {row[1] for row in rows if row[0] == 8} == {3}
    assert GIVEN_UP_SCORE not in {row[3] for row in rows}
    state = WatchFolder(plan.folder)
    checkpoint = state.checkpoint()
    assert checkpoint is not None
    saved = state.load_state(checkpoint)
    assert not saved.given_up


def next_frame(plan: WatchPlan) -> int:
    """Where the next process goes on."""
    checkpoint = WatchFolder(plan.folder).checkpoint()
    return 0 if checkpoint is None else checkpoint.next_frame
