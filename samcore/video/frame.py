"""One decoded frame, and what can give frames."""

import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a video, as displayed."""

    frame_idx: int
    """Position in the source video in presentation order, from 0."""
    pts: int
    """Time stamp in units of the video's time base."""
    image_rgb_hwc_u8: NDArray[np.uint8]
    """The picture, H x W x 3, contiguous; the receiver's to keep or to write to."""


class FrameProducer(Protocol):
    """Decodes frames of one source, in order, in the thread that asks."""

    def frames(
        self, start: int, stop: int, *, stopping: threading.Event, stall_s: float
    ) -> Generator[Frame, None, None]:
        """Give frames [start, stop); ends early when `stopping` is set."""
        ...
