"""The scan: one full decode of a video file, which is the truth about it."""

import contextlib
import json
import logging
import shutil
import subprocess
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from samcore.errors import VideoError
from samcore.video.decoder import (
    SOURCE_LIMITS,
    DecodeProcess,
    FfmpegProgram,
    Stalled,
    decode_command,
)
from samcore.video.index import FrameIndex
from samcore.video.log import DecodeLog

logger = logging.getLogger(__name__)

# Four bytes a frame reach us, for one reason: should we be killed, ffmpeg fails to write and ends.
# Without the scale, ffmpeg may convert to grey already before showinfo, when it turns the picture.
_ALMOST_NOTHING = r"crop=min(2\,iw):min(2\,ih):0:0:exact=1,scale,format=gray"
_WANTED = "wanted a video file (mp4, mov, mkv, webm, avi) or a folder of JPEG or PNG images"


@dataclass(frozen=True, slots=True)
class HeaderClaims:
    """What a file's header says without decoding; it may be wrong."""

    num_frames: int | None
    """Frames of the video stream."""
    duration_s: float | None
    """Seconds of the whole file."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a full decode gave."""

    index: FrameIndex
    """Every frame."""
    log: DecodeLog
    """What ffmpeg said meanwhile."""
    width: int
    """Of the first frame; frames of another size are scaled to it when they are read."""
    height: int
    """Of the first frame."""
    time_base: Fraction
    """Seconds per unit of a time stamp."""


def read_claims(path: Path, *, timeout_s: float) -> HeaderClaims:
    """Ask ffprobe what the header claims; nothing is known if there is no ffprobe."""
    nothing = HeaderClaims(None, None)
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        return nothing
    limits = [part for key, value in SOURCE_LIMITS.items() for part in (f"-{key}", value)]
    command = [ffprobe, "-v", "error", *limits, "-select_streams", "V:0"]
    command += ["-show_entries", "stream=nb_frames:format=duration", "-of", "json"]
    try:
        # ffmpeg.probe() would leave a hanging ffprobe behind; this kills it
        answer = subprocess.run(
            [*command, f"file:{path.absolute()}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
        said = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.debug("ffprobe said nothing of %s: %s", path, error)
        return nothing
    stream = (said.get("streams") or [{}])[0]
    num_frames: int | None = None
    duration_s: float | None = None
    with contextlib.suppress(KeyError, ValueError):
        num_frames = int(stream["nb_frames"])
    with contextlib.suppress(KeyError, ValueError):
        duration_s = float(said["format"]["duration"])
    return HeaderClaims(num_frames, duration_s)


def scan_video(
    program: FfmpegProgram,
    path: Path,
    *,
    total: int | None,
    stall_s: float,
    on_progress: Callable[[int, int | None], None] | None,
) -> Scan:
    """Decode every frame once and write down its time stamp and checksum.

    Args:
        program: The ffmpeg to decode with.
        path: The video file.
        total: Frames expected, handed to `on_progress` as it is.
        stall_s: Seconds without a frame after which it is given up.
        on_progress: Called with the frames so far and `total`. A damaged file is begun again.

    Raises:
        VideoError: It is no video, has no frame that can be decoded, or hangs the decoder.
    """
    scan = _decode_all(program, path, total, stall_s, on_progress, one_thread=False)
    if scan is None:
        logger.debug("%s is damaged: decoding it with one thread", path)
        scan = _decode_all(program, path, total, stall_s, on_progress, one_thread=True)
    if scan is None:
        raise RuntimeError("a decode with one thread gives a scan or an error")
    return scan


def _decode_all(
    program: FfmpegProgram,
    path: Path,
    total: int | None,
    stall_s: float,
    on_progress: Callable[[int, int | None], None] | None,
    *,
    one_thread: bool,
) -> Scan | None:
    """Decode to the end; None if damage shows while several threads decode."""
    pts, key, checksum = array("q"), bytearray(), array("I")
    size_wh = (0, 0)
    command = decode_command(program, path, filters=_ALMOST_NOTHING, one_thread=one_thread)
    with DecodeProcess(command, stall_s=stall_s) as process:
        log = process.log
        try:
            while (record := process.next_record()) is not None:
                if log.complaints and not one_thread:
                    return None
                if not pts:
                    size_wh = (record.width, record.height)
                pts.append(record.pts)
                key.append(record.key)
                checksum.append(record.checksum)
                if on_progress is not None:
                    on_progress(len(pts), total)
        except Stalled as error:
            raise VideoError(
                f"the decoder gave nothing for {stall_s:g} s at frame {len(pts)} of {str(path)!r} "
                "and was ended: the file may be damaged there, or its disk does not answer"
            ) from error
    if not pts or log.time_base is None:
        raise VideoError(_why_no_frames(path, log))
    if log.complaints and not one_thread:
        return None
    index = FrameIndex(
        pts_n=np.frombuffer(pts, np.int64),
        key_n=np.frombuffer(key, np.bool_),
        checksum_n=np.frombuffer(checksum, np.uint32),
    )
    return Scan(index, log, *size_wh, log.time_base)


def _why_no_frames(path: Path, log: DecodeLog) -> str:
    name = repr(str(path))
    said = log.first_complaint or "ffmpeg gave no reason"
    if "not on whitelist" in said:
        return f"{name} is a playlist, a script or of a kind that is not read: {_WANTED}"
    if "matches no streams" in said:
        return f"{name} has no video stream, only sound or other data: {_WANTED}"
    if not log.container:
        return f"{name} cannot be opened as a video ({said}): {_WANTED}"
    return f"not one frame of {name} can be decoded: {said}"
