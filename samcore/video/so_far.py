"""What a scan has found so far, for a thread that does not wait for its end."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from samcore.video.source import VideoSource

_S = TypeVar("_S")
_POLL_S = 0.1


class ScanSoFar(Generic[_S]):
    """Between the thread that scans a video and one that uses the frames which are known already.

    What it gives is what the scan has seen, and what the header claims of the rest. Both may turn
    out to be wrong: a file may be damaged further on, and have more or fewer frames than it says.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        """Set when the scan has ended, in whichever way, or goes on in one that tells nothing."""
        self.claimed: int | None = None
        """Frames that the header claims; None before the scan, and if it says nothing."""
        self._num_frames = 0
        self._began = time.monotonic()
        self._check: Callable[[], None] | None = None
        self._look: Callable[[int], _S | None] | None = None
        self._as_video: Callable[[_S], VideoSource | None] | None = None
        self._at_end: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def scanning(self, check: Callable[[], None] | None = None) -> Iterator[None]:
        """To be held by the thread that scans.

        Args:
            check: Called for each frame; what it raises ends the scan.
        """
        self._check = check
        try:
            yield
        finally:
            self.end()

    def claim(self, num_frames: int | None, as_video: "Callable[[_S], VideoSource | None]") -> None:
        """Told before the scan.

        Args:
            num_frames: What the header claims.
            as_video: Makes a video of what `begin` can look up.
        """
        self.claimed, self._as_video = num_frames, as_video

    def begin(self, look: Callable[[int], _S | None]) -> None:
        """Told when the scan begins.

        Args:
            look: Gives the first frames, so many; None if what follows may change them.
        """
        self._look, self._began = look, time.monotonic()

    def add(self) -> None:
        """Told of each frame."""
        if self._check is not None:
            self._check()
        self._num_frames += 1

    def end(self) -> None:
        """Told when the scan has ended, or will tell no more."""
        with self._lock:
            self.ended.set()
            calls, self._at_end = self._at_end, []
        for call in calls:
            call()

    def at_end(self, call: Callable[[], None]) -> None:
        """Have `call` called, by the thread that scans, when the scan has ended; at once if it
        has."""
        with self._lock:
            if not self.ended.is_set():
                self._at_end.append(call)
                return
        call()

    def first_frames(self, least: int, *, stop: threading.Event) -> "VideoSource | None":
        """Wait until so many frames are known.

        Args:
            least: How many.
            stop: Ends the wait.

        Returns:
            The video's first frames, `least` or more; None if the scan has ended, `stop` is set, or
            they are not certain before the scan has ended.
        """
        while self._num_frames < least:
            if stop.is_set() or self.ended.wait(_POLL_S):
                return None
        if self.ended.is_set() or self._look is None or self._as_video is None:
            return None
        found = self._look(self._num_frames)
        return None if found is None else self._as_video(found)

    def seconds_left(self) -> float:
        """How long the scan goes on at its present rate; 0 if that is not known."""
        done = self._num_frames
        if not done or self.claimed is None or self.ended.is_set():
            return 0.0
        return (time.monotonic() - self._began) / done * max(0, self.claimed - done)
