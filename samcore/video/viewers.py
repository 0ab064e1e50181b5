"""One pass over a video for all that want to see its frames."""

import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from samcore.failures import Failures
from samcore.video.frame import Frame

if TYPE_CHECKING:
    from samcore.video.source import VideoSource

Show = Callable[[Frame], None]
"""Called with one frame after another, each the next one of the video."""
Viewer = AbstractContextManager[Show]
"""What is made of frames. Its block begins before the first frame and ends after the last one; what
it makes is there if the block ended without an exception, and else nothing of it."""

_AHEAD = 2
"""Frames that wait for a viewer at most: so far a quick one may be ahead of a slow one."""


def show_frames(
    video: "VideoSource",
    start: int,
    stop: int,
    viewers: Iterable[Viewer],
    failures: Failures,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Decode frames [start, stop) once and show each of them to all viewers, side by side.

    Each viewer has a thread of its own, from the begin of its block to the end. One that fails is
    shown no more, and the others go on. If a frame cannot be read, all that are left fail. Holds
    what the viewers hold, two frames for each, and the frames that the reader prefetches.

    Args:
        video: Whose frames.
        start: The first one.
        stop: One past the last one.
        viewers: A slow one slows down all.
        failures: Gets what viewers raise, in their order, then why a frame cannot be read.
        on_progress: Called with the frames shown so far, and all of them.
    """
    lanes = [_Lane(viewer) for viewer in viewers]
    broken: Exception | None = None
    try:
        try:
            with contextlib.closing(_frames(video, start, stop, lanes)) as frames:
                for frame in frames:
                    for lane in lanes:
                        lane.show(frame)
                    if on_progress is not None and any(lane.is_open for lane in lanes):
                        on_progress(frame.frame_idx + 1 - start, stop - start)
        except Exception as error:
            broken = error
        for lane in lanes:
            lane.end(broken)
        for lane in lanes:
            lane.join()
    except BaseException as signal:
        for lane in lanes:
            lane.end(signal, at_once=True)
        for lane in lanes:
            lane.join()
        raise
    for lane in lanes:
        if lane.error is not broken:
            lane.say(failures)
    if broken is not None:
        with failures.collected():
            raise broken


def _frames(
    video: "VideoSource", start: int, stop: int, lanes: Sequence["_Lane"]
) -> Generator[Frame, None, None]:
    """The frames, until nobody is left to see them; of none if nobody has begun."""
    for lane in lanes:
        lane.begun.wait()
    if not any(lane.is_open for lane in lanes):
        return
    with video.read(start, stop) as frames:
        for frame in frames:
            yield frame
            if not any(lane.is_open for lane in lanes):
                return


class _Lane:
    """A viewer in a thread of its own, which is a few frames behind at most."""

    def __init__(self, viewer: Viewer) -> None:
        self.begun = threading.Event()
        """Its block has begun, or could not."""
        self.is_open = True
        """False once its block has ended, or failed."""
        self.error: BaseException | None = None
        """Why it failed."""
        self._viewer = viewer
        self._change = threading.Condition()
        self._waiting: deque[Frame] = deque()
        self._is_last = False
        self._why: BaseException | None = None
        # What a viewer says goes to the log of the run that it is of.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._view,), name="viewer", daemon=True
        )
        self._thread.start()

    def show(self, frame: Frame) -> None:
        """Show it the next frame; wait while it is behind.

        Raises:
            BaseException: What ended it was no error of a viewer.
        """
        with self._change:
            self._change.wait_for(lambda: len(self._waiting) < _AHEAD or not self.is_open)
            if self.is_open:
                self._waiting.append(frame)
                self._change.notify_all()
        self._stop_all()

    def end(self, why: BaseException | None = None, *, at_once: bool = False) -> None:
        """Have its block end after the frames that it was given.

        Args:
            why: What the block is left with.
            at_once: Not even those are shown.
        """
        with self._change:
            self._is_last, self._why = True, why
            if at_once:
                self._waiting.clear()
            self._change.notify_all()

    def join(self) -> None:
        """Wait until its block has ended."""
        self._thread.join()

    def say(self, failures: Failures) -> None:
        """Tell why it failed, if it did.

        Raises:
            BaseException: As `show`.
        """
        self._stop_all()
        if self.error is not None:
            with failures.collected():
                raise self.error

    def _stop_all(self) -> None:
        if self.error is not None and not isinstance(self.error, Exception):
            raise self.error

    def _view(self) -> None:
        try:
            with self._viewer as show:
                self.begun.set()
                while (frame := self._next()) is not None:
                    show(frame)
        except BaseException as error:
            self.error = error
        with self._change:
            self.is_open = False
            self._waiting.clear()
            self._change.notify_all()
        self.begun.set()

    def _next(self) -> Frame | None:
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._is_last)
            if self._waiting:
                self._change.notify_all()
                return self._waiting.popleft()
            if self._why is not None:
                raise self._why
            return None
