"""How far tracking is: one place to report to, and any number of listeners."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from samcore.chunks.plan import Chunk
from samcore.machine.meters import MemoryReading
from tasks.progress.listeners import Listeners


@dataclass(frozen=True, slots=True)
class TrackProgress:
    """How far one run is."""

    video: str
    """The video's name."""
    chunk: int
    """Place of the present chunk in the plan, from 0."""
    num_chunks: int
    done: int
    """Frames of the video that have masks."""
    total: int
    """Frames of the video that are to have them."""
    fps: float
    """Frames a second in this chunk so far; 0 before its first frame."""
    eta_s: float | None
    """Seconds to the end at that rate, with the frames that chunks share; None if unknown."""
    peak_rss_bytes: int
    peak_vram_bytes: int | None

    @property
    def finished(self) -> bool:
        """Whether this is the last report of the run."""
        return self.done == self.total


Listener = Callable[[TrackProgress], None]

_listeners: Listeners[[TrackProgress]] = Listeners()


def listening(listener: Listener) -> AbstractContextManager[None]:
    """Have `listener` called with each report of this process while the block runs."""
    return _listeners.listening(listener)


def report(progress: TrackProgress) -> None:
    """Tell all listeners."""
    _listeners.tell(progress)


class ChunkProgress:
    """Turns the frames of one chunk into reports about the run."""

    def __init__(
        self, video: str, chunks: tuple[Chunk, ...], index: int, *, begin: int | None = None
    ) -> None:
        """Start the clock.

        Args:
            video: The video's name.
            chunks: The whole plan.
            index: The chunk that is tracked now.
            begin: The frame that it goes on at, if it was stopped there before.
        """
        self._video = video
        self._chunks = chunks
        self._chunk = chunks[index]
        self._begin = self._chunk.start if begin is None else begin
        self._later = sum(chunk.stop - chunk.start for chunk in chunks[index + 1 :])
        self._started = time.monotonic()

    def tracked(self, frame_idx: int, memory: MemoryReading) -> None:
        """Report that the masks of `frame_idx` are there."""
        here = frame_idx + 1 - self._begin
        fps = here / max(time.monotonic() - self._started, 1e-6)
        first, last = self._chunks[0], self._chunks[-1]
        # In the overlap the chunk before has been here already.
        reached = frame_idx + 1
        if self._chunk.index > 0:
            reached = max(reached, self._chunks[self._chunk.index - 1].stop)
        left = self._chunk.stop - frame_idx - 1 + self._later
        report(
            TrackProgress(
                video=self._video,
                chunk=self._chunk.index,
                num_chunks=len(self._chunks),
                done=reached - first.start,
                total=last.stop - first.start,
                fps=fps,
                eta_s=left / fps,
                peak_rss_bytes=memory.peak_rss_bytes,
                peak_vram_bytes=memory.peak_vram_bytes,
            )
        )


class Throttle:
    """Says yes at most once in `interval_s`."""

    def __init__(self, interval_s: float, *, at_once: bool = True) -> None:
        """Ready for the first yes.

        Args:
            interval_s: Seconds between two.
            at_once: Whether the first yes need not wait that long.
        """
        self._interval_s = interval_s
        self._last = float("-inf") if at_once else time.monotonic()

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._interval_s:
            return False
        self._last = now
        return True


def describe(progress: TrackProgress) -> str:
    """One line for a person."""
    left = "" if progress.eta_s is None else f", {clock(progress.eta_s)} left"
    vram = ""
    if progress.peak_vram_bytes is not None:
        vram = f", GPU {progress.peak_vram_bytes / 1e9:.1f} GB"
    return (
        f"{progress.video}: frame {progress.done} of {progress.total}, chunk {progress.chunk + 1} "
        f"of {progress.num_chunks}, {progress.fps:.1f} frames/s{left}, "
        f"peak {progress.peak_rss_bytes / 1e9:.1f} GB{vram}"
    )


def counted(count: int, what: str) -> str:
    """A number of things: `1 object`, `3 objects`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, such as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
