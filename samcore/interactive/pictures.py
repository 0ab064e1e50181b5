"""Pictures of frames for a screen: encoded, kept, and made ahead of whoever looks."""

import contextlib
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import cv2
from numpy.typing import NDArray

from samcore.errors import SegmentationError, VideoError
from samcore.interactive.opening import OpeningVideo
from samcore.video import Frame, FrameReader, VideoSource

_log = logging.getLogger(__name__)

WIDTHS = (320, 480, 640, 960, 1280, 1600, 1920, 2560, 3840)
"""Pictures are made in these widths, so that windows of about one size share them."""
_CACHE_BYTES = 128 << 20
_AHEAD, _BEHIND = 24, 12
"""Frames that are made ahead of the one that was asked for, and behind it on the way back."""
_QUALITY = 88
_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame as a JPEG."""

    frame_idx: int
    time_s: float
    """Seconds from the first frame to this one."""
    data: bytes


def fitting_width(wanted: int, video_width: int) -> int:
    """The width at which a picture is made for a window of `wanted` pixels: never larger than the
    video, and otherwise the next of `WIDTHS`."""
    return min(video_width, min((width for width in WIDTHS if width >= wanted), default=wanted))


class PictureServer:
    """Gives pictures of frames by number, at most `cache_bytes` of them kept.

    One thread decodes. It serves the newest request first, then goes on with the frames behind that
    one, in the direction in which the person moves.
    """

    def __init__(self, opening: OpeningVideo, *, cache_bytes: int = _CACHE_BYTES) -> None:
        """Start the thread; `close` ends it."""
        self.shown = threading.Event()
        """Set once a picture was given."""
        self.seeks = 0
        """How often a decoder was begun."""
        self._opening = opening
        self._cache_bytes = cache_bytes
        self._changed = threading.Condition()
        self._kept: OrderedDict[tuple[int, int], Picture] = OrderedDict()
        self._size = 0
        self._of_size = (0, 0)
        self._asked: list[tuple[int, int]] = []
        self._failed: dict[tuple[int, int], SegmentationError] = {}
        self._closed = False
        self._reader: FrameReader | None = None
        self._reads: VideoSource | None = None
        self._next = 0
        """The frame that the reader gives next."""
        self._last = 0
        self._ahead_to = -1
        self._width = WIDTHS[0]
        self._thread = threading.Thread(target=self._work, name="longtake-pictures", daemon=True)
        self._thread.start()

    @property
    def kept_bytes(self) -> int:
        """How large the pictures are that are kept."""
        return self._size

    def picture(self, frame_idx: int, *, width: int, wait_s: float = _WAIT_S) -> Picture:
        """A frame's picture, about `width` pixels wide.

        Raises:
            InputError: There is no such frame, or it is not indexed yet.
            VideoError: It cannot be decoded.
        """
        video = self._opening.having(frame_idx, wait_s=wait_s)
        key = (frame_idx, fitting_width(width, video.info.width))
        with self._changed:
            if key not in self._kept:
                self._failed.pop(key, None)
                self._asked.append(key)
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: key in self._kept or key in self._failed or self._closed, wait_s
                )
                if key in self._asked:
                    self._asked.remove(key)
                if (error := self._failed.pop(key, None)) is not None:
                    raise error
            if key not in self._kept:
                raise VideoError(f"frame {frame_idx} was not decoded within {wait_s:g} s")
            self._kept.move_to_end(key)
            self.shown.set()
            self._ahead_to = max(self._ahead_to, frame_idx + _AHEAD)
            self._changed.notify_all()
            return self._kept[key]

    def close(self) -> None:
        """End the thread and its decoder."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        try:
            while (key := self._next_key()) is not None:
                try:
                    self._make(*key)
                except SegmentationError as error:
                    self._let_go()
                    with self._changed:
                        self._ahead_to = -1
                        self._failed[key] = error
                        self._changed.notify_all()
        finally:
            self._let_go()

    def _next_key(self) -> tuple[int, int] | None:
        """What to make next; waits for it. None at the end."""
        with self._changed:
            while not self._closed:
                open_keys = [key for key in self._asked if not self._is_answered(key)]
                if open_keys:
                    frame_idx, self._width = open_keys[-1]
                    self._ahead_to = frame_idx + _AHEAD
                    return open_keys[-1]
                if self._reader is not None and self._next <= self._ahead_to:
                    return self._next, self._width
                self._changed.wait(60.0)
            return None

    def _make(self, frame_idx: int, width: int) -> None:
        """Decode up to a frame; pictures of those before it that lie on the way back, too."""
        is_asked = self._has_asked(frame_idx)
        if not self._is_on_its_way(frame_idx):
            is_back = is_asked and 0 < self._last - frame_idx <= 2 * _BEHIND
            self._seek(max(0, frame_idx - _BEHIND) if is_back else frame_idx)
        if is_asked:
            self._last = frame_idx
        while self._next <= frame_idx and self._reader is not None:
            frame = next(self._reader, None)
            if frame is None:
                raise VideoError(f"the video ends before frame {frame_idx}")
            self._next = frame.frame_idx + 1
            if frame.frame_idx >= frame_idx - _BEHIND:
                self._keep(frame, width)
        with self._changed:
            if self._reads is not None and self._next >= self._reads.info.num_frames:
                self._ahead_to = -1  # a scan may know more by now; whoever asks for it gets it

    def _is_on_its_way(self, frame_idx: int) -> bool:
        """Whether the reader that is open comes to this frame soon."""
        if self._reader is None or self._reads is None:
            return False
        known = self._opening.known
        if known is not None and _size_of(known) != _size_of(self._reads):
            return False
        is_near = self._next <= frame_idx <= self._next + _AHEAD
        return is_near and frame_idx < self._reads.info.num_frames

    def _has_asked(self, frame_idx: int) -> bool:
        with self._changed:
            return any(key[0] == frame_idx and not self._is_answered(key) for key in self._asked)

    def _is_answered(self, key: tuple[int, int]) -> bool:
        """Whether there is something for whoever asked, who may not have fetched it yet."""
        return key in self._kept or key in self._failed

    def _seek(self, start: int) -> None:
        self._let_go()
        self._reads = self._opening.having(start, wait_s=0.0)
        self._forget_other_sizes(self._reads)
        self.seeks += 1
        self._reader, self._next = self._reads.read(start, prefetch=4), start

    def _forget_other_sizes(self, video: VideoSource) -> None:
        """Whether the size of pictures changes on the way is known at the end only."""
        size = _size_of(video)
        with self._changed:
            if self._of_size != size:
                self._kept.clear()
                self._size, self._of_size = 0, size

    def _let_go(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(SegmentationError):
                self._reader.close()
        self._reader = self._reads = None

    def _keep(self, frame: Frame, width: int) -> None:
        video = self._reads
        with self._changed:
            is_kept = (frame.frame_idx, width) in self._kept
        if video is None or is_kept:
            return
        picture = Picture(
            frame.frame_idx, float(video.time_s(frame.frame_idx)), as_jpeg(frame, width)
        )
        with self._changed:
            key = (frame.frame_idx, width)
            self._kept[key] = picture
            self._size += len(picture.data)
            if self._size > self._cache_bytes:
                self._evict(but=key)
            self._changed.notify_all()

    def _evict(self, *, but: tuple[int, int]) -> None:
        """Let go of the pictures that were given longest ago. The newest one stays, and what
        somebody waits for stays until they have it."""
        for key in list(self._kept):
            if self._size <= self._cache_bytes:
                return
            if key != but and key not in self._asked:
                self._size -= len(self._kept.pop(key).data)


def _size_of(video: VideoSource) -> tuple[int, int]:
    return video.info.width, video.info.height


def as_jpeg(frame: Frame, width: int) -> bytes:
    """A frame as a JPEG of this width, or of its own if that is less."""
    image_hwc: NDArray[Any] = frame.image_rgb_hwc_u8
    rows, columns = image_hwc.shape[:2]
    if width < columns:
        size = (width, max(1, round(rows * width / columns)))
        image_hwc = cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA)
    bgr_hwc = cv2.cvtColor(image_hwc, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr_hwc, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise VideoError("this build of OpenCV writes no JPEG")
    return bytes(data)
