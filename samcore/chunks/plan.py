"""How a video is cut into overlapping chunks."""

from dataclasses import dataclass

from samcore.errors import InputError


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames [start, stop) of the source video, tracked in one go."""

    index: int
    """Place in the plan, from 0."""
    start: int
    """First frame, counted from 0 in the source video."""
    stop: int
    """One past the last frame."""


def plan_chunks(start: int, stop: int, *, chunk_frames: int, overlap: int) -> tuple[Chunk, ...]:
    """Cover frames [start, stop) with chunks that share `overlap` frames at each seam.

    start=0, stop=10, chunk_frames=4, overlap=1:

        0123          [0, 4)
           3456       [3, 7)
              6789    [6, 10)

    Chunk k *owns* the frames up to its successor's start; in the overlap the successor's masks
    are the ones published, the predecessor's are there to check them.

    Raises:
        InputError: There are no frames, or `overlap` is not in [0, chunk_frames).
    """
    if not 0 <= start < stop:
        raise InputError(f"no frames to track: wanted 0 <= start < stop, got {start = }, {stop = }")
    if not 0 <= overlap < chunk_frames:
        raise InputError(
            f"overlap must be at least 0 and below the chunk's length, got {overlap = }, "
            f"{chunk_frames = }"
        )
    chunks = [Chunk(0, start, min(start + chunk_frames, stop))]
    while chunks[-1].stop < stop:
        first = chunks[-1].stop - overlap
        chunks.append(Chunk(len(chunks), first, min(first + chunk_frames, stop)))
    return tuple(chunks)
