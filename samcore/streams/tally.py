"""What a session with a stream came to so far, and how that is told."""

import time
from collections import deque
from dataclasses import dataclass

from samcore.progress import TRACKING, Progress, Throttle, counted, report

_REPORT_S = 1.0


@dataclass(frozen=True, slots=True)
class WatchSummary:
    """What a session came to."""

    frames: int
    """Tracked."""
    dropped: int
    gaps: int
    """Times that the source was gone, and that the process was."""
    published: tuple[str, ...]
    """The names of the last results, a hundred at most."""
    latency_max_ms: float
    """From the arrival of a frame to its rows."""


class Tally:
    """Counts, and tells once a second."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self._began = time.monotonic()
        self._may_report = Throttle(_REPORT_S)
        self._frames = self._dropped = self._gaps = 0
        self._latency_ms = self._latency_max_ms = 0.0
        self._published: deque[str] = deque(maxlen=100)

    def tracked(self, *, dropped: int, gap: str | None) -> None:
        """A frame was tracked; so many were dropped before it."""
        self._frames += 1
        self._dropped += dropped
        self._gaps += gap is not None

    def dropped(self, count: int) -> None:
        """So many frames were dropped after the last one that was tracked."""
        self._dropped += count

    def wrote(self, latency_ms: float) -> None:
        """A frame's rows were written so long after it came."""
        self._latency_ms = latency_ms
        self._latency_max_ms = max(self._latency_max_ms, latency_ms)

    def published(self, name: str) -> None:
        """A result is there."""
        self._published.append(name)

    def tell(self) -> None:
        """Tell all listeners, now and then."""
        if not self._may_report():
            return
        fps = self._frames / max(time.monotonic() - self._began, 1e-6)
        dropped, late = f"{self._dropped} dropped", f"{self._latency_ms:.0f} ms"
        report(
            Progress(
                TRACKING,
                self._frames,
                None,
                "frames",
                note=f"{fps:.1f} fps  {late}  {dropped}",
                text=f"{counted(self._frames, 'frame')}, {fps:.1f} frames/s, "
                f"latency {late}, {dropped}, {counted(self._gaps, 'gap')}",
            )
        )

    def summary(self) -> WatchSummary:
        """All of it."""
        return WatchSummary(
            frames=self._frames,
            dropped=self._dropped,
            gaps=self._gaps,
            published=tuple(self._published),
            latency_max_ms=self._latency_max_ms,
        )
