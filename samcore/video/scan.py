"""The scan: one full decode of a video file, which is the truth about it."""

import contextlib
import dataclasses
import json
import logging
import shutil
import subprocess
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from samcore.errors import (
    SegmentationError,
    TransientStorageError,
    TransientVideoError,
    VideoError,
)
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.video.decoder import (
    DecodeProcess,
    Died,
    FfmpegProgram,
    Stalled,
    decode_command,
)
from samcore.video.images import PICTURE_KINDS
from samcore.video.index import FrameIndex
from samcore.video.info import MAX_PLACES, SizeChange, VideoInfo
from samcore.video.log import DecodeLog
from samcore.video.media import VIDEO_FILES, Media, VideoFile
from samcore.video.rate import find_rate
from samcore.video.so_far import ScanSoFar
from samcore.video.timeline import make_timeline

logger = logging.getLogger(__name__)

# Four bytes a frame reach us, for one reason: should we be killed, ffmpeg fails to write and ends.
# Without the scale, ffmpeg may convert to grey already before showinfo, when it turns the picture.
_ALMOST_NOTHING = r"crop=min(2\,iw):min(2\,ih):0:0:exact=1,scale,format=gray"
_WANTED = f"wanted a video file ({VIDEO_FILES}) or a folder of {PICTURE_KINDS} images"


@dataclass(frozen=True, slots=True)
class HeaderClaims:
    """What a file's header says without decoding; it may be wrong."""

    num_frames: int | None
    """Frames of the video stream."""
    duration_s: float | None
    """Seconds of the whole file."""


class Sizes:
    """Takes the size of each frame; keeps the largest and the first changes."""

    def __init__(self) -> None:
        self.largest_wh = (0, 0)
        """The size with the most pixels, the first of several; frames are given at this one."""
        self.changes: list[SizeChange] = []
        """The first frame's size, and the first ones that differ from the frame's before."""
        self.num_changes = 0
        """How many differ."""
        self._last_wh: tuple[int, int] | None = None

    def add(self, frame_idx: int, width: int, height: int) -> bool:
        """Take the next frame's; True if it is another one than before."""
        if (width, height) == self._last_wh:
            return False
        self.num_changes += self._last_wh is not None
        self._last_wh = (width, height)
        if len(self.changes) <= MAX_PLACES:
            self.changes.append(SizeChange(frame=frame_idx, width=width, height=height))
        if width * height > self.largest_wh[0] * self.largest_wh[1]:
            self.largest_wh = (width, height)
        return True


@dataclass(frozen=True, slots=True)
class Scan:
    """What a full decode gave."""

    index: FrameIndex
    """Every frame."""
    log: DecodeLog
    """What ffmpeg said meanwhile."""
    sizes: "Sizes"
    """Which sizes the frames have."""
    time_base: Fraction
    """Seconds per unit of a time stamp."""


