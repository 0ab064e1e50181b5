"""A chunk that is stopped on the way goes on from that frame, with the very same masks."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import tasks.track_chunk as track_chunk_module
from samcore.machine.stopping import run_stoppable
from samcore.masks.table import table_digest
from samcore.progress import Progress, listening
from samcore.run.folder import RunFolder
from samcore.run.partial_chunk import find_partial_chunk
from tasks.fetch_chunks import fetch_chunks
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import RunRef
from tasks.track_chunk import track_chunk

Ask = Callable[..., SegmentRequest]
TrackChunks = Callable[..., RunRef]

TWO_CHUNKS = {"stop": 32, "chunk_frames": 24, "overlap": 4, "image_size": 64}
"""[0, 24) and [20, 32)."""


def _stop_at(frame: int, run: RunRef, index: int) -> list[int]:
    """Track a chunk, and press Ctrl-C when `frame` has its masks; the frames that were tracked."""
    tracked: list[int] = []
    stops: list[threading.Event] = []

    def listen(progress: Progress) -> None:
        tracked.append(progress.done - 1)
        if progress.done - 1 == frame:
            os.kill(os.getpid(), signal.SIGINT)
            while not stops[-1].wait(10):  # Python may lose one: see below
                os.kill(os.getpid(), signal.SIGINT)

    def noted(work: Callable[[threading.Event], object]) -> object:
        return run_stoppable(lambda stop: (stops.append(stop), work(stop))[1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(track_chunk_module, "run_stoppable", noted)
        with listening(listen), pytest.raises(KeyboardInterrupt):
            track_chunk.fn(run, index)
    return tracked


def _tracked(run: RunRef, index: int) -> list[int]:
    """Track a chunk to its end; the frames that were tracked."""
    tracked: list[int] = []
    with listening(lambda progress: tracked.append(progress.done - 1)):
        track_chunk.fn(run, index)
    return tracked


@pytest.fixture
def calm(ask: Ask, track_chunks: TrackChunks, tmp_path: Path) -> Callable[..., list[str]]:
    """The digests of both chunks' masks of a run that nobody disturbs."""

    def track(**changes: object) -> list[str]:
        asked = {**TWO_CHUNKS, **changes, "destination": str(tmp_path / "calm")}
        folder = RunFolder.from_ref(track_chunks(ask(**asked)))
        return [table_digest(folder.masks_path(index)) for index in (0, 1)]

    return track


@pytest.mark.parametrize("handoff", ["memory", "mask"])
def test_a_stopped_chunk_goes_on(
    ask: Ask, track_chunks: TrackChunks, calm: Callable[..., list[str]], handoff: str
) -> None:
    """Stopped twice, before and after the state for the next chunk is saved, chunk 0 tracks each
    frame once, and both chunks' masks are those of a run that nobody disturbed."""
    run = track_chunks(ask(**TWO_CHUNKS, handoff=handoff), only=0)
    folder = RunFolder.from_ref(run)

    assert _stop_at(4, run, 0) == list(range(5))
    assert not folder.masks_path(0).exists()
    checkpoint = find_partial_chunk(folder, 0)
    assert checkpoint is not None
    assert checkpoint.record.next_frame == 5
    assert checkpoint.record.handed_on is None

    assert _stop_at(21, run, 0) == list(range(5, 22))
    checkpoint = find_partial_chunk(folder, 0)
    assert checkpoint is not None
    assert (checkpoint.record.handed_on is not None) is (handoff == "memory")

    assert _tracked(run, 0) == [22, 23]
    assert find_partial_chunk(folder, 0) is None
    assert not list(folder.path.rglob("partial.*"))
    track_chunk.fn(run, 1)
    assert [table_digest(folder.masks_path(index)) for index in (0, 1)] == calm(handoff=handoff)


def test_a_damaged_checkpoint_is_none(ask: Ask, track_chunks: TrackChunks) -> None:
    """A chunk whose saved masks or state are damaged begins at its first frame."""
    run = track_chunks(ask(**TWO_CHUNKS), only=1)
    folder = RunFolder.from_ref(run)
    calm = table_digest(folder.masks_path(0))
    folder.discard_chunk(0)
    for name in ("partial.parquet", "partial.safetensors", "partial.json"):
        _stop_at(2, run, 0)
        path = folder.chunk_path(0) / name
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        assert find_partial_chunk(folder, 0) is None
    assert _tracked(run, 0) == list(range(24))
    assert table_digest(folder.masks_path(0)) == calm


def test_a_damaged_state_for_the_next_chunk_makes_no_checkpoint(
    ask: Ask, track_chunks: TrackChunks, calm: Callable[..., list[str]]
) -> None:
    """Where the state that was saved for the next chunk is flipped or gone, the chunk begins at its
    first frame and saves it again: going on would hand the damage on."""
    run = track_chunks(ask(**TWO_CHUNKS), only=0)
    folder = RunFolder.from_ref(run)
    _stop_at(21, run, 0)
    path = folder.state_path(0)
    content = path.read_bytes()
    assert find_partial_chunk(folder, 0) is not None

    path.unlink()
    assert find_partial_chunk(folder, 0) is None
    path.write_bytes(bytes([*content[:-1], content[-1] ^ 1]))
    assert find_partial_chunk(folder, 0) is None

    assert _tracked(run, 0) == list(range(24))
    assert path.read_bytes() == content
    track_chunk.fn(run, 1)
    assert [table_digest(folder.masks_path(index)) for index in (0, 1)] == calm()


def test_a_stop_at_the_last_frame_finishes_the_chunk(ask: Ask, track_chunks: TrackChunks) -> None:
    """A chunk that is all but done when it is asked to stop is done, not saved half."""
    run = track_chunks(ask(**TWO_CHUNKS), only=0)
    _stop_at(23, run, 0)
    assert RunFolder.from_ref(run).finished_chunk(0) is not None
    assert find_partial_chunk(RunFolder.from_ref(run), 0) is None


def test_another_machine_goes_on(
    ask: Ask, track_chunks: TrackChunks, bucket: str, tmp_path: Path
) -> None:
    """Where the result goes to a bucket, a machine that has never seen the run goes on at the
    frame where another one was stopped."""
    asked = {**TWO_CHUNKS, "destination": f"s3://{bucket}/out"}
    here = track_chunks(ask(**asked, work_dir=str(tmp_path / "here")), only=0)
    _stop_at(4, here, 0)
    there = track_chunks(ask(**asked, work_dir=str(tmp_path / "there")), only=0)
    assert there.folder != here.folder

    fetch_chunks.fn(there)

    assert _tracked(there, 0) == list(range(5, 24))
