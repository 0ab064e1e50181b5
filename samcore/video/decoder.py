"""The ffmpeg program: where it is, how it is called to decode, and a process that never hangs."""

import contextlib
import functools
import os
import re
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType

import ffmpeg
import imageio_ffmpeg

from samcore.errors import TransientVideoError, VideoError
from samcore.video.ending import cannot_start, why_decoder_died
from samcore.video.log import DecodeLog, FrameRecord
from samcore.video.media import Media

STALL_S = 60.0
"""Seconds without a frame after which a decoder is given up."""

_GLOBAL = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "repeat+level+info", "-copyts")
_PIPE_BYTES = 1 << 20
_LOG_BLOCK = 1 << 16
_POLL_S = 0.05
_VERSION_TIMEOUT_S = 60.0
# ffmpeg 5.1, the first to know -fps_mode; later ones lose -vsync
_FPS_MODE_LIBAVUTIL = (57, 28)


@dataclass(frozen=True, slots=True)
class FfmpegProgram:
    """One ffmpeg on this machine."""

    path: str
    """The executable."""
    version: str
    """As it says of itself, e.g. `5.1.9-0+deb12u1`."""
    has_fps_mode: bool
    """False if `-vsync` is still the name of that option."""


def find_ffmpeg() -> FfmpegProgram:
    """Find ffmpeg: the one on the PATH, else the one that comes with imageio-ffmpeg.

    Raises:
        VideoError: There is none, or it does not run.
        TransientVideoError: It was killed, or there is no room for it.
    """
    path = shutil.which("ffmpeg")
    if path is None:
        try:
            path = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError as error:
            raise VideoError(
                "no ffmpeg on this machine: install it, e.g. with `apt install ffmpeg`"
            ) from error
    return _ask_version(path)


