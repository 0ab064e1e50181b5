"""When each frame is shown: the decoder's time stamps, made to go on where a clock starts again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.video.index import NO_PTS, FrameIndex

_DEEPEST = 16
"""So many frames may stand in another order than their time stamps: no codec reorders more."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """Time stamps in the order of the frames."""

    pts_n: NDArray[np.int64]
    """When each frame is shown, in units of the time base; never below the one before."""
    restarts: tuple[int, ...]
    """Frames at which the recording's clock starts again, ascending."""


def make_timeline(index: FrameIndex, *, frame_ticks: int) -> Timeline:
    """Give every frame a time stamp that is not below the one before.

    Time stamps that are in order are given as they are. Where the decoder gave none, it is one
    frame after the previous. Where the clock starts again, as in recordings that were joined end to
    end, the first frame after it follows the last one before it, and time goes on from there. Where
    time runs back for a few frames only, it stands still.

        given    0 40 80 120   0  40  80 120        given    0 40 80 60 160 200
        shown    0 40 80 120 160 200 240 280        shown    0 40 80 80 160 200

    Args:
        index: The frames.
        frame_ticks: Duration of a frame in units of the time base.
    """
    if index.seekable:
        return Timeline(index.pts_n, ())
    given_n = index.pts_n.copy()
    for frame_idx in np.flatnonzero(given_n == NO_PTS):
        given_n[frame_idx] = given_n[frame_idx - 1] + frame_ticks if frame_idx else 0
    shown_n = np.empty_like(given_n)
    restarts: list[int] = []
    start, seen, top, offset = 0, 0, int(given_n[0]), 0
    for back in (np.flatnonzero(np.diff(given_n) < 0) + 1).tolist():
        top = max(top, int(given_n[seen:back].max()))
        seen = back
        if _is_restart(given_n[back : back + _DEEPEST + 1], top, frame_ticks):
            shown_n[start:back] = np.maximum.accumulate(given_n[start:back]) + offset
            lasts = int(shown_n[back - 1] - shown_n[back - 2]) if back - start > 1 else 0
            offset = int(shown_n[back - 1]) + (lasts or frame_ticks) - int(given_n[back])
            restarts.append(back)
            start, top = back, int(given_n[back])
    shown_n[start:] = np.maximum.accumulate(given_n[start:]) + offset
    return Timeline(shown_n, tuple(restarts))


def _is_restart(following_n: NDArray[np.int64], top: int, frame_ticks: int) -> bool:
    """Whether time goes on from where it fell back to, rather than return to where it was.

    Args:
        following_n: Time stamps from the frame on at which time fell back: `_DEEPEST` + 1, fewer at
            the video's end.
        top: The highest time stamp before.
        frame_ticks: Duration of a frame.
    """
    fell = top - int(following_n[0])
    if 2 * fell <= frame_ticks:
        return False
    above = np.flatnonzero(following_n > top)
    if not len(above):
        # One or two frames at the end do not tell, unless they are far back.
        return len(following_n) > 2 or fell > _DEEPEST * frame_ticks
    passing = int(above[0])
    steps_n = np.diff(following_n[: passing + 1])
    # A clock that returns to where it was jumps over what it lost; a new one takes no such step.
    return passing > 1 and 2 * int(steps_n[-1]) <= 3 * int(steps_n[:-1].max())
