"""How far a run is: one kind of event, one place to report it to, and any number of listeners."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from samcore.chunks.plan import Chunk
from samcore.machine.meters import MemoryReading

TRACKING = "tracking"
"""What reports about a run's frames are of."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is that takes its time."""

    what: str
    """What is being done, such as `scanning the video`."""
    done: int = 0
    """How much of it is done."""
    total: int | None = None
    """All of it; None if that is not known."""
    unit: str = ""
    """What is counted, in the plural; empty for something without a measure."""
    note: str = ""
    """What else there is to say, beside a bar."""
    text: str = ""
    """A whole line for people, if it says more than `what`, `done`, `total` and `unit`."""

    @property
    def finished(self) -> bool:
        """Whether this is the last report of it."""
        return self.total is not None and self.done >= self.total

    @property
    def line(self) -> str:
        """One line for a person."""
        if self.text or not self.unit:
            return self.text or self.what
        of = "" if self.total is None else f" of {self.total}"
        one = self.total == 1 or (self.total is None and self.done == 1)
        return f"{self.what}: {self.done}{of} {self.unit.removesuffix('s') if one else self.unit}"


Listener = Callable[[Progress], None]

_lock = threading.Lock()
_listeners: list[Listener] = []


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called, from any thread, with each report of this process while the block
    runs."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


def report(progress: Progress) -> None:
    """Tell all listeners."""
    with _lock:
        listeners = tuple(_listeners)
    for listener in listeners:
        listener(progress)


def reporter(
    what: str, unit: str = "steps", *, scale: int = 1
) -> Callable[[int, int | None], None]:
    """What a step is given to call; it tells all listeners.

    Args:
        what: What is being done.
        unit: What is counted.
        scale: What the step counts for each `unit`.
    """

    def tell(done: int, total: int | None) -> None:
        report(Progress(what, done // scale, None if total is None else total // scale, unit))

    return tell


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
        # Masks that come late may be those of frames before.
        here = max(1, frame_idx + 1 - self._begin)
        fps = here / max(time.monotonic() - self._started, 1e-6)
        first, last = self._chunks[0], self._chunks[-1]
        # In the overlap the chunk before has been here already.
        reached = frame_idx + 1
        if self._chunk.index > 0:
            reached = max(reached, self._chunks[self._chunk.index - 1].stop)
        # With the frames that chunks share.
        left = clock((self._chunk.stop - frame_idx - 1 + self._later) / fps)
        done, total = reached - first.start, last.stop - first.start
        rss, vram = f"{memory.peak_rss_bytes / 1e9:.1f} GB", memory.peak_vram_bytes
        gpu = "" if vram is None else f"GPU {vram / 1e9:.1f} GB"
        report(
            Progress(
                TRACKING,
                done,
                total,
                "frames",
                note=f"{fps:.1f} fps  {left} left  peak {rss}{gpu and f' + {gpu}'}",
                text=f"{self._video}: frame {done} of {total}, chunk {self._chunk.index + 1} of "
                f"{len(self._chunks)}, {fps:.1f} frames/s, {left} left, peak {rss}"
                f"{gpu and f', {gpu}'}",
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


def counted(count: int, what: str) -> str:
    """A number of things: `1 object`, `3 objects`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, such as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
