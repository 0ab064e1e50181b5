"""How a video is cut."""

import itertools

import pytest

from samcore.chunks.plan import plan_chunks
from samcore.errors import InputError

PLANS = [
    pytest.param(0, 1, 4, 1, id="one frame"),
    pytest.param(0, 4, 4, 1, id="exactly one chunk"),
    pytest.param(0, 5, 4, 1, id="one frame more"),
    pytest.param(0, 10, 4, 3, id="overlap of all but one frame"),
    pytest.param(0, 12, 4, 0, id="no overlap"),
    pytest.param(37, 101, 7, 5, id="from the middle"),
    pytest.param(0, 108_000, 300, 8, id="an hour"),
    pytest.param(0, 10, 1, 0, id="chunks of one frame"),
]


@pytest.mark.parametrize(("start", "stop", "chunk_frames", "overlap"), PLANS)
def test_every_frame_is_in_a_chunk(start, stop, chunk_frames, overlap):
    """Chunks cover [start, stop) from end to end and neighbours share exactly `overlap` frames."""
    plan = plan_chunks(start, stop, chunk_frames=chunk_frames, overlap=overlap)

    assert [chunk.index for chunk in plan] == list(range(len(plan)))
    assert (plan[0].start, plan[-1].stop) == (start, stop)
    assert all(a.stop - b.start == overlap for a, b in itertools.pairwise(plan))


@pytest.mark.parametrize(("start", "stop", "chunk_frames", "overlap"), PLANS)
def test_chunks_are_full_and_each_adds_frames(start, stop, chunk_frames, overlap):
    """Only the last chunk is shorter, and none lies wholly inside the one before."""
    plan = plan_chunks(start, stop, chunk_frames=chunk_frames, overlap=overlap)

    assert all(chunk.stop - chunk.start == chunk_frames for chunk in plan[:-1])
    assert 0 < plan[-1].stop - plan[-1].start <= chunk_frames
    assert all(a.start < b.start and a.stop < b.stop for a, b in itertools.pairwise(plan))


@pytest.mark.parametrize(
    ("start", "stop", "chunk_frames", "overlap", "message"),
    [
        pytest.param(0, 0, 4, 1, "no frames", id="empty video"),
        pytest.param(5, 5, 4, 1, "no frames", id="empty range"),
        pytest.param(6, 5, 4, 1, "no frames", id="range inside out"),
        pytest.param(-1, 5, 4, 1, "no frames", id="before the video"),
        pytest.param(0, 5, 4, 4, "overlap", id="overlap as long as the chunk"),
        pytest.param(0, 5, 4, -1, "overlap", id="negative overlap"),
        pytest.param(0, 5, 0, 0, "overlap", id="chunks without frames"),
    ],
)
def test_a_plan_that_cannot_be(start, stop, chunk_frames, overlap, message):
    """What cannot be cut is an error that says what came."""
    with pytest.raises(InputError, match=message):
        plan_chunks(start, stop, chunk_frames=chunk_frames, overlap=overlap)