def read_claims(media: Media, *, timeout_s: float) -> HeaderClaims:
    """Ask ffprobe what the header claims; nothing is known if there is no ffprobe."""
    nothing = HeaderClaims(None, None)
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        return nothing
    command = [ffprobe, "-v", "error", "-select_streams", "V:0"]
    command += ["-show_entries", "stream=nb_frames:format=duration", "-of", "json"]
    try:
        # ffmpeg.probe() would leave a hanging ffprobe behind; this kills it
        answer = subprocess.run(
            [*command, *media.arguments()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
        said = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        # not the error itself: it holds the command, and so an address that may be signed
        logger.debug("ffprobe said nothing of the header: %s", type(error).__name__)
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
    file: VideoFile,
    *,
    total: int | None,
    stall_s: float,
    on_progress: Callable[[int, int | None], None] | None,
    limits: Limits = DEFAULT_LIMITS,
    so_far: "ScanSoFar[Scan] | None" = None,
) -> Scan:
    """Decode every frame once and write down its time stamp and checksum.

    Args:
        program: The ffmpeg to decode with.
        file: The video.
        total: Frames expected, handed to `on_progress` as it is.
        stall_s: Seconds without a frame after which it is given up.
        on_progress: Called with the frames so far and `total`. A damaged file is begun again.
        limits: How large and how many frames may be.
        so_far: Told of each frame, for another thread; of a damaged file not to its end.

    Raises:
        InputError: They are larger or more than that.
        VideoError: It is no video, has no frame that can be decoded, or hangs the decoder.
        TransientStorageError: The connection to it broke off.
        TransientVideoError: ffmpeg was killed, or crashed.
    """
    scan = _decode_all(
        program, file, total, stall_s, on_progress, limits, one_thread=False, so_far=so_far
    )
    if scan is None:
        if so_far is not None:
            so_far.end()
        logger.debug("%s is damaged: decoding it with one thread", file.name)
        scan = _decode_all(program, file, total, stall_s, on_progress, limits, one_thread=True)
    if scan is None:
        raise RuntimeError("a decode with one thread gives a scan or an error")
    return scan


def _decode_all(
    program: FfmpegProgram,
    file: VideoFile,
    total: int | None,
    stall_s: float,
    on_progress: Callable[[int, int | None], None] | None,
    limits: Limits,
    *,
    one_thread: bool,
    so_far: "ScanSoFar[Scan] | None" = None,
) -> Scan | None:
    """Decode to the end; None if damage shows while several threads decode."""
    pts, key, checksum = array("q"), bytearray(), array("I")
    sizes = Sizes()
    with contextlib.ExitStack() as stack:
        media = stack.enter_context(file.media())
        command = decode_command(
            program,
            media,
            filters=_ALMOST_NOTHING,
            one_thread=one_thread,
            max_pixels=limits.max_pixels,
        )
        process = stack.enter_context(DecodeProcess(command, stall_s=stall_s))
        log = process.log

        def look(count: int) -> Scan | None:
            if log.complaints or sizes.num_changes or log.time_base is None:
                return None
            index = _index(pts[:count], key[:count], checksum[:count])
            return Scan(index, log, sizes, log.time_base)

        if so_far is not None:
            so_far.begin(look)
        try:
            while (record := process.next_record()) is not None:
                if log.complaints and not one_thread:
                    return None
                if sizes.add(len(pts), record.width, record.height):
                    limits.check_size(record.width, record.height, name=file.name)
                pts.append(record.pts)
                key.append(record.key)
                checksum.append(record.checksum)
                # here, not at the end: a few bytes can hold frames for ever
                limits.check_frames(len(pts), name=file.name, more=True)
                if so_far is not None:
                    so_far.add()
                if on_progress is not None:
                    on_progress(len(pts), total)
        except Died as error:
            raise decoder_died(file, len(pts), str(error)) from error
        except Stalled as error:
            if media.is_remote:
                said = f"nothing came for {stall_s:g} s"
                raise connection_lost(file, len(pts), said) from error
            raise VideoError(
                f"the decoder gave nothing for {stall_s:g} s at frame {len(pts)} of {file.name!r} "
                "and was ended: the file may be damaged there, or its disk does not answer"
            ) from error
    if log.broken:
        # what was decoded may be the first half only, and look like a whole video
        raise connection_lost(file, len(pts), log.broken)
    if log.too_large_wh is not None:
        # ffmpeg has left these pictures out
        limits.check_size(*log.too_large_wh, name=file.name)
    if not pts or log.time_base is None:
        raise VideoError(_why_no_frames(file.name, log))
    if log.complaints and not one_thread:
        return None
    return Scan(_index(pts, key, checksum), log, sizes, log.time_base)


def _index(pts: "array[int]", key: bytearray, checksum: "array[int]") -> FrameIndex:
    return FrameIndex(
        pts_n=np.frombuffer(pts, np.int64),
        key_n=np.frombuffer(key, np.bool_),
        checksum_n=np.frombuffer(checksum, np.uint32),
    )


def frame_ticks(rate: Fraction, time_base: Fraction) -> int:
    """Duration of a frame in units of the time base."""
    return max(1, round(1 / (rate * time_base)))


def scan_info(file: VideoFile, scan: Scan, claims: HeaderClaims) -> VideoInfo:
    """What is known of a video after a scan, and beside it what its header claims."""
    index, log = scan.index, scan.log
    rate = find_rate(index, scan.time_base, claimed=log.frame_rate)
    timeline = make_timeline(index, frame_ticks=frame_ticks(rate.avg_rate, scan.time_base))
    if timeline.restarts:
        going_on = dataclasses.replace(index, pts_n=timeline.pts_n)
        rate = find_rate(going_on, scan.time_base, claimed=log.frame_rate)
        ticks = frame_ticks(rate.avg_rate, scan.time_base)
        timeline = make_timeline(index, frame_ticks=ticks)
    first, last = int(timeline.pts_n[0]), int(timeline.pts_n[-1])
    width, height = scan.sizes.largest_wh
    varies = scan.sizes.num_changes > 0
    return VideoInfo(
        source=file.name,
        kind="video",
        width=width,
        height=height,
        num_frames=len(index),
        time_base=scan.time_base,
        avg_rate=rate.avg_rate,
        start_pts=first,
        duration_s=float((last - first) * scan.time_base + 1 / rate.avg_rate),
        codec=log.codec,
        pixel_format=log.pixel_format or None,
        container=log.container,
        header_num_frames=claims.num_frames,
        header_duration_s=log.duration_s if claims.duration_s is None else claims.duration_s,
        rotation_deg=log.rotation_deg,
        variable_rate=rate.variable,
        size_bytes=file.size_bytes,
        digest=file.digest,
        damaged=log.complaint,
        size_changes=tuple(scan.sizes.changes) if varies else (),
        num_size_changes=scan.sizes.num_changes,
        clock_restarts=timeline.restarts[:MAX_PLACES],
        num_clock_restarts=len(timeline.restarts),
    )


def connection_lost(file: VideoFile, frame_idx: int, said: str) -> SegmentationError:
    """Give the error of a connection that was lost while this frame was to be decoded.

    Raises:
        SegmentationError: The store itself says better why.
    """
    if file.changed():
        return VideoError(content_changed(file.name, frame_idx))
    return TransientStorageError(
        f"the connection to {file.name} broke off at frame {frame_idx} ({said}); run again"
    )


def decoder_died(file: VideoFile, frame_idx: int, how: str) -> SegmentationError:
    """Give the error of a decoder that ended when this frame was to be decoded.

    Raises:
        SegmentationError: The store of the file says better why.
    """
    if file.changed():
        return VideoError(content_changed(file.name, frame_idx))
    return TransientVideoError(
        f"the ffmpeg that read {file.name!r} did not come to its end: {how}, at frame {frame_idx}; "
        "run again, with more memory if it was short; if it ends there each time, convert the "
        "file, or try another ffmpeg"
    )


def content_changed(name: str, frame_idx: int) -> str:
    """Say that a video is not the one any more that it was."""
    return (
        f"{name!r} changed while it was read, seen at frame {frame_idx}: leave the file "
        "alone while it is tracked, then run again"
    )


def _why_no_frames(source: str, log: DecodeLog) -> str:
    name = repr(source)
    said = log.first_complaint or "ffmpeg gave no reason"
    if "not on whitelist" in said:
        return f"{name} is a playlist, a script or of a kind that is not read: {_WANTED}"
    if "matches no streams" in said:
        return f"{name} has no video stream, only sound or other data: {_WANTED}"
    if not log.container:
        return f"{name} cannot be opened as a video ({said}): {_WANTED}"
    return f"not one frame of {name} can be decoded: {said}"
