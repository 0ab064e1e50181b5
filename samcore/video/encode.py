"""How videos are written: what goes in, and what ffmpeg makes of it."""

import itertools
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from samcore.errors import TransientVideoError
from samcore.video.decoder import FfmpegProgram, find_ffmpeg
from samcore.video.ending import cannot_start, says_read_failed, why_died
from samcore.video.media import Media

_PROBE_TIMEOUT_S = 60.0
_IVF_FILE = struct.Struct("<4sHH4sHHIIII")
_IVF_FRAME = struct.Struct("<IQ")


@dataclass(frozen=True, slots=True)
class Codec:
    """One kind of video."""

    dtype: type[np.uint8] | type[np.uint16]
    """Type of a sample."""
    channels: int
    """Samples a pixel: 3 are red, green and blue."""
    raw: str
    """ffmpeg's name of such pictures, uncompressed."""
    fourcc: bytes
    """The code of the same in containers."""
    needs_even_size: bool
    """Whether width and height must be even."""
    options: Mapping[str, object]
    """ffmpeg's options of the output."""

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of a picture's array."""
        return (height, width) if self.channels == 1 else (height, width, self.channels)


BROWSER = Codec(
    dtype=np.uint8,
    channels=3,
    raw="rgb24",
    fourcc=b"RGB\x18",
    needs_even_size=True,
    options={
        "format": "mp4",
        # Colours are converted to, and marked as, the ones that players assume. The marks are
        # said twice: newer ffmpegs believe the frames', older ones only the options below.
        "vf": "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
        "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709",
        "vcodec": "libx264",
        "preset": "veryfast",
        "crf": 20,
        "colorspace": "bt709",
        "color_primaries": "bt709",
        "color_trc": "bt709",
        "color_range": "tv",
        "movflags": "+faststart",
    },
)
"""An mp4 that plays in any browser: H.264, 4:2:0, index in front."""

