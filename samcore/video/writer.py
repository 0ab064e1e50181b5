"""A video file that is there whole or not at all."""

import contextlib
import os
import select
import signal
import subprocess
import threading
import uuid
from collections import deque
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError, StorageError, TransientVideoError, VideoError
from samcore.video.decoder import find_ffmpeg
from samcore.video.encode import (
    BROWSER,
    Codec,
    Sound,
    encode_command,
    ivf_frame_header,
    ivf_header,
    to_even,
)
from samcore.video.ending import cannot_start, says_read_failed, why_died

_WRITE_TIMEOUT_S = 120.0
"""An encoder that takes not one byte for so long hangs. A frame of 8K takes seconds."""
_CLOSE_TIMEOUT_S = 600.0
_MAX_SAID = 5
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
_SPOILT = ("Error writing trailer", "Error closing file")
"""What ffmpeg says of a file that is not whole. Some, 5.1 for one, exit with 0 all the same."""


class VideoWriter:
    """Writes frames to a video file; by default an mp4 that plays in any browser.

    A context manager. The file appears at `path` when the block is left without an exception, and
    only then; an exception leaves nothing behind.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        rate: Fraction,
        time_base: Fraction | None = None,
        codec: Codec = BROWSER,
        sound: Sound | None = None,
    ) -> None:
        """Start the encoder.

        Args:
            path: The file to make; replaced if it is there. Its folder must exist.
            width: Pixels across. An odd one gets its last column twice: H.264 wants even sizes.
            height: Pixels down. An odd one gets its last row twice.
            rate: Frames per second.
            time_base: Seconds per unit of the time stamps that `write` is to be given; None for
                frames that follow each other at `rate`.
            codec: The kind of video.
            sound: To go with it.

        Raises:
            InputError: The size or the rate is not above 0.
            StorageError: The folder cannot be written to.
            VideoError: There is no ffmpeg.
        """
        if width < 1 or height < 1 or rate <= 0:
            raise InputError(
                f"a video needs a size and a rate above 0, got {width = }, {height = }, {rate = }"
            )
        self.path = Path(path)
        """Where the file will be."""
        self.num_frames = 0
        """Frames written so far."""
        self._codec = codec
        self._shape = codec.shape(height, width)
        self._time_base = time_base
        self._last_pts = -1
        self._has_sound = sound is not None
        odd_h, odd_w = (height % 2, width % 2) if codec.needs_even_size else (0, 0)
        size_wh = (width + odd_w, height + odd_h)
        program = find_ffmpeg()
        folder = self.path.absolute().parent
        self._temporary = folder / f".{self.path.name}.{uuid.uuid4().hex}.part"
        try:
            self._temporary.touch(exist_ok=False)
        except OSError as error:
            raise StorageError(
                f"cannot write the video {str(self.path)!r}: {error.strerror}"
            ) from error
        try:
            self._process = subprocess.Popen(
                encode_command(
                    program,
                    self._temporary,
                    codec,
                    size_wh=size_wh,
                    rate=rate,
                    time_base=time_base,
                    sound=sound,
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # a Ctrl-C at the terminal is for us to handle
                start_new_session=True,
            )
        except OSError as error:
            self._temporary.unlink()
            raise cannot_start(program.path, error) from error
        self._said: deque[str] = deque(maxlen=_MAX_SAID)
        self._listener = threading.Thread(target=self._listen, name="video-writer", daemon=True)
        self._listener.start()
        if self._process.stdin is not None:
            # a blocked write could not be ended when the encoder hangs
            os.set_blocking(self._process.stdin.fileno(), False)
        self._before = b"" if time_base is None else ivf_header(codec, size_wh, time_base)
        self._closed = False

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, image: NDArray[np.generic], *, pts: int | None = None) -> None:
        """Add a frame, H x W x 3, or H x W for a video of numbers.

        Args:
            image: The picture.
            pts: When it is shown, in units of the `time_base`: 0 or later, after the one before.

        Raises:
            InputError: The picture has another size or type than the video, or its time stamp is
                missing or out of order.
            StorageError: The disk is full.
            TransientVideoError: The encoder was killed, or crashed.
            VideoError: The encoder failed.
        """
        if self._closed:
            raise RuntimeError("this writer is closed: make a new one")
        if image.shape != self._shape or image.dtype != self._codec.dtype:
            raise InputError(
                f"wanted a {np.dtype(self._codec.dtype)} picture of shape {self._shape}, got "
                f"{image.dtype} of shape {image.shape}"
            )
        is_timed = self._time_base is not None
        if (pts is not None) != is_timed or (pts is not None and pts <= self._last_pts):
            raise InputError(
                f"frame {self.num_frames}: got the time stamp {pts} after {self._last_pts}, in a "
                f"video with the time base {self._time_base}"
            )
        if self._process.stdin is None:
            raise RuntimeError("the encoder has no input")
        data = (to_even(image) if self._codec.needs_even_size else image).tobytes()
        if pts is not None:
            self._last_pts = pts
            self._before += ivf_frame_header(len(data), pts)
        try:
            self._feed(self._process.stdin.fileno(), self._before)
            self._feed(self._process.stdin.fileno(), data)
            self._before = b""
        except BrokenPipeError as error:  # the encoder has ended and said why
            raise self._failure() from error
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file and move it to `path`. May be called again.

        Raises:
            StorageError: The disk is full, or the file cannot be moved.
            TransientVideoError: The encoder was killed, or crashed.
            VideoError: The encoder failed, or no frame was written.
        """
        if self._closed:
            return
        try:
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):  # the exit code tells
                    self._process.stdin.close()
            code = self._process.wait(timeout=_CLOSE_TIMEOUT_S)
            self._listener.join()
            if code != 0 or any(spoilt in said for spoilt in _SPOILT for said in self._said):
                raise self._failure()
            # the exit code is 0 all the same
            if self._has_sound and (failed := says_read_failed(" / ".join(self._said))):
                raise TransientVideoError(
                    f"the sound of {str(self.path)!r} broke off: {failed}; run again"
                )
            if not self.num_frames:
                raise VideoError(f"no frame was written to {str(self.path)!r}: not made")
            os.replace(self._temporary, self.path)
        except subprocess.TimeoutExpired as error:
            raise VideoError(
                f"the encoder of {str(self.path)!r} did not end within {_CLOSE_TIMEOUT_S:g} s"
            ) from error
        except OSError as error:
            if isinstance(error, VideoError | StorageError):
                raise
            raise StorageError(
                f"cannot write the video {str(self.path)!r}: {error.strerror}"
            ) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """End the encoder at once and leave nothing of an unfinished file. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # the encoder reads no more bytes
                self._process.stdin.close()
        self._listener.join()
        if self._process.stderr is not None:
            self._process.stderr.close()
        with contextlib.suppress(FileNotFoundError):
            self._temporary.unlink()

    def _feed(self, pipe: int, data: bytes) -> None:
        """Give the encoder all of `data`, as fast as it takes it.

        Raises:
            BrokenPipeError: The encoder has ended.
            VideoError: The encoder hangs.
        """
        left = memoryview(data)
        ready = select.poll()
        ready.register(pipe, select.POLLOUT)
        while left:
            if ready.poll(_WRITE_TIMEOUT_S * 1000):
                left = left[os.write(pipe, left) :]
            else:
                self._process.kill()
                raise VideoError(
                    f"the encoder of {str(self.path)!r} hangs: it has taken nothing for "
                    f"{_WRITE_TIMEOUT_S:g} s at frame {self.num_frames}; run again, and if it "
                    "hangs again, try another ffmpeg or a faster disk"
                )

    def _listen(self) -> None:
        if self._process.stderr is not None:
            for line in self._process.stderr:
                self._said.append(line.decode("utf-8", "replace").strip())

    def _failure(self) -> VideoError | StorageError:
        """Wait for the encoder's end and give the error that fits what it said."""
        try:
            code = self._process.wait(timeout=_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return VideoError(f"the encoder of {str(self.path)!r} stopped taking frames")
        self._listener.join()
        said = " / ".join(self._said)
        if code == -signal.SIGXFSZ or any(full in said for full in _DISK_FULL):
            return StorageError(
                f"no room to write the video {str(self.path)!r}: free some space, then run again"
            )
        died = why_died(code, said)
        if died is not None:
            return TransientVideoError(
                f"the encoder of {str(self.path)!r} failed: {died}, at frame {self.num_frames}; "
                "run again"
            )
        return VideoError(f"the encoder of {str(self.path)!r} failed: {said or 'no reason'}")
