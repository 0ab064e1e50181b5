"""What can be seen of a run while it is at work."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.chunks.plan import Chunk
from samcore.masks.table import MaskReader
from samcore.run.attempts import attempting
from samcore.run.backward import backward_pass, mirrored_run
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import drop_partial_chunk
from samcore.run.so_far import ChunkSoFar, RunSoFar, newest_run
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import RunRef
from tasks.track_chunk import track_chunk
from tasks.units.lay_out import lay_out_unit
from tests.tasks.run.test_partial_chunk import _stop_at

Ask = Callable[..., SegmentRequest]
TrackChunks = Callable[..., RunRef]

THREE = {"stop": 40, "chunk_frames": 16, "overlap": 4, "image_size": 64}
"""[0, 16), [12, 28) and [24, 40)."""


def test_masks_show_while_chunks_finish(
    ask: Ask, track_chunks: TrackChunks, tmp_path: Path
) -> None:
    """Before the first chunk there is nothing; then each chunk's masks can be read as soon as it is
    done, those of a chunk that was stopped up to there, and all of them are those that are
    published, also where chunks overlap."""
    request = ask(**THREE)
    before = time.time() - 1
    run = plan_run.fn(request)
    folder = RunFolder.from_ref(run)
    found = newest_run(request.work_path, str(request.source_place), since=before)
    assert found is not None
    assert found.path == folder.path
    assert newest_run(request.work_path, "/another.mp4", since=before) is None
    assert newest_run(request.work_path, str(request.source_place), since=before + 999) is None

    seen = RunSoFar(found)
    assert [one.state for one in seen.look()] == ["ahead"] * 3
    assert seen.covered == []
    assert seen.rows(0) == []

    track_chunks(request, only=1)
    with attempting(folder.attempt_path(1), last_rung=3):
        assert [one.state for one in seen.look()] == ["done", "at work", "ahead"]
    assert seen.covered == [(0, 16)]
    assert [(part.start, part.stop) for part in seen.owned] == [(0, 12)]
    early = [row.packed() for row in seen.rows(14)]

    _stop_at(19, run, 1)
    states = seen.look()
    assert [one.state for one in states] == ["done", "stopped", "ahead"]
    assert states[1].next_frame == 20
    assert seen.covered == [(0, 20)]
    stopped = [row.packed() for row in seen.rows(18)]

    for index in (1, 2):
        track_chunk.fn(run, index)
    assert [one.state for one in seen.look()] == ["done"] * 3
    assert seen.covered == [(0, 40)]
    result = publish.fn(run, request)
    with MaskReader(Path(result.address("masks.parquet"))) as reader:
        for frame in (0, 12, 14, 18, 27, 39):
            assert [row.packed() for row in seen.rows(frame)] == [
                row.packed() for row in reader.rows(frame, frame + 1)
            ]
        assert early == [row.packed() for row in reader.rows(14, 15)]
        assert stopped == [row.packed() for row in reader.rows(18, 19)]


def test_a_chunk_may_end_during_a_look(
    ask: Ask, track_chunks: TrackChunks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was saved of it on the way goes then; the look has what else there is."""
    run = track_chunks(ask(**THREE), only=1)
    _stop_at(19, run, 1)
    seen = RunSoFar(RunFolder.from_ref(run))
    look_at = seen._chunk

    def look(folder: RunFolder, chunk: Chunk) -> ChunkSoFar:
        found = look_at(folder, chunk)
        if chunk.index == 1:
            drop_partial_chunk(folder, 1)
        return found

    monkeypatch.setattr(seen, "_chunk", look)
    assert [one.next_frame for one in seen.look()] == [16, 20, 24]
    assert seen.covered == [(0, 16)]


def test_a_killed_process_is_at_work_no_more(ask: Ask) -> None:
    """The mark of an attempt whose process is dead is not taken for work."""
    folder = RunFolder.from_ref(plan_run.fn(ask(**THREE)))
    dead = os.fork()
    if dead == 0:
        with attempting(folder.attempt_path(0), last_rung=3):
            os._exit(0)
    os.waitpid(dead, 0)
    assert folder.attempt_path(0).exists()
    assert [one.state for one in RunSoFar(folder).look()] == ["ahead"] * 3


def test_parts_of_a_run_are_not_taken_for_it(ask: Ask) -> None:
    """A backward pass and units have folders of their own, of the same video and younger ones; what
    is shown is the run that they belong to."""
    request = ask(**THREE, direction="both")
    run = plan_run.fn(request)
    folder = RunFolder.from_ref(run)
    mirror = backward_pass(folder)
    assert mirror is not None
    os.utime(mirror.path, (time.time() + 60,) * 2)
    shared = plan_run.fn(ask(**THREE, shards=2))
    unit = lay_out_unit(shared, 0)
    os.utime(unit.folder, (time.time() + 60,) * 2)
    for one in (run, shared):
        os.utime(one.folder, (time.time() + 30,) * 2)
        work_dir = RunFolder.from_ref(one).work_dir
        found = newest_run(work_dir, str(request.source_place), since=0)
        assert found is not None
        assert found.path == Path(one.folder)
        assert not one.keep_states  # of which nothing can be taken


def test_detection_is_counted_once(ask: Ask) -> None:
    """The seconds that it took before the first chunk are the run's, and not the backward pass's,
    too."""
    folder = RunFolder.from_ref(plan_run.fn(ask(**THREE, direction="both")))
    record = folder.record().model_copy(update={"finding_seconds": 3.0})
    mirror, _ = mirrored_run(record, folder.prompts(), last=59)
    assert mirror.finding_seconds is None