_FFV1 = {
    "format": "matroska",
    # without a random number in the header: the same pictures are the same file
    "fflags": "+bitexact",
    "vcodec": "ffv1",
    "level": 3,
    "g": 1,
    "slices": 4,
    "slicecrc": 1,
}
NUMBERS_8 = Codec(np.uint8, 1, "gray", b"Y800", False, _FFV1)
"""Lossless numbers from 0 to 255; every frame can be sought."""
NUMBERS_16 = Codec(np.uint16, 1, "gray16le", b"Y1\x00\x10", False, _FFV1)
"""Lossless numbers from 0 to 65535; every frame can be sought."""


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of a stretch of a video."""

    media: Media
    """Where it is from."""
    start_s: Fraction
    """From this time stamp on, in seconds."""
    duration_s: Fraction
    """For so long."""
    shifts_s: tuple[Fraction, ...] = ()
    """Where the recording's clock starts again: seconds to add to the time stamps of each part,
    from the first one on, so that they go on. Empty where it does not."""


def has_sound(sound: Sound) -> bool:
    """Whether there is any that this ffmpeg can decode.

    Raises:
        TransientVideoError: ffmpeg was killed, or lost the connection, before it was known.
    """
    heard = ffmpeg.output(_sound_input(sound).audio, "-", format="null", t=0.1)
    command = ffmpeg.compile(heard, cmd=[find_ffmpeg().path, "-v", "error", "-nostdin"])
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PROBE_TIMEOUT_S,
        )
    except OSError as error:
        raise cannot_start(command[0], error) from error
    except subprocess.TimeoutExpired as error:
        raise TransientVideoError(
            f"ffmpeg looked for sound for {_PROBE_TIMEOUT_S:g} s in vain; run again"
        ) from error
    said = answer.stderr.decode("utf-8", "replace")
    # not all that was said: there may be a signed address in it
    died = says_read_failed(said) or why_died(answer.returncode, "it said so" if said else "")
    if died and answer.returncode:
        raise TransientVideoError(f"ffmpeg looked for sound and was stopped: {died}; run again")
    return answer.returncode == 0


def encode_command(
    program: FfmpegProgram,
    path: Path,
    codec: Codec,
    *,
    size_wh: tuple[int, int],
    rate: Fraction,
    time_base: Fraction | None,
    sound: Sound | None,
) -> list[str]:
    """Build the command that makes a video file of what comes in at stdin.

    Args:
        program: The ffmpeg to call.
        path: The file to write.
        codec: The kind of video.
        size_wh: Width and height.
        rate: Frames per second, where each frame is as long as the others.
        time_base: Where each has its own time stamp: its unit in seconds. Then `ivf_header` comes
            first, and `ivf_frame_header` before each frame.
        sound: To go with it; None for a silent video.
    """
    options = dict(codec.options)
    if time_base is None:
        frames = ffmpeg.input(
            "pipe:0",
            format="rawvideo",
            pix_fmt=codec.raw,
            video_size=size_wh,
            framerate=f"{rate.numerator}/{rate.denominator}",
        )
    else:
        # ffmpeg's raw pictures have no time stamps. IVF was made for compressed ones, but takes
        # any, with a time stamp each; by the code of the pictures' kind the decoder knows them.
        frames = ffmpeg.input("pipe:0", format="ivf", vcodec="rawvideo")
        options["fps_mode" if program.has_fps_mode else "vsync"] = "passthrough"
        options["enc_time_base"] = f"{time_base.numerator}:{time_base.denominator}"
        if options["format"] == "mp4":
            options["video_track_timescale"] = time_base.denominator
    streams = [frames.video]
    if sound is not None:
        streams.append(_sound_input(sound).audio)
        options["acodec"] = "aac"
        options["audio_bitrate"] = "160k"
        # silence where there is none, so that it stays in step; then no more than the pictures
        options["af"] = (
            f"{_going_on(sound)}aresample=async=1:first_pts=0,"
            f"atrim=end={float(sound.duration_s):.6f}"
        )
    output = ffmpeg.output(
        *streams, f"file:{path}", map_metadata=-1, map_chapters=-1, **options
    ).overwrite_output()
    cmd = [program.path, "-hide_banner", "-nostats", "-loglevel", "error"]
    if sound is not None and sound.shifts_s:
        cmd.append("-copyts")  # ffmpeg's own guess of how a clock goes on differs by container
    command: list[str] = ffmpeg.compile(output, cmd=cmd)
    return command


def ivf_header(codec: Codec, size_wh: tuple[int, int], time_base: Fraction) -> bytes:
    """What comes before the first frame."""
    return _IVF_FILE.pack(
        b"DKIF", 0, _IVF_FILE.size, codec.fourcc, *size_wh, time_base.denominator,
        time_base.numerator, 0, 0
    )  # fmt: skip


def ivf_frame_header(num_bytes: int, pts: int) -> bytes:
    """What comes before each frame: how long it is, and when it is shown."""
    return _IVF_FRAME.pack(num_bytes, pts)


def to_even(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """The picture with its last column or row twice where their number is odd."""
    height, width = image.shape[:2]
    more = ((0, height % 2), (0, width % 2), (0, 0))[: image.ndim]
    # a copy of the edge, since a black one would tint the pixels beside it
    return np.pad(image, more, mode="edge") if height % 2 or width % 2 else image


def _sound_input(sound: Sound) -> ffmpeg.nodes.FilterableStream:
    if sound.shifts_s:
        # a time stamp that occurs twice is no place to seek to
        return ffmpeg.input(sound.media.address, **sound.media.options)
    # without this the time counts from the file's first packet, which may be one of the sound
    seek = {"seek_timestamp": 1, "ss": f"{round(sound.start_s * 1_000_000)}us"}
    return ffmpeg.input(sound.media.address, **{**sound.media.options, **seek})


def _going_on(sound: Sound) -> str:
    """A filter that counts the clock's restarts and shifts each part's sound to where its pictures
    are shown, from the start of the stretch; empty where the clock does not restart."""
    if not sound.shifts_s:
        return ""
    # 0.1 s: where time stamps of sound are rounded, they go back a little without a restart
    counted = "st(0,ld(0)+lt(PTS,PREV_INPTS-0.1/TB))"
    steps = [b - a for a, b in itertools.pairwise(sound.shifts_s)]
    shift = f"{float(sound.shifts_s[0] - sound.start_s):.6f}"
    shift += "".join(f"+gte(ld(0),{n})*{float(step):.6f}" for n, step in enumerate(steps, 1))
    return f"asetpts='{counted}*0+PTS+({shift})/TB',"
