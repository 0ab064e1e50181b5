"""What a stream without an end is read from: a camera, a playlist, a device, a pipe.

    rtsp://host/path          a camera, over TCP
    http(s)://host/x.m3u8     a live playlist (HLS)
    /dev/video0               a camera of this machine (Video4Linux)
    -                         standard input: raw RGB pictures, or y4m

ffmpeg may open what such an address needs, and no more. A password in an address goes to ffmpeg
alone: `shown` is what messages, logs and records have.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal
from urllib.parse import quote, urlsplit

from samcore.errors import InputError
from samcore.video.decoder import FfmpegProgram, decode_command
from samcore.video.media import Media

LiveKind = Literal["rtsp", "hls", "device", "pipe"]

_DEVICE = re.compile(r"/dev/video\d+")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_RATE = re.compile(r"\d{1,9}(?:/[1-9]\d{0,8}|\.\d{1,6})?")
_LIMITS = {
    "rtsp": ("rtsp,rtp,udp,tcp", "rtsp,sdp,rtp,mpegts"),
    "hls": ("http,https,tls,tcp,crypto", "hls,mpegts,mov,aac,mp3,webvtt"),
}
"""Protocols and demuxers of a kind of address. A playlist names other addresses: none of these is
a file."""
_WANTED = "wanted rtsp://…, http(s)://….m3u8, a device such as /dev/video0, or - for standard input"
_ANALYSE_US = 1_000_000
"""How much of a stream ffmpeg looks at before the first frame."""


@dataclass(frozen=True, slots=True)
class LiveSource:
    """Where frames come from."""

    kind: LiveKind
    address: str = field(repr=False)
    """As given: it may hold a password."""
    shown: str
    """The same without user, password and query."""
    size_wh: tuple[int, int] | None = None
    """Of raw pictures, or asked of a device."""
    rate: Fraction | None = None
    """Frames a second, likewise."""

    @property
    def is_live(self) -> bool:
        """Whether frames are made whether or not somebody takes them."""
        return self.kind != "pipe"

    @property
    def reconnects(self) -> bool:
        """Whether there may be more after an end."""
        return self.kind != "pipe"

    @property
    def repeats(self) -> bool:
        """Whether a new connection may give frames again that were given before."""
        return self.kind == "hls"

    @property
    def has_login(self) -> bool:
        """Whether the address has a user, and with it perhaps a password."""
        return self.kind in ("rtsp", "hls") and "@" in urlsplit(self.address).netloc

    def with_login(self, login: str | None) -> "LiveSource":
        """The source with `user:password` in its address, if it is one that has none."""
        if not login or self.has_login or self.kind not in ("rtsp", "hls"):
            return self
        user, colon, password = login.partition(":")
        parts = urlsplit(self.address)
        netloc = f"{quote(user, safe='')}{colon}{quote(password, safe='')}@{parts.netloc}"
        return replace(self, address=parts._replace(netloc=netloc).geturl())

    def command(self, program: FfmpegProgram, *, stall_s: float, filters: str) -> list[str]:
        """The command that writes RGB pictures to stdout and a line for each to stderr."""
        media = Media(self._input, self._options(program, stall_s))
        return decode_command(program, media, filters=filters, one_thread=False)

    @property
    def _input(self) -> str:
        return "pipe:0" if self.kind == "pipe" else self.address

    def _options(self, program: FfmpegProgram, stall_s: float) -> Mapping[str, object]:
        silence_us = int(stall_s * 1_000_000)
        if self.kind == "rtsp":
            # Before 5.0 the option of that name made ffmpeg wait for a caller.
            timeout = "timeout" if program.has_fps_mode else "stimeout"
            own: dict[str, object] = {"rtsp_transport": "tcp", timeout: silence_us}
            return {**_limits("rtsp"), **own, "analyzeduration": _ANALYSE_US}
        if self.kind == "hls":
            own = {"rw_timeout": silence_us, "live_start_index": -1, "icy": 0}
            if self.address.lower().startswith("https:"):
                own["tls_verify"] = 1
            return {**_limits("hls"), **own, "analyzeduration": _ANALYSE_US}
        # ffmpeg-python wants a pair here, and takes a text for one.
        given = {"video_size": self.size_wh, "framerate": self.rate and str(self.rate)}
        asked = {name: value for name, value in given.items() if value is not None}
        if self.kind == "device":
            return {"format": "v4l2", "format_whitelist": "video4linux2,v4l2", **asked}
        pipe: dict[str, object] = {"protocol_whitelist": "pipe"}
        if self.size_wh is None:
            return {**pipe, "format": "yuv4mpegpipe", "format_whitelist": "yuv4mpegpipe"}
        raw = {"format": "rawvideo", "format_whitelist": "rawvideo", "pixel_format": "rgb24"}
        return {**pipe, **raw, **asked}


def parse_live_source(text: str, *, size: str | None = None, rate: str | None = None) -> LiveSource:
    """Read an address.

    Args:
        text: As a person gives it.
        size: `WxH` of raw pictures on standard input, or asked of a device.
        rate: Frames a second, `25`, `29.97` or `30000/1001`, likewise.

    Raises:
        InputError: One line that shows no password.
    """
    size_wh, per_second = _parse_size(size), _parse_rate(rate)
    kind, shown = _kind_of(text)
    if kind in ("rtsp", "hls") and (size_wh or per_second):
        raise InputError(f"--size and --rate are for - and devices; {shown} says its own")
    if kind == "pipe" and (size_wh is None) != (per_second is None):
        raise InputError(
            "raw pictures on standard input want both --size WxH and --rate N; y4m says its own, "
            "and wants neither"
        )
    return LiveSource(kind, text, shown, size_wh, per_second)


def _kind_of(text: str) -> tuple[LiveKind, str]:
    if text == "-":
        return "pipe", "standard input"
    if _DEVICE.fullmatch(text):
        return "device", text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError(f"this is no address; {_WANTED}") from None
    scheme = parts.scheme.lower()
    if scheme not in ("rtsp", "http", "https"):
        what = f"{scheme}://…" if "://" in text else repr(text[:40])
        more = "; a file is for `longtake track`" if "://" not in text else ""
        raise InputError(f"{what} is no stream: {_WANTED}{more}")
    if not host or not text.isprintable() or " " in text:
        raise InputError(f"an address of {scheme} that names no host, or has spaces; {_WANTED}")
    named = f"[{host}]" if ":" in host else host
    shown = f"{scheme}://{named}{'' if port is None else f':{port}'}{parts.path}"
    if scheme == "rtsp":
        return "rtsp", shown
    if not parts.path.lower().endswith(".m3u8"):
        raise InputError(f"{shown} is no playlist: {_WANTED}; a file is for `longtake track`")
    return "hls", shown


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise InputError(f"--size {text[:40]!r}; wanted WIDTHxHEIGHT such as 1280x720")
    return int(match[1]), int(match[2])


def _parse_rate(text: str | None) -> Fraction | None:
    if text is None:
        return None
    if not _RATE.fullmatch(text) or not Fraction(text):
        raise InputError(
            f"--rate {text[:40]!r}; wanted frames a second such as 25, 29.97 or 30000/1001"
        )
    return Fraction(text)


def _limits(kind: str) -> dict[str, object]:
    protocols, demuxers = _LIMITS[kind]
    return {"protocol_whitelist": protocols, "format_whitelist": demuxers}
