"""What is odd, where only some frames were tracked."""

import numpy as np
import pytest

from samcore.findings.check import WatchedObject
from samcore.findings.jump import JumpCheck
from samcore.findings.rows import Rows
from samcore.video.tracked import TrackedFrames


def _jumps(frames, lefts, tracked):
    count = len(frames)
    told = []
    check = JumpCheck(WatchedObject(1, 24.0, (480, 640), tracked), told.append)
    full = {name: np.full(count, 40) for name in ("y", "w", "h")}
    check.add(
        Rows(
            frame=np.array(frames),
            object_score=np.full(count, 5.0, np.float32),
            predicted_iou=np.ones(count, np.float32),
            prompted=np.zeros(count, np.bool_),
            x=np.array(lefts),
            area=np.full(count, 1600),
            **full,
        )
    )
    return [(item.frame, item.text) for item in told]


@pytest.mark.parametrize("first", [0, 1000])
def test_a_jump_is_one_from_a_tracked_frame_to_the_next(first):
    """Frames that nobody tracked are no gap, and an object may move farther between two of them."""
    frames = [first + 4 * step for step in range(5)]
    tracked = TrackedFrames.of(np.array(frames), every=4)

    far = _jumps(frames, [40, 40, 140, 140, 140], tracked)
    near = _jumps(frames, [40, 40, 100, 100, 100], tracked)

    assert far == [(first + 8, "moved 1.8 times its size in 4 frames")]
    assert near == []
    assert _jumps(range(5), [40, 40, 100, 100, 100], None) == [
        (2, "moved 1.1 times its size in one frame")
    ]
    # without knowing which were tracked, frames that do not follow each other are not compared
    assert _jumps(frames, [40, 40, 140, 140, 140], None) == []
