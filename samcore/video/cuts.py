"""Where a video is cut from one scene to another, by ffmpeg's filter scdet."""

import contextlib
import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import cv2

from samcore.errors import TransientVideoError
from samcore.video.decoder import find_ffmpeg
from samcore.video.ending import cannot_start
from samcore.video.frame import Frame

CUT_SCORE = 10.0
"""From this score on a change is a cut; ffmpeg's own default."""

_WIDTH, _MAX_HEIGHT = 160, 640
_SCORE = re.compile(rb"frame:(\d+) |lavfi\.scd\.score=([0-9.]+)")
_END_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A frame that begins a new scene."""

    frame: int
    """Position in the video, from 0."""
    score: float
    """How sudden the change is, in [0, 100]."""


class CutFinder:
    """Is shown frames in order, as they pass for another purpose, and finds the cuts between them.
    They may be some of a video's frames only.

    A context manager; `cuts` is complete after its block. Holds the cuts and nothing else.
    """

    def __init__(self) -> None:
        """Nothing is started before the first frame."""
        self.cuts: list[Cut] = []
        """The cuts found so far, ascending."""
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._shown: deque[int] = deque()
        self._size_wh = (0, 0)

    def __enter__(self) -> "CutFinder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None or self._thread is None or self._process.stdin is None:
            return
        try:
            if kind is None:
                self._process.stdin.close()
                self._thread.join(_END_TIMEOUT_S)
                if self._process.wait(_END_TIMEOUT_S):
                    code = self._process.returncode
                    raise TransientVideoError(
                        f"ffmpeg failed to look for cuts (exit code {code}); run again"
                    )
        except (OSError, subprocess.TimeoutExpired) as failure:
            if isinstance(failure, TransientVideoError):
                raise
            raise TransientVideoError("ffmpeg failed to look for cuts; run again") from failure
        finally:
            self._process.kill()
            self._process.wait()
            self._thread.join()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not written is not wanted
                        pipe.close()

    def show(self, frame: Frame) -> None:
        """Take the next frame; each is the one after the last.

        Raises:
            VideoError: There is no ffmpeg.
            TransientVideoError: It ended.
        """
        height, width = frame.image_rgb_hwc_u8.shape[:2]
        if self._process is None:
            # Small enough to cost nothing, large enough to tell two scenes apart.
            self._size_wh = (_WIDTH, min(max(2, round(height * _WIDTH / width)), _MAX_HEIGHT))
            self._start()
        small_hwc = cv2.resize(frame.image_rgb_hwc_u8, self._size_wh, interpolation=cv2.INTER_AREA)
        grey_hw = cv2.cvtColor(small_hwc, cv2.COLOR_RGB2GRAY)
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the process was not started")
        self._shown.append(frame.frame_idx)
        try:
            self._process.stdin.write(grey_hw.tobytes())
        except OSError as error:
            raise TransientVideoError("ffmpeg ended while it looked for cuts; run again") from error

    def _start(self) -> None:
        width, height = self._size_wh
        command = [find_ffmpeg().path, "-v", "error", "-nostdin"]
        command += ["-f", "rawvideo", "-pixel_format", "gray", "-video_size", f"{width}x{height}"]
        command += ["-i", "pipe:0", "-vf"]
        command += ["scdet,metadata=mode=print:key=lavfi.scd.score:file=-"]
        command += ["-f", "null", "-"]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for us to handle
            )
        except OSError as error:
            raise cannot_start(command[0], error) from error
        if self._process.stdout is None:
            raise RuntimeError("Popen gave no pipes")
        # In a thread, or both sides could wait for the other to read.
        self._thread = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name="cut-finder", daemon=True
        )
        self._thread.start()

    def _listen(self, lines: Iterable[bytes]) -> None:
        frame = -1
        for line in lines:
            found = _SCORE.match(line)
            if found is None:
                continue
            if found[1] is not None:
                frame = self._shown.popleft()  # each has one such line, in order
            elif float(found[2]) >= CUT_SCORE:
                self.cuts.append(Cut(frame, float(found[2])))
