"""One recording in several files, as cameras write them: one video, exact over the joints.

    part 1.mp4   0 1 2 3 4                         frames go on,
    part 2.mp4             0 1 2                   and so do time stamps: each part begins
    part 3.mp4                   0 1 2 3           where the one before ends
    recording    0 1 2 3 4 5 6 7 8 9 a b

Each part is scanned, indexed and read by itself, so a frame of the recording is that very frame of
its part, a seek never leaves a part, and what is wrong with a part is said of that part.
"""

import hashlib
import itertools
import math
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.video.decoder import STALL_S, DecodeProcess, Died, Stalled, decode_command, find_ffmpeg
from samcore.video.frame import Frame, FrameProducer
from samcore.video.index import FrameIndex
from samcore.video.info import MAX_PLACES, SizeChange, VideoInfo, VideoPart
from samcore.video.media import VideoFile
from samcore.video.picking import only, within
from samcore.video.rate import FrameRate, find_rate
from samcore.video.source import VideoSource

_FINEST = 10**9
"""Units of a second; parts whose time bases have nothing finer in common are rounded to it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What has to be alike in all parts of a recording."""

    name: str
    """The part."""
    width: int
    """Pixels across as displayed."""
    height: int
    """Pixels down as displayed."""
    rotation_deg: int
    """As `VideoInfo.rotation_deg`."""
    pixel_format: str | None
    """As `VideoInfo.pixel_format`."""

    def __str__(self) -> str:
        turned = f", turned by {self.rotation_deg} degrees" if self.rotation_deg else ""
        pixels = f", {self.pixel_format}" if self.pixel_format else ""
        return f"{self.name!r} ({self.width} x {self.height}{turned}{pixels})"

    def fits(self, other: "Look") -> bool:
        """Whether both may be parts of one recording."""
        formats = {self.pixel_format, other.pixel_format}
        return (
            (self.width, self.height, self.rotation_deg)
            == (other.width, other.height, other.rotation_deg)
        ) and (None in formats or len(formats) == 1)


def check_alike(looks: Sequence[Look]) -> None:
    """Refuse parts that no camera has written one after the other.

    Raises:
        InputError: One line that names the first part and the first that differs.
    """
    for other in looks[1:]:
        if not looks[0].fits(other):
            raise InputError(
                f"cannot join {looks[0]} and {other}: the parts of one recording have one size, "
                "rotation and pixel format; convert one of them, or track them apart"
            )


def check_looks(files: Sequence[VideoFile], *, stall_s: float = STALL_S) -> None:
    """Decode the first frame of each part, before hours go into all of them, and hold these
    against each other. A part that cannot be decoded is passed over: its scan says why.

    Raises:
        InputError: As `check_alike`.
        SegmentationError: The store of a part does not give it.
    """
    check_alike([look for file in files if (look := _first_look(file, stall_s)) is not None])


def _first_look(file: VideoFile, stall_s: float) -> Look | None:
    with file.media() as media:
        command = decode_command(
            find_ffmpeg(), media, filters="scale=2:2,format=gray", one_thread=True
        )
        with DecodeProcess(command, stall_s=stall_s) as process:
            try:
                record = process.next_record()
            except (Died, Stalled):
                return None
            if record is None:
                return None
            log = process.log
            found = record.width, record.height, log.rotation_deg, log.pixel_format
            return Look(file.name, *found)


def join_videos(parts: Sequence[VideoSource], *, stall_s: float = STALL_S) -> VideoSource:
    """Make one video of several, in this order. Holds their indexes, and one more.

    A part lasts from its first frame to the end of its last one, as `VideoInfo.duration_s` has it.
    Frame rates may differ, and vary. The sound is left out.

    Raises:
        InputError: There are none, one is a folder of images, or they differ in size, rotation or
            pixel format.
    """
    if not parts:
        raise InputError("no files to join: wanted one at least")
    infos = [part.info for part in parts]
    for info in infos:
        if info.kind != "video":
            raise folder_in_recording(info.source)
    if len(parts) == 1:
        return parts[0]
    check_alike([Look(i.source, i.width, i.height, i.rotation_deg, i.pixel_format) for i in infos])
    times = _Times.of(parts)
    index = FrameIndex(
        pts_n=times.pts_n,
        key_n=np.concatenate([part.index.key_n for part in parts]),
        checksum_n=np.concatenate([part.index.checksum_n for part in parts]),
    )
    firsts = _firsts(infos)
    info = _joined_info(infos, firsts, index, times)
    producers = [part.producer for part in parts]
    counts = [info.num_frames for info in infos]
    frames = _JoinedFrames(producers, firsts, counts, times.pts_n)
    return VideoSource(info, index, frames, shown_pts_n=times.pts_n, stall_s=stall_s)


def folder_in_recording(name: str) -> InputError:
    """The error of a folder of images among the parts."""
    return InputError(
        f"cannot join {name!r}, a folder of images: wanted video files; put all images into one "
        "folder"
    )


def joined_digest(digests: Sequence[str]) -> str:
    """The identity of a recording: a digest of its parts' digests, in order."""
    return f"sha256:{hashlib.sha256('|'.join(['joined', *digests]).encode()).hexdigest()}"


def _firsts(infos: Sequence[VideoInfo]) -> list[int]:
    """The first frame of each part."""
    return [0, *itertools.accumulate(info.num_frames for info in infos)][:-1]


