"""A video file that is there whole or not at all."""

import contextlib
import os
import signal
import subprocess
import threading
import uuid
from collections import deque
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError, StorageError, VideoError
from samcore.video.decoder import find_ffmpeg

_CLOSE_TIMEOUT_S = 600.0
_MAX_SAID = 5
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "File too large")


class VideoWriter:
    """Writes frames to an mp4 that plays in any browser: H.264, 4:2:0, index in front.

    A context manager. The file appears at `path` when the block is left without an exception, and
    only then; an exception leaves nothing behind.
    """

    def __init__(self, path: str | Path, *, width: int, height: int, rate: Fraction) -> None:
        """Start the encoder.

        Args:
            path: The file to make; replaced if it is there. Its folder must exist.
            width: Pixels across. An odd one gets its last column twice: H.264 wants even sizes.
            height: Pixels down. An odd one gets its last row twice.
            rate: Frames per second.

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
        self._shape_hwc = (height, width, 3)
        self._to_even = ((0, height % 2), (0, width % 2), (0, 0))
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
                _encode_command(
                    program.path, self._temporary, width + width % 2, height + height % 2, rate
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # a Ctrl-C at the terminal is for us to handle
                start_new_session=True,
            )
        except OSError as error:
            self._temporary.unlink()
            raise VideoError(f"cannot start {program.path!r}: {error.strerror}") from error
        self._said: deque[str] = deque(maxlen=_MAX_SAID)
        self._listener = threading.Thread(target=self._listen, name="video-writer", daemon=True)
        self._listener.start()
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

    def write(self, image_rgb_hwc_u8: NDArray[np.uint8]) -> None:
        """Add a frame, H x W x 3.

        Raises:
            InputError: The picture has another size or type than the video.
            StorageError: The disk is full.
            VideoError: The encoder failed.
        """
        if self._closed:
            raise RuntimeError("this writer is closed: make a new one")
        if image_rgb_hwc_u8.shape != self._shape_hwc or image_rgb_hwc_u8.dtype != np.uint8:
            raise InputError(
                f"wanted a uint8 picture of shape {self._shape_hwc}, got {image_rgb_hwc_u8.dtype} "
                f"of shape {image_rgb_hwc_u8.shape}"
            )
        if self._process.stdin is None:
            raise RuntimeError("the encoder has no input")
        # a copy of the edge, since a black one would tint the pixels beside it
        even = np.pad(image_rgb_hwc_u8, self._to_even, mode="edge")
        try:
            self._process.stdin.write(np.ascontiguousarray(even).data)
        except OSError as error:  # a broken pipe: the encoder has ended and said why
            raise self._failure() from error
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file and move it to `path`. May be called again.

        Raises:
            StorageError: The disk is full, or the file cannot be moved.
            VideoError: The encoder failed, or no frame was written.
        """
        if self._closed:
            return
        try:
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):  # the exit code tells
                    self._process.stdin.close()
            code = self._process.wait(timeout=_CLOSE_TIMEOUT_S)
            if code != 0:
                raise self._failure()
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
            with contextlib.suppress(OSError):  # bytes that nobody takes any more
                self._process.stdin.close()
        self._listener.join()
        if self._process.stderr is not None:
            self._process.stderr.close()
        with contextlib.suppress(FileNotFoundError):
            self._temporary.unlink()

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
        said = " / ".join(self._said) or f"it gave no reason, exit code {code}"
        if code == -signal.SIGXFSZ or any(full in said for full in _DISK_FULL):
            return StorageError(
                f"no room to write the video {str(self.path)!r}: free some space, then run again"
            )
        return VideoError(f"the encoder of {str(self.path)!r} failed: {said}")


def _encode_command(program: str, path: Path, width: int, height: int, rate: Fraction) -> list[str]:
    frames = ffmpeg.input(
        "pipe:0",
        format="rawvideo",
        pix_fmt="rgb24",
        video_size=(width, height),
        framerate=f"{rate.numerator}/{rate.denominator}",
    )
    # colours are converted to, and marked as, the ones that players assume
    filters = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    output = ffmpeg.output(
        frames,
        f"file:{path}",
        format="mp4",
        vf=filters,
        vcodec="libx264",
        preset="veryfast",
        crf=20,
        colorspace="bt709",
        color_primaries="bt709",
        color_trc="bt709",
        color_range="tv",
        movflags="+faststart",
    )
    command: list[str] = ffmpeg.compile(
        output.overwrite_output(), cmd=[program, "-hide_banner", "-nostats", "-loglevel", "error"]
    )
    return command
