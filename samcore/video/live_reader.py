"""Read a stream without an end: connect, read, and connect again when it is gone."""

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from samcore.errors import TransientVideoError, VideoError
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.video.decoder import DecodeProcess, Died, ReadStopped, Stalled, find_ffmpeg
from samcore.video.index import NO_PTS
from samcore.video.live_queue import RECONNECTED, DropPolicy, LiveFrame, LiveQueue
from samcore.video.live_source import LiveSource
from samcore.video.log import DecodeLog, FrameRecord

_log = logging.getLogger(__name__)

REMEMBERED = 1024
"""Frames that are known again when a new connection repeats them: a segment of a playlist."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_CONNECT_S = 20.0
"""Seconds that a source has for its first frame, however short a silence may be later."""
_FOREVER_S = 10.0 * 365 * 86_400
"""A pipe may be silent for as long as its writer likes."""
_LONGEST_PACE_S = 1.0
"""Time stamps that are farther from the clock begin a new reckoning."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+?(?=[)'\"]*:?(?: |$))", re.IGNORECASE)

Seen = tuple[int, int]
"""A frame's own time stamp and checksum, by which it is known again."""


class LiveReader:
    """Reads a stream in a thread of its own; a context manager.

    Holds the frames that wait, and numbers of the last `REMEMBERED` ones. The picture's size is
    that of the first frame; what comes later in another one is scaled, with bars.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        drop: DropPolicy,
        waiting: int,
        stall_s: float,
        size_wh: tuple[int, int] | None = None,
        received: int = 0,
        seen: Iterable[Seen] = (),
        after_us: int = 0,
        patient: bool = False,
        stdin: int = 0,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Connect to nothing yet.

        Args:
            source: What to read.
            drop: Which frame is dropped when too many wait.
            waiting: Frames that may wait.
            stall_s: Seconds without a frame after which a connection is given up; not of a pipe.
            size_wh: Of the pictures, if the stream was read before.
            received: Number of the first frame.
            seen: The last frames of that time, which are not given again.
            after_us: When the last of them came.
            patient: Whether a source that cannot be opened at first is tried again for ever.
            stdin: The descriptor that a pipe is read from.
            limits: How large pictures may be.
        """
        self._source = source
        self._queue = LiveQueue(drop, waiting)
        self._stall_s = stall_s if source.reconnects else _FOREVER_S
        self._size_wh = size_wh
        self._received = received
        self._seen: deque[Seen] = deque(seen, maxlen=REMEMBERED)
        self._last_us = after_us
        self._patient = patient
        self._stdin = stdin
        self._limits = limits
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._gap: str | None = None
        self._has_connected = False
        self._pace: tuple[float, int] | None = None
        self.log: DecodeLog | None = None
        """What ffmpeg said on the present connection."""

    def __enter__(self) -> "LiveReader":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def get(self, timeout_s: float) -> LiveFrame | None:
        """The next frame; None if none came within that time, or the stream has ended.

        Raises:
            VideoError: The source cannot be opened, or cannot be read on.
        """
        return self._queue.get(timeout_s)

    @property
    def is_over(self) -> bool:
        """Whether the stream has ended, and all its frames were taken."""
        return self._queue.is_over

    @property
    def num_received(self) -> int:
        """How many frames of the stream have come so far, those dropped and those before a restart
        included."""
        return self._received

    def _run(self) -> None:
        try:
            self._read()
        except ReadStopped:
            self._queue.end()
        except BaseException as error:
            self._queue.end(error)
        else:
            self._queue.end()

    def _read(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            before = self._received
            try:
                why = self._read_once()
            except VideoError as error:
                if not self._source.reconnects:
                    raise
                why = str(error)
            if why is None:
                return
            if self._received > before:
                wait_s = _FIRST_WAIT_S
            elif not self._has_connected and not self._patient:
                raise VideoError(f"cannot read {self._source.shown}: {why}")
            _log.warning("%s: %s; connecting again in %g s", self._source.shown, why, wait_s)
            if self._has_connected:
                self._gap = RECONNECTED
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _read_once(self) -> str | None:
        """Read one connection to its end; why it ended, or None at the stream's end.

        Raises:
            VideoError: It cannot be read, and another connection would not help.
        """
        source, log = self._source, DecodeLog()
        filters = "scale=iw:ih,format=rgb24"
        scales = self._size_wh is not None
        if self._size_wh is not None:
            size = "{}:{}".format(*self._size_wh)
            filters = (
                f"scale={size}:force_original_aspect_ratio=decrease,format=rgb24,pad={size}:-1:-1"
            )
        connect_s = max(self._stall_s, _CONNECT_S)
        command = source.command(find_ffmpeg(), stall_s=connect_s, filters=filters)
        stdin = None if source.reconnects else self._stdin
        try:
            with DecodeProcess(
                command, stall_s=connect_s, stopping=self._stop, stdin=stdin
            ) as process:
                self.log = log = process.log
                is_other_size = self._read_frames(process, scales=scales)
        except Stalled:
            silent_s = self._stall_s if log.frames else connect_s
            return f"nothing came for {silent_s:g} s"
        except Died as died:
            why = f"ffmpeg {without_addresses(str(died))}"
            if not source.reconnects:
                raise TransientVideoError(f"reading {source.shown}: {why}") from died
            return why
        said = without_addresses(log.first_complaint or log.broken)
        if is_other_size:
            why = "the size of its pictures has changed"
            if not source.reconnects:
                raise VideoError(f"{source.shown}: {why}, and a pipe cannot be opened anew")
            return why
        if not log.frames:
            why = said or "it ended before its first frame"
            if not source.reconnects:
                raise VideoError(f"cannot read {source.shown}: {why}")
            return why
        if not source.reconnects or (source.repeats and log.duration_s is not None):
            return None
        return said or "it ended"

    def _read_frames(self, process: DecodeProcess, *, scales: bool) -> bool:
        """Read to the end of the connection, or to a picture of another size; whether that.

        Args:
            process: Has given nothing yet.
            scales: Whether ffmpeg gives all pictures in the stream's size.
        """
        known = set(self._seen) if self._source.repeats else set()
        self._pace = None
        while (shape := process.next_size()) is not None:
            if self._size_wh is None:
                self._limits.check_size(*shape, name=self._source.shown)
                self._size_wh = shape
            if not scales and shape != self._size_wh:
                return True
            width, height = self._size_wh
            image = np.empty((height, width, 3), np.uint8)
            record = process.read_frame(image.data.cast("B"), is_dropped=None)
            if record is None:
                break
            process.stall_s = self._stall_s
            seen = (record.pts, record.checksum)
            if seen in known:
                continue
            known = set()  # what comes after a new frame is new
            self._has_connected = True
            self._wait_for_its_time(record, process.log.time_base)
            self._give(record, image)
            self._seen.append(seen)
        return False

    def _wait_for_its_time(self, record: FrameRecord, time_base: Fraction | None) -> None:
        """A playlist's frames come a segment at a time: give them as fast as they were made."""
        if not self._source.repeats or time_base is None or record.pts == NO_PTS:
            return
        now = time.monotonic()
        if self._pace is not None:
            since, pts = self._pace
            wait_s = since + float((record.pts - pts) * time_base) - now
            if abs(wait_s) < _LONGEST_PACE_S:
                self._stop.wait(max(0.0, wait_s))
                return
        self._pace = (now, record.pts)

    def _give(self, record: FrameRecord, image_rgb_hwc_u8: NDArray[np.uint8]) -> None:
        self._last_us = max(self._last_us + 1, time.time_ns() // 1000)
        frame = LiveFrame(
            received=self._received,
            captured_us=self._last_us,
            source_pts=record.pts,
            checksum=record.checksum,
            image_rgb_hwc_u8=image_rgb_hwc_u8,
            gap=self._gap,
        )
        self._received += 1
        self._gap = None
        self._queue.put(frame, self._stop.is_set)


def without_addresses(said: str) -> str:
    """ffmpeg's words without the addresses in them, which may hold a password."""
    return _ADDRESS.sub("the source", said)
