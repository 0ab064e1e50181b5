"""Frames that wait for the tracker, and what happens when there is no room for the next one."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DropPolicy = Literal["oldest", "newest", "never"]

RECONNECTED, RESTARTED, DROPPED = "reconnected", "restarted", "dropped"
"""Why frames are missing before a frame: the source was gone, the tracker's process was, or there
was no room for them."""

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame:
    """One frame of a stream."""

    received: int
    """Its place among all frames that came, from 0; those that were dropped count."""
    captured_us: int
    """When it came, in microseconds since 1970, UTC; above that of the frame before."""
    source_pts: int
    """The source's own time stamp, or `NO_PTS`."""
    checksum: int
    """Adler-32 of the picture as it was decoded."""
    image_rgb_hwc_u8: NDArray[np.uint8]
    """The picture, H x W x 3."""
    gap: str | None = None
    """`RECONNECTED` if the source was gone before it."""


class LiveQueue:
    """Between the thread that reads a stream and the one that tracks it.

    Holds at most `most` frames. With no room for another one, `oldest` lets go of the frame that
    has waited longest, `newest` of the one that comes, and with `never` the reader waits.
    """

    def __init__(self, policy: DropPolicy, most: int) -> None:
        """Empty.

        Args:
            policy: Which frame is dropped.
            most: Frames that may wait.
        """
        self._policy = policy
        self._most = most
        self._frames: deque[LiveFrame] = deque()
        self._lost_gap: str | None = None
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False

    def put(self, frame: LiveFrame, is_stopped: Callable[[], bool]) -> None:
        """Add a frame, or drop one; with `never` wait for room until `is_stopped`."""
        with self._changed:
            while self._policy == "never" and len(self._frames) >= self._most:
                if is_stopped():
                    return
                self._changed.wait(_POLL_S)
            # What is said of a gap stays, whichever frame is dropped.
            frame = _with_gap(frame, self._lost_gap)
            self._lost_gap = None
            if len(self._frames) < self._most:
                self._frames.append(frame)
            elif self._policy == "newest":
                self._lost_gap = frame.gap
            else:
                dropped = self._frames.popleft()
                self._frames.append(frame)
                self._frames[0] = _with_gap(self._frames[0], dropped.gap)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Say that no frame comes any more; `error` is why, if that is not the stream's end."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def get(self, timeout_s: float) -> LiveFrame | None:
        """The frame that is due; None if there is none within that time, or none any more.

        Raises:
            BaseException: What ended the reader, once all frames were taken.
        """
        with self._changed:
            if not self._frames and not self._ended:
                self._changed.wait(timeout_s)
            if self._frames:
                self._changed.notify_all()
                return self._frames.popleft()
            if self._error is not None:
                raise self._error
            return None

    @property
    def is_over(self) -> bool:
        """Whether all frames were taken, and no other comes."""
        with self._changed:
            return self._ended and not self._frames


def _with_gap(frame: LiveFrame, gap: str | None) -> LiveFrame:
    return frame if gap is None else replace(frame, gap=gap)
