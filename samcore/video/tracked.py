"""Which frames of a video are tracked, where these are not all.

To the tracker they are the video: it counts *steps*, 0, 1, 2 ..., one for each. What is written
down and published has the true numbers of the frames, from `TrackedFrames.numbers_m`.

    frame    0 1 2 3 4 5 6 7 8 9
    step     0     1     2     3        every 3
"""

import hashlib
import threading
from collections.abc import Generator
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from samcore.errors import InputError
from samcore.video.frame import Frame, FrameProducer
from samcore.video.index import FrameIndex
from samcore.video.info import Ratio
from samcore.video.picking import only
from samcore.video.rate import find_rate
from samcore.video.source import VideoSource


class TrackedFrames(BaseModel):
    """Some frames of a video, ascending; the same ones for the same video and choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int | None = Field(default=None, ge=2)
    """N, where every N-th frame was chosen; None if frames were chosen by time."""
    fps: Ratio | None = None
    """So many frames a second were chosen; None if by number."""
    first: int = Field(ge=0)
    """The first one."""
    steps: str = Field(pattern=r"^(\d+\*\d+( \d+\*\d+)*)?$")
    """How far it is from each to the next, and how often in a row: `5*11 4*1` are eleven steps by 5
    frames, then one by 4; empty for a single frame."""

    @classmethod
    def of(
        cls, numbers_m: NDArray[np.int64], *, every: int | None = None, fps: Fraction | None = None
    ) -> "TrackedFrames":
        """Write down these frames, one at least, which ascend."""
        steps_m = np.diff(numbers_m)
        starts = np.flatnonzero(np.diff(steps_m, prepend=-1))
        counts = np.diff(starts, append=len(steps_m))
        runs = [f"{steps_m[at]}*{count}" for at, count in zip(starts, counts, strict=True)]
        return cls(every=every, fps=fps, first=int(numbers_m[0]), steps=" ".join(runs))

    @cached_property
    def numbers_m(self) -> NDArray[np.int64]:
        """The true numbers of the M frames."""
        pairs = [run.split("*") for run in self.steps.split()]
        steps = [np.full(int(count), int(step), np.int64) for step, count in pairs]
        return np.cumsum(np.concatenate([np.array([self.first], np.int64), *steps]))

    def __len__(self) -> int:
        return len(self.numbers_m)

    @property
    def said(self) -> str:
        """The choice, for people."""
        return f"every {self.every}" if self.fps is None else f"{float(self.fps):g} a second"

    def step_of(self, frame_idx: int) -> int:
        """The step of a frame; of one that is not tracked, that of the next one that is."""
        return int(np.searchsorted(self.numbers_m, frame_idx))

    def number(self, step: int) -> int:
        """The frame of a step; for one past the last step, one past the last frame."""
        numbers_m = self.numbers_m
        return int(numbers_m[-1]) + 1 if step == len(numbers_m) else int(numbers_m[step])

    def __contains__(self, frame_idx: object) -> bool:
        if not isinstance(frame_idx, int):
            return False
        step = self.step_of(frame_idx)
        return step < len(self) and int(self.numbers_m[step]) == frame_idx

    def nearest(self, frame_idx: int) -> tuple[int, ...]:
        """The tracked frames right before and after one that is not; one of them at an end."""
        step = self.step_of(frame_idx)
        return tuple(int(number) for number in self.numbers_m[max(step - 1, 0) : step + 1])

    def within(self, start: int, stop: int) -> NDArray[np.int64]:
        """Those of frames [start, stop)."""
        return self.numbers_m[self.step_of(start) : self.step_of(stop)]


def choose_frames(
    video: VideoSource,
    start: int,
    stop: int,
    *,
    every: int | None = None,
    fps: Fraction | None = None,
) -> TrackedFrames | None:
    """Choose which of the frames [start, stop) are tracked; `start` is always the first.

    By number, each `every`-th one from `start` on. By time, for each tick of a clock that ticks
    `fps` times a second from the time of `start` on, the first frame at or after it; a frame that
    is for several ticks is chosen once. A time stamp that is less than one unit before a tick
    counts as at it: containers round time stamps.

    Returns:
        None if these are all, as nothing is chosen.

    Raises:
        InputError: Both ways are asked for, or a number makes no sense.
    """
    if every is not None and fps is not None:
        raise InputError("every and fps: wanted one of them, got both")
    if every is not None:
        if every < 1:
            raise InputError(f"every: wanted 1 or more, got {every}")
        numbers_m = np.arange(start, stop, every, dtype=np.int64)
        return None if every == 1 else TrackedFrames.of(numbers_m, every=every)
    if fps is None:
        return None
    if fps <= 0:
        raise InputError(f"fps: wanted more than 0, got {fps}")
    pts_n = video.shown_pts_n[start:stop]
    tick = 1 / (fps * video.info.time_base)  # units of the time base
    # How many ticks there have been by each frame: those less than one unit after it count.
    # One at a time: as a list they would weigh many times what the index does.
    ticks = (
        -(-(int(after) + 1) * tick.denominator // tick.numerator) for after in pts_n - pts_n[0]
    )
    places = np.flatnonzero(np.diff(np.fromiter(ticks, np.int64, len(pts_n)), prepend=0))
    return TrackedFrames.of(start + places, fps=fps)


def skipping(video: VideoSource, frames: TrackedFrames | None) -> VideoSource:
    """The same video, of which only these frames are read, under their true numbers; what is not
    read costs no more than its decoding. For None it is `video` itself."""
    if frames is None:
        return video
    return VideoSource(
        video.info,
        video.index,
        only(video.producer, frames.numbers_m),
        shown_pts_n=video.shown_pts_n,
        stall_s=video.stall_s,
        file=video.file,
        names=video.names,
        stretched=video.stretched,
        is_whole=False,
    )


def in_steps(video: VideoSource, frames: TrackedFrames | None) -> VideoSource:
    """The frames that are tracked as a video of their own, numbered from 0 on without a gap. For
    None it is `video` itself.

    Its digest is another one: what is found on its frames is not of the same frames of the whole.
    """
    if frames is None:
        return video
    whole, numbers_m = video.info, frames.numbers_m
    index = FrameIndex(
        pts_n=video.index.pts_n[numbers_m],
        key_n=np.ones(len(numbers_m), np.bool_),
        checksum_n=video.index.checksum_n[numbers_m],
    )
    shown_pts_n = video.shown_pts_n[numbers_m]
    claimed = whole.avg_rate / frames.every if frames.every is not None else frames.fps
    timed = replace(index, pts_n=shown_pts_n)
    rate = find_rate(timed, whole.time_base, claimed=claimed)
    said = f"{whole.digest} {frames.first} {frames.steps}"
    lasts = int(shown_pts_n[-1] - shown_pts_n[0]) * whole.time_base
    info = whole.model_copy(
        update={
            "num_frames": len(frames),
            "avg_rate": rate.avg_rate,
            "variable_rate": rate.variable,
            "start_pts": int(shown_pts_n[0]),
            "duration_s": float(lasts + 1 / rate.avg_rate),
            "digest": f"sha256:{hashlib.sha256(said.encode()).hexdigest()}",
            "size_changes": (),
            "num_size_changes": 0,
            "clock_restarts": (),
            "num_clock_restarts": 0,
            "parts": (),
        }
    )
    producer = _Renumbered(only(video.producer, numbers_m), frames)
    return VideoSource(
        info,
        index,
        producer,
        shown_pts_n=shown_pts_n,
        stall_s=video.stall_s,
        stretched=video.stretched,
        numbers_m=numbers_m,
    )


class _Renumbered:
    """Gives frames that were picked under their steps."""

    def __init__(self, producer: FrameProducer, frames: TrackedFrames) -> None:
        self._producer = producer
        self._frames = frames

    def frames(
        self, start: int, stop: int, *, stopping: threading.Event, stall_s: float
    ) -> Generator[Frame, None, None]:
        """Give steps [start, stop); ends early when `stopping` is set."""
        first, end = self._frames.number(start), self._frames.number(stop)
        frames = self._producer.frames(first, end, stopping=stopping, stall_s=stall_s)
        for step, frame in enumerate(frames, start):
            yield Frame(step, frame.pts, frame.image_rgb_hwc_u8)