@dataclass(frozen=True, slots=True, eq=False)
class _Times:
    """When the frames of a recording are shown."""

    time_base: Fraction
    pts_n: NDArray[np.int64]
    duration_s: Fraction

    @classmethod
    def of(cls, parts: Sequence[VideoSource]) -> "_Times":
        """One part after the other; the first one's time stamps stay as they are."""
        base = _common_base([part.info.time_base for part in parts])
        begin_s = parts[0].info.start_pts * parts[0].info.time_base
        lasts_s = Fraction(0)
        pieces: list[NDArray[np.int64]] = []
        for part in parts:
            info, pts_n = part.info, part.shown_pts_n
            scale = info.time_base / base
            # The sum of all durations is rounded, and not each of them: it would add up.
            begin = round((begin_s + lasts_s) / base)
            from_start_n = pts_n - pts_n[0]
            if scale.denominator == 1:
                pieces.append(begin + from_start_n * scale.numerator)
            else:
                ticks = [round(int(ticks) * scale) for ticks in from_start_n]
                pieces.append(begin + np.array(ticks, np.int64))
            lasts_s += int(from_start_n[-1]) * info.time_base + 1 / info.avg_rate
        return cls(base, np.concatenate(pieces), lasts_s)


def _common_base(bases: Sequence[Fraction]) -> Fraction:
    """The largest unit of which all others are multiples, unless it is too fine."""
    base = Fraction(
        math.gcd(*(one.numerator for one in bases)), math.lcm(*(one.denominator for one in bases))
    )
    return base if base >= Fraction(1, _FINEST) else Fraction(1, _FINEST)


def _joined_info(
    infos: Sequence[VideoInfo], firsts: Sequence[int], index: FrameIndex, times: _Times
) -> VideoInfo:
    rate = find_rate(index, times.time_base, claimed=infos[0].avg_rate)
    if len({(info.avg_rate, info.variable_rate) for info in infos}) == 1:
        # Where one part's unit is coarser than another's, time stamps would not show it.
        rate = FrameRate(infos[0].avg_rate, infos[0].variable_rate)
    damaged = [f"{info.source}: {info.damaged}" for info in infos if info.damaged is not None]
    claimed = [info.header_num_frames for info in infos if info.header_num_frames is not None]
    claimed_s = [info.header_duration_s for info in infos if info.header_duration_s is not None]
    pairs = list(zip(firsts, infos, strict=True))
    restarts = [first + frame for first, info in pairs for frame in info.clock_restarts]
    changes = list(_size_changes(firsts, infos))
    varies = len(changes) > 1
    return infos[0].model_copy(
        update={
            "num_frames": len(index),
            "time_base": times.time_base,
            "avg_rate": rate.avg_rate,
            "variable_rate": rate.variable,
            "start_pts": int(times.pts_n[0]),
            "duration_s": float(times.duration_s),
            "codec": ", ".join(dict.fromkeys(info.codec for info in infos)),
            "container": ", ".join(dict.fromkeys(info.container for info in infos)),
            "header_num_frames": sum(claimed) if len(claimed) == len(infos) else None,
            "header_duration_s": sum(claimed_s) if len(claimed_s) == len(infos) else None,
            "size_bytes": sum(info.size_bytes for info in infos),
            "digest": joined_digest([info.digest for info in infos]),
            "damaged": "; ".join(damaged) or None,
            "size_changes": tuple(changes[: MAX_PLACES + 1]) if varies else (),
            "num_size_changes": len(changes) - 1,
            "clock_restarts": tuple(restarts[:MAX_PLACES]),
            "num_clock_restarts": sum(info.num_clock_restarts for info in infos),
            "parts": tuple(
                VideoPart(
                    source=info.source,
                    digest=info.digest,
                    size_bytes=info.size_bytes,
                    frame=first,
                    num_frames=info.num_frames,
                    start_pts=int(times.pts_n[first]),
                )
                for first, info in pairs
            ),
        }
    )


def _size_changes(firsts: Sequence[int], infos: Sequence[VideoInfo]) -> Iterator[SizeChange]:
    """The first frame's size and each change, over the joints, too."""
    last: tuple[int, int] | None = None
    for first, info in zip(firsts, infos, strict=True):
        own = info.size_changes or (SizeChange(frame=0, width=info.width, height=info.height),)
        for change in own:
            if (change.width, change.height) != last:
                last = (change.width, change.height)
                yield change.model_copy(update={"frame": first + change.frame})


class _JoinedFrames:
    """Gives the frames of a recording, each from the part that it lies in."""

    def __init__(
        self,
        producers: Sequence[FrameProducer],
        firsts: Sequence[int],
        counts: Sequence[int],
        shown_pts_n: NDArray[np.int64],
    ) -> None:
        self._producers = producers
        self._firsts = firsts
        self._counts = counts
        self._shown_pts_n = shown_pts_n

    def only(self, numbers_m: NDArray[np.int64]) -> FrameProducer:
        """Each part picks its own."""
        producers = [
            only(producer, within(numbers_m, first, first + count) - first)
            for producer, first, count in zip(
                self._producers, self._firsts, self._counts, strict=True
            )
        ]
        return _JoinedFrames(producers, self._firsts, self._counts, self._shown_pts_n)

    def frames(
        self, start: int, stop: int, *, stopping: threading.Event, stall_s: float
    ) -> Generator[Frame, None, None]:
        """Give frames [start, stop); ends early when `stopping` is set.

        Raises:
            SegmentationError: What a part raises, which names the part and its own frame.
        """
        for producer, first, count in zip(self._producers, self._firsts, self._counts, strict=True):
            begin, end = max(start - first, 0), min(stop - first, count)
            if begin >= end:
                continue
            own = producer.frames(begin, end, stopping=stopping, stall_s=stall_s)
            for frame in own:
                frame_idx = first + frame.frame_idx
                yield Frame(frame_idx, int(self._shown_pts_n[frame_idx]), frame.image_rgb_hwc_u8)
            if stopping.is_set():
                return
