"""A video that is used while it is still scanned."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from samcore.errors import InputError, SegmentationError
from samcore.video import ScanOfFile, VideoSource

_log = logging.getLogger(__name__)

_LEAST_PAUSE_S = 0.3
_FRAMES_PER_S = 100_000
"""A look at the scan costs more the more frames there are; for so many there is a second's pause
more until the next one."""


class OpensVideo(Protocol):
    """Opens one video."""

    def __call__(self, *, so_far: ScanOfFile) -> VideoSource:
        """Open it, and tell `so_far` what the scan finds."""


class OpeningVideo:
    """Opens a video in a thread, and gives what is known of it by now.

    Before the end of the scan that is a video of its first frames, whose `info.num_frames` counts
    these alone. A file that is damaged, or whose clock restarts, is known at the end only.
    """

    def __init__(
        self, open_it: OpensVideo, *, glimpse: Callable[[], VideoSource | None] | None = None
    ) -> None:
        """Nothing happens before `start`.

        Args:
            open_it: Opens the video, and tells the scan what it finds. Called as `so_far=`.
            glimpse: Gives the first frames of a file that it takes long to read, for a start.
        """
        self._open = open_it
        self._glimpse = glimpse
        self.on_change: Callable[[OpeningVideo], None] | None = None
        """Called by this object's threads when more of the video is known, and when opening it has
        failed."""
        self._so_far = ScanOfFile()
        self._changed = threading.Condition()
        self._video: VideoSource | None = None
        self._stop = threading.Event()
        self.finished = False
        """Whether the whole video is known."""
        self.error: SegmentationError | None = None
        """Why it cannot be opened."""

    def start(self) -> None:
        """Begin to open it."""
        # Daemons: the end of the process does not wait for the scan of a long video.
        if self._glimpse is not None:
            threading.Thread(target=self._peek, name="longtake-glimpse", daemon=True).start()
        threading.Thread(target=self._open_whole, name="longtake-open", daemon=True).start()
        threading.Thread(target=self._follow, name="longtake-follow", daemon=True).start()

    def close(self) -> None:
        """End the scan at its next frame."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def known(self) -> VideoSource | None:
        """The video, whole or its first frames; None if nothing is known yet."""
        return self._video

    @property
    def claimed(self) -> int | None:
        """Frames that the header claims; None if it says nothing, or nobody has asked it yet."""
        return self._so_far.claimed

    def having(self, frame_idx: int, *, wait_s: float) -> VideoSource:
        """The video as soon as this frame of it is known.

        Raises:
            InputError: There is no such frame, or it is not known after this time.
            SegmentationError: The video cannot be opened.
        """
        until = time.monotonic() + wait_s
        with self._changed:
            while True:
                video = self._video
                if video is not None and 0 <= frame_idx < video.info.num_frames:
                    return video
                if self.error is not None:
                    raise self.error
                if video is not None and (self.finished or frame_idx < 0):
                    raise InputError(
                        f"no frame {frame_idx}: the video has frames 0 to "
                        f"{video.info.num_frames - 1}"
                    )
                left = until - time.monotonic()
                if left <= 0 or self._stop.is_set():
                    raise InputError(
                        f"frame {frame_idx} is not indexed yet: the video is still scanned"
                    )
                self._changed.wait(left)

    def _open_whole(self) -> None:
        try:
            with self._so_far.scanning(self._check):
                video = self._open(so_far=self._so_far)
            self._take(video, finished=True)
        except _Closed:
            return
        except SegmentationError as error:
            self._fail(error)
        except Exception as error:
            self._fail(SegmentationError(f"the video cannot be opened: {error}"))

    def _peek(self) -> None:
        if self._glimpse is None:
            return
        try:
            video = self._glimpse()
        except SegmentationError as error:
            _log.debug("no first frames at once: %s", error)  # opening it says the same
            return
        if video is not None:
            self._take(video, finished=False)

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Closed

    def _fail(self, error: SegmentationError) -> None:
        with self._changed:
            self.error = error
            self._changed.notify_all()
        self._tell()

    def _follow(self) -> None:
        """Take over what the scan finds, again and again, until it has ended."""
        pause, least = _LEAST_PAUSE_S, 1
        while not self._so_far.ended.is_set() and not self._stop.is_set():
            part = self._so_far.first_frames(least, stop=self._stop)
            if part is not None:
                least = len(part.index) + 1
                self._take(part, finished=False)
                pause = _LEAST_PAUSE_S + least / _FRAMES_PER_S
            self._so_far.ended.wait(pause)

    def _take(self, video: VideoSource, *, finished: bool) -> None:
        num_frames = len(video.index)
        video.info = video.info.model_copy(update={"num_frames": num_frames})
        with self._changed:
            is_less = self._video is not None and self._video.info.num_frames >= num_frames
            if self.finished or (is_less and not finished):
                return
            self._video, self.finished = video, finished
            self._changed.notify_all()
        self._tell()

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change(self)


class _Closed(BaseException):
    """Nobody waits for the scan any more."""
