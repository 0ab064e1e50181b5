"""A scan that is held until something was tracked meanwhile."""

import contextlib
import threading
from collections.abc import Iterator

import pytest

from samcore.progress import TRACKING, Progress, listening

LIMIT_S = 120.0
SMALL = {
    "image_size": 64,
    "chunk_frames": 10,
    "overlap": 3,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
}
"""[0, 10), [7, 17), [14, 24), [21, 31), ..., [56, 66)."""


class HeldScan:
    """A listener that holds a scan at a frame until so many frames are tracked."""

    def __init__(self, *, at: int = 45, until: int = 15) -> None:
        self.tracked = 0
        """Frames that were tracked."""
        self.early = 0
        """Frames that were tracked before the scan went on."""
        self.may_go_on = threading.Event()
        self._at, self._until = at, until

    def __call__(self, progress: Progress) -> None:
        if progress.what == TRACKING:
            self.tracked += 1
            if self.tracked >= self._until:
                self.may_go_on.set()
        elif progress.what == "scanning the video" and progress.done == self._at:
            assert self.may_go_on.wait(LIMIT_S)
            self.early = self.tracked


@contextlib.contextmanager
def held_scan(**options: int) -> Iterator[HeldScan]:
    """Have whatever is scanned within the block be held, and tracked early."""
    scan = HeldScan(**options)
    with pytest.MonkeyPatch.context() as patch, listening(scan):
        patch.setenv("LONGTAKE_EARLY_START_S", "0")
        yield scan
