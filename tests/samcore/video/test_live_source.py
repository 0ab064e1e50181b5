"""Addresses of streams: what is taken, what ffmpeg may open for it, and that no password shows."""

import itertools
from fractions import Fraction

import pytest

from samcore.errors import InputError
from samcore.video.decoder import FfmpegProgram, find_ffmpeg
from samcore.video.live_source import parse_live_source


def options(text: str, **given: str) -> dict[str, str]:
    """The options of the input in ffmpeg's command line, up to its address."""
    source = parse_live_source(text, **given)
    command = source.command(find_ffmpeg(), stall_s=7, filters="null")
    before = command[: command.index("-i")]
    return dict(itertools.pairwise(before))


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("rtsp://cam:554/a/b", "rtsp", "rtsp://cam:554/a/b"),
        ("rtsp://joe:geheim@[::1]/a?key=geheim", "rtsp", "rtsp://[::1]/a"),
        ("https://joe:geheim@host/x/live.m3u8?token=geheim", "hls", "https://host/x/live.m3u8"),
        ("http://127.0.0.1:80/LIVE.M3U8", "hls", "http://127.0.0.1:80/LIVE.M3U8"),
        ("/dev/video12", "device", "/dev/video12"),
        ("-", "pipe", "standard input"),
    ],
)
def test_streams_are_known_by_their_address(text: str, kind: str, shown: str) -> None:
    """Each kind of address is taken; user, password and query show nowhere."""
    source = parse_live_source(text)
    assert (source.kind, source.shown) == (kind, shown)
    assert "geheim" not in repr(source)


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        ("dog.mp4", {}, "'dog.mp4' is no stream: wanted rtsp://.*a file is for `longtake track`"),
        ("/dev/sda", {}, "'/dev/sda' is no stream"),
        ("file:///etc/passwd.m3u8", {}, "file://… is no stream"),
        ("concat:a|b", {}, "is no stream"),
        ("udp://joe:geheim@host:1", {}, "udp://… is no stream"),
        ("https://joe:geheim@host/dog.mp4", {}, "https://host/dog.mp4 is no playlist"),
        ("rtsp:///geheim", {}, "names no host"),
        ("rtsp://host:geheim/x", {}, "no address"),
        ("rtsp://host/a b", {}, "has spaces"),
        ("rtsp://host/a", {"size": "64x48"}, "--size and --rate are for - and devices"),
        ("-", {"size": "64x48"}, "both --size WxH and --rate N"),
        ("-", {"rate": "25"}, "both --size WxH and --rate N"),
        ("-", {"size": "0x48", "rate": "25"}, "--size '0x48'; wanted WIDTHxHEIGHT"),
        ("-", {"size": "64x48", "rate": "0"}, "--rate '0'; wanted frames a second"),
    ],
)
def test_what_is_no_stream_is_said(text: str, given: dict[str, str], says: str) -> None:
    """One line says what was wanted, and repeats no password."""
    with pytest.raises(InputError, match=says) as error:
        parse_live_source(text, **given)
    assert "geheim" not in str(error.value)


def test_ffmpeg_may_open_what_a_stream_needs_and_no_more() -> None:
    """No stream reaches a file of this machine, and a pipe reaches nothing else at all."""
    rtsp, hls = options("rtsp://cam/a"), options("https://host/a.m3u8")
    assert rtsp["-protocol_whitelist"] == "rtsp,rtp,udp,tcp"
    assert rtsp["-rtsp_transport"] == "tcp"
    assert rtsp["-timeout"] == "7000000"
    assert hls["-protocol_whitelist"] == "http,https,tls,tcp,crypto"
    assert hls["-tls_verify"] == "1"
    assert options("-")["-protocol_whitelist"] == "pipe"
    raw = options("-", size="64x48", rate="29.97")
    assert (raw["-video_size"], raw["-framerate"]) == ("64x48", "2997/100")
    assert raw["-pixel_format"] == "rgb24"
    device = options("/dev/video0", size="640x480")
    assert (device["-f"], device["-video_size"]) == ("v4l2", "640x480")
    assert "-framerate" not in device


def test_older_ffmpeg_is_not_told_to_wait_for_a_caller() -> None:
    """What is `timeout` now was `stimeout` when `timeout` meant something else."""
    older = FfmpegProgram("ffmpeg", "4.4", has_fps_mode=False)
    command = parse_live_source("rtsp://cam/a").command(older, stall_s=7, filters="null")
    assert "-stimeout" in command
    assert "-timeout" not in command


def test_a_login_can_come_from_elsewhere() -> None:
    """It goes into addresses that have none, with what is special in it encoded."""
    source = parse_live_source("rtsp://cam:554/a")
    assert not source.has_login
    assert source.with_login("joe:p@ss:/").address == "rtsp://joe:p%40ss%3A%2F@cam:554/a"
    own = parse_live_source("rtsp://ann@cam/a")
    assert own.has_login
    assert own.with_login("joe:x") == own
    assert parse_live_source("-").with_login("joe:x").address == "-"
    assert parse_live_source("-", size="2x2", rate="30000/1001").rate == Fraction(30000, 1001)
