"""A stream's results are those of one tracker that saw all its frames."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from samcore.errors import InputError, StateError, TransientVideoError
from samcore.masks.row import GIVEN_UP_SCORE
from samcore.progress import Progress, listening
from samcore.prompts.options import parse_automatic
from samcore.streams.folder import WatchFolder
from tests.samcore.streams.watching import (
    HEIGHT,
    ONE_PART_S,
    WIDTH,
    frames_of,
    next_frame,
    one_tracker,
    pictures,
    plan_of,
    published,
    published_rows,
    watch,
)


def test_results_roll_and_are_those_of_one_tracker(tmp_path: Path) -> None:
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


def test_a_stopped_stream_is_published_and_goes_on(tmp_path: Path) -> None:
    """A stop at any moment publishes what there is; the next process goes on with memory, numbers
    and ids, so that all rows together are those of one tracker."""
    plan, frames = plan_of(tmp_path), pictures(60)
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


def test_objects_that_detectors_find_keep_their_ids_over_parts_and_stops(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("drop", ["oldest", "newest"])
def test_dropped_frames_are_counted_and_marked(drop: str, tmp_path: Path) -> None:
    """Of a source that is too fast all frames are accounted for: their numbers say which ones were
    tracked, and a mark where some were not."""
    plan = replace(plan_of(tmp_path, drop=drop, waiting=1), roll_s=ONE_PART_S)
    summary = watch(plan, pictures(400))

    (result,) = published(tmp_path)
    stamps = frames_of([result])
    stream = result.manifest.stream
    assert stream is not None
    received = [int(str(row["received"])) for row in stamps]
    steps = [after - before for before, after in zip([-1, *received], received, strict=False)]
    assert min(steps) > 0
    assert [row["gap"] == "dropped" for row in stamps] == [step > 1 for step in steps]
    after_the_last = 399 - received[-1]
    assert stream.counts.dropped == summary.dropped > 0
    assert stream.counts.dropped == sum(steps) - len(steps) + after_the_last
    assert stream.counts.received == 400
    assert stream.drop == drop
    if drop == "oldest":
        assert received[-1] == 399


def test_what_came_before_a_failure_is_published(tmp_path: Path) -> None:
    """A pipe whose ffmpeg dies cannot be read on: that is said once all frames before it are in
    whole results."""
    plan, frames = plan_of(tmp_path), pictures(400)

    def kill_ffmpeg(progress: Progress) -> None:
        for child in psutil.Process().children() if progress.done else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "rawvideo" in child.cmdline():
                    child.kill()

    with listening(kill_ffmpeg), pytest.raises(TransientVideoError, match="SIGKILL"):
        watch(plan, frames)
    tracked = next_frame(plan)
    assert 0 < tracked < 400
    assert published_rows(published(tmp_path)) == one_tracker(plan, frames[:tracked])


def test_another_request_does_not_go_on(tmp_path: Path) -> None:
    """What another request has left is not gone on from unasked; with `force` it is begun anew,
    and results that are published stay."""
    plan, frames = plan_of(tmp_path), pictures(3)
    watch(plan, frames)
    other = replace(plan, prompts_digest="0" * 64)
    with pytest.raises(InputError, match=r"work of another request.*--force"):
        watch(other, frames)
    watch(other, frames, force=True)
    assert [(len(one), one.manifest.request.start) for one in published(tmp_path)] == [(3, 0)] * 2


@pytest.mark.parametrize("name", ["state-*.safetensors", "checkpoint.json"])
def test_what_is_damaged_is_said(name: str, tmp_path: Path) -> None:
    """A state that is not what its checkpoint says is not gone on from, nor is a checkpoint that
    is not whole taken for none; with `force` all is begun anew."""
    plan = plan_of(tmp_path)
    watch(plan, pictures(2))
    (damaged,) = plan.folder.glob(name)
    damaged.write_bytes(damaged.read_bytes()[:-3])
    left = {path for path in plan.folder.rglob("*") if path.is_file()}
    with pytest.raises(StateError, match=r"damaged.*--force"):
        watch(plan, pictures(2))
    assert {path for path in plan.folder.rglob("*") if path.is_file()} == left
    assert watch(plan, pictures(3), force=True).frames == 3
    assert next_frame(plan) == 3


def test_two_processes_do_not_share_a_destination(tmp_path: Path) -> None:
    """The second one is refused at once."""
    plan = plan_of(tmp_path)
    with WatchFolder(plan.folder).alone("out"), pytest.raises(InputError, match="another process"):
        watch(plan, pictures(1))


def test_given_up_objects_leave_no_trace(tmp_path: Path) -> None:
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
