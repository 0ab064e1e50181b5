"""Which frames wait, which are dropped, and that a gap is never forgotten."""

import threading

import numpy as np
import pytest

from samcore.errors import VideoError
from samcore.video.live_queue import RECONNECTED, DropPolicy, LiveFrame, LiveQueue

PICTURE = np.zeros((2, 2, 3), np.uint8)


def frame(number: int, gap: str | None = None) -> LiveFrame:
    return LiveFrame(number, number, number, number, PICTURE, gap)


def taken(queue: LiveQueue) -> list[tuple[int, str | None]]:
    """All that waits, once there is no more to come."""
    queue.end()
    found = []
    while (one := queue.get(0.0)) is not None:
        found.append((one.received, one.gap))
    return found


@pytest.mark.parametrize(
    ("policy", "gap_at", "left"),
    [
        ("oldest", None, [(4, None), (5, None)]),
        ("oldest", 1, [(4, RECONNECTED), (5, None)]),
        ("oldest", 5, [(4, None), (5, RECONNECTED)]),
        ("newest", None, [(0, None), (1, None)]),
    ],
)
def test_frames_are_dropped_by_the_policy(
    policy: DropPolicy, gap_at: int | None, left: list[tuple[int, str | None]]
) -> None:
    """Of six frames two may wait: the last ones, or the first ones; a gap goes over to the next
    frame that stays."""
    queue = LiveQueue(policy, 2)
    for number in range(6):
        queue.put(frame(number, RECONNECTED if number == gap_at else None), lambda: False)
    assert taken(queue) == left


def test_a_gap_before_a_dropped_frame_is_told_by_a_later_one() -> None:
    """With `newest`, too, where the frame after the gap found no room."""
    queue = LiveQueue("newest", 1)
    queue.put(frame(0), lambda: False)
    queue.put(frame(1, RECONNECTED), lambda: False)
    assert queue.get(0.0) is not None
    queue.put(frame(2), lambda: False)
    assert taken(queue) == [(2, RECONNECTED)]


def test_never_waits_for_room() -> None:
    """The reader waits until a frame is taken, and no frame is dropped; a stop ends the wait."""
    queue, stop = LiveQueue("never", 1), threading.Event()

    def read() -> None:
        for number in range(20):
            queue.put(frame(number), stop.is_set)
        queue.end()

    reader = threading.Thread(target=read)
    reader.start()
    found = []
    while not queue.is_over:
        one = queue.get(5.0)
        found += [] if one is None else [one.received]
    reader.join()
    assert found == [*range(20)]

    queue = LiveQueue("never", 1)
    queue.put(frame(0), lambda: False)
    queue.put(frame(1), lambda: True)
    assert taken(queue) == [(0, None)]


def test_an_error_comes_after_the_frames_before_it() -> None:
    """What ended the reader is raised once all frames were taken, and not before."""
    queue = LiveQueue("oldest", 4)
    queue.put(frame(0), lambda: False)
    queue.end(VideoError("gone"))
    assert queue.get(0.0) is not None
    assert queue.is_over
    with pytest.raises(VideoError, match="gone"):
        queue.get(0.0)