@functools.lru_cache(maxsize=8)
def _ask_version(path: str) -> FfmpegProgram:
    try:
        answer = subprocess.run(
            [path, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_TIMEOUT_S,
            check=True,
        ).stdout.decode("utf-8", "replace")
    except OSError as error:
        raise cannot_start(path, error) from error
    except subprocess.SubprocessError as error:
        refused = isinstance(error, subprocess.CalledProcessError) and error.returncode > 0
        kind = VideoError if refused else TransientVideoError
        raise kind(f"{path!r} is not an ffmpeg that runs here: {error}") from error
    version = re.match(r"ffmpeg version (\S+)", answer)
    libavutil = re.search(r"libavutil +(\d+)\. *(\d+)", answer)
    if version is None or libavutil is None:
        raise VideoError(f"{path!r} is not an ffmpeg: its version reads {answer[:60]!r}")
    return FfmpegProgram(
        path=path,
        version=version[1],
        has_fps_mode=(int(libavutil[1]), int(libavutil[2])) >= _FPS_MODE_LIBAVUTIL,
    )


def decode_command(
    program: FfmpegProgram,
    media: Media,
    *,
    filters: str,
    one_thread: bool,
    seek_s: Fraction | None = None,
    max_pixels: int | None = None,
) -> list[str]:
    """Build the command that writes raw pictures to stdout and a line per frame to stderr.

    Args:
        program: The ffmpeg to call.
        media: What to read.
        filters: What follows `showinfo` in the filter chain.
        one_thread: Needed for a damaged file: how ffmpeg patches up what is missing depends on
            which of its threads comes first, so that several give other pixels every time.
        seek_s: Go to the keyframe at or before this absolute time stamp first, in seconds.
        max_pixels: Larger pictures are refused before there is memory for one.
    """
    before: dict[str, object] = dict(media.options)
    if one_thread:
        before["threads"] = 1
    if max_pixels is not None:
        before["max_pixels"] = max_pixels
    if seek_s is not None:
        # rounded up: a microsecond below the keyframe would give the one before it
        microseconds = -(-seek_s.numerator * 1_000_000 // seek_s.denominator)
        before["seek_timestamp"] = 1
        before["noaccurate_seek"] = None
        before["ss"] = f"{microseconds}us"
    # no -map of cover pictures: V is a video stream that is none
    stream = ffmpeg.input(media.address, **before)["V:0"]
    no_drop = {"fps_mode" if program.has_fps_mode else "vsync": "passthrough"}
    output = ffmpeg.output(
        stream,
        "pipe:1",
        format="rawvideo",
        # showinfo comes first: it adds up the pixels as decoded, before any conversion
        vf=f"showinfo,{filters}",
        # titles would be printed between the frames' records, and could pose as such
        map_metadata=-1,
        map_chapters=-1,
        **no_drop,
    )
    command: list[str] = ffmpeg.compile(output, cmd=[program.path, *_GLOBAL])
    return command


class ReadStopped(Exception):
    """The reader of a decoder was told to stop while it waited."""


class Stalled(Exception):
    """A decoder gave no frame for too long. It is for the caller to say which frame that was."""


class Died(Exception):
    """A decoder ended before its input did; the text says how. The caller knows the frame."""


class DecodeProcess:
    """One decoding ffmpeg: raw bytes from its stdout, frame records from its stderr.

    Both pipes are read by whoever waits for a frame, so that neither can block the other, and
    nothing is read ahead. A context manager: the process is gone when the block is left, in
    whichever way. Should this process be killed, ffmpeg ends at its next write to a pipe.
    """

    def __init__(
        self,
        command: list[str],
        *,
        stall_s: float,
        stopping: threading.Event | None = None,
        stdin: int | None = None,
    ) -> None:
        self.log = DecodeLog()
        """What ffmpeg said so far."""
        self.stall_s = stall_s
        """Seconds without a frame after which it is given up; may be changed on the way."""
        self._stopping = stopping
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                # a Ctrl-C at the terminal is for us to handle; it would end the video early
                start_new_session=True,
            )
        except OSError as error:
            raise cannot_start(command[0], error) from error
        if self._process.stdout is None or self._process.stderr is None:
            raise RuntimeError("Popen gave no pipes")
        self._out = self._process.stdout.fileno()
        self._err = self._process.stderr.fileno()
        _widen(self._out)
        self._open = {self._out, self._err}
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
        self._waste = memoryview(bytearray(1 << 12))

    def __enter__(self) -> "DecodeProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End the process at once, wait until it is gone and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._open.clear()

    def next_record(self) -> FrameRecord | None:
        """Wait for the next frame's record, throwing its raw bytes away; None at the end.

        Raises:
            Died: The decoder ended before its input did.
            Stalled: The decoder gave nothing for too long.
            ReadStopped: The event was set.
        """
        since = time.monotonic()
        while not self.log.records:
            if not self._open:
                self._end()
                return None
            self._pump(self._waste, since)
        return self.log.records.popleft()

    def next_size(self) -> tuple[int, int] | None:
        """Wait until the next picture is on its way, and give its width and height; None at the
        end. `read_frame` then gives the picture.

        Raises:
            Died: The decoder ended before its input did.
            Stalled: The decoder gave nothing for too long.
            ReadStopped: The event was set.
        """
        since = time.monotonic()
        while not self.log.records:
            if self._err not in self._open:
                self._end()
                return None
            self._pump(memoryview(bytearray()), since)
        return self.log.records[0].width, self.log.records[0].height

    def read_frame(
        self, picture: memoryview, *, is_dropped: Callable[[int], bool] | None
    ) -> FrameRecord | None:
        """Wait for the next picture and its record; None at the end.

        Args:
            picture: Filled with the picture's bytes.
            is_dropped: Whether no picture follows the record with a time stamp: ffmpeg was told to
                drop it.

        Raises:
            Died: The decoder ended before its input did.
            Stalled: The decoder gave nothing for too long.
            ReadStopped: The event was set.
        """
        filled = 0
        since = time.monotonic()
        while filled < len(picture) or not self.log.records:
            if not self._open or (filled == len(picture) and self._err not in self._open):
                self._end()
                return None
            count, progress = self._pump(picture[filled:], since)
            filled += count
            while is_dropped is not None and self.log.records:
                if not is_dropped(self.log.records[0].pts):
                    break
                self.log.records.popleft()  # a missing time stamp is the lowest number of all
            if progress:
                since = time.monotonic()
        return self.log.records.popleft()

    def _end(self) -> None:
        """Tell the input's end from the decoder's: pipes end in either case, the exit code tells.

        Raises:
            Died: The decoder ended before its input did.
            Stalled: It does not end.
        """
        try:
            code = self._process.wait(self.stall_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise Stalled from error
        if self.log.broken:
            return  # the connection ended first, which is the caller's to say
        reason = why_decoder_died(
            code, self.log.shortage or self.log.first_complaint, frames=self.log.frames
        )
        if reason is not None:
            raise Died(reason)

    def _pump(self, into: memoryview, since: float) -> tuple[int, bool]:
        """Wait for either pipe; give how many bytes went `into`, and if a frame came nearer."""
        if self._stopping is not None and self._stopping.is_set():
            raise ReadStopped
        if time.monotonic() - since > self.stall_s:
            self.kill()
            raise Stalled
        poll = select.poll()
        for descriptor in self._open:
            if descriptor == self._err or len(into):
                poll.register(descriptor, select.POLLIN)
        # short sleeps: a stop has to be seen also while ffmpeg is silent
        ready = {descriptor for descriptor, _ in poll.poll(_POLL_S * 1000)}
        progress = False
        # the log after the picture: a picture's record was written before it
        count = 0
        if self._out in ready:
            with contextlib.suppress(BlockingIOError):
                count = os.readv(self._out, [into])
                progress = count > 0
                if not count:
                    self._open.discard(self._out)
        if self._err in ready:
            with contextlib.suppress(BlockingIOError):
                piece = os.read(self._err, _LOG_BLOCK)
                progress |= self.log.feed(piece)
                if not piece:
                    self._open.discard(self._err)
        return count, progress


def _widen(descriptor: int) -> None:
    """Let a pipe hold 1 MiB where the system can, which spares switches for large pictures."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl  # absent on some systems, as is the constant

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
