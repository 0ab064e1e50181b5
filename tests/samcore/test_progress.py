"""Progress never goes back, and ends at the end."""

from samcore.chunks.plan import plan_chunks
from samcore.machine.meters import MemoryReading
from samcore.progress import ChunkProgress, Progress, listening

_MEMORY = MemoryReading(
    rss_bytes=1, peak_rss_bytes=2_000_000_000, vram_bytes=None, peak_vram_bytes=None
)


def test_frames_that_chunks_share_count_once() -> None:
    """Over all chunks the count of frames never falls and ends at the number of frames."""
    chunks = plan_chunks(5, 35, chunk_frames=10, overlap=6)
    seen: list[Progress] = []
    with listening(seen.append):
        for chunk in chunks:
            progress = ChunkProgress("clip.mp4", chunks, chunk.index)
            for frame_idx in range(chunk.start, chunk.stop):
                progress.tracked(frame_idx, _MEMORY)

    done = [report.done for report in seen]
    assert done == sorted(done)
    assert (done[0], done[-1], seen[-1].total) == (1, 30, 30)
    assert seen[-1].finished
    assert "0:00:00 left" in seen[-1].note
    assert "frame 30 of 30" in seen[-1].line
    assert "peak 2.0 GB" in seen[-1].line


def test_listeners_hear_only_while_they_listen() -> None:
    """After its block a listener is told no more."""
    seen: list[Progress] = []
    chunks = plan_chunks(0, 2, chunk_frames=2, overlap=0)
    with listening(seen.append):
        ChunkProgress("a", chunks, 0).tracked(0, _MEMORY)
    ChunkProgress("a", chunks, 0).tracked(1, _MEMORY)
    assert [report.done for report in seen] == [1]
