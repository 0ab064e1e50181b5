"""What a video file says of itself, asked of whichever ffmpeg there is: ffprobe may be absent."""

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from samcore.video.decoder import find_ffmpeg

_STREAM = re.compile(r"Stream #0:\d.*: Video: (\w+).*?, (\w+)(?:\(([^)]*)\))?, \d+x\d+")
_SOUND = re.compile(r"Stream #0:\d.*: Audio: (\w+)")
_RATE = re.compile(r"config in time_base: \S+ frame_rate: (\d+/\d+)")
_TIME = re.compile(r"showinfo.*\bpts_time:(\S+)")


@dataclass(frozen=True)
class Stream:
    """The video stream of a file."""

    codec: str
    """ffmpeg's name of it, such as `h264`."""
    pix_fmt: str
    """How pixels are kept, such as `yuv420p`."""
    colours: tuple[str, str, str, str]
    """Range, matrix, primaries and transfer; `unknown` where there is no mark."""
    frame_rate: Fraction
    """Frames per second, as the container claims."""
    times_s: list[float]
    """When each frame is shown, in presentation order."""
    sound: str | None
    """ffmpeg's name of the sound's codec; None for a silent video."""


def ask_stream(path: Path) -> Stream:
    """Read the file's header, and its frames' times."""
    program = find_ffmpeg()
    no_drop = "-fps_mode" if program.has_fps_mode else "-vsync"
    command = [program.path, "-hide_banner", "-nostdin", "-nostats", "-copyts"]
    command += ["-i", f"file:{path}", "-map", "0:v", "-vf", "showinfo"]
    command += [no_drop, "passthrough", "-f", "null", "-"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    header = said.partition("Stream mapping:")[0]
    ((codec, pix_fmt, marks),) = _STREAM.findall(header)
    rate = _RATE.search(said)
    assert rate is not None, said
    sound = _SOUND.search(header)
    return Stream(
        codec=codec,
        pix_fmt=pix_fmt,
        colours=_colours(marks),
        frame_rate=Fraction(rate[1]),
        times_s=[float(time) for time in _TIME.findall(said)],
        sound=None if sound is None else sound[1],
    )


def _colours(marks: str) -> tuple[str, str, str, str]:
    """Take apart `tv, bt709/unknown/unknown, progressive`; where all three are one it is said once
    (ffmpeg's `avcodec_string`)."""
    words = marks.split(", ")
    level = next((word for word in words if word in ("tv", "pc")), "unknown")
    named = next((word for word in words if word.startswith("bt") or "/" in word), "unknown")
    matrix, primaries, transfer = named.split("/") if "/" in named else (named,) * 3
    return level, matrix, primaries, transfer
