"""ffmpeg's log is understood however its threads write across each other."""

from fractions import Fraction

import pytest

from samcore.video.index import NO_PTS
from samcore.video.log import DecodeLog, FrameRecord

_PREFIX = "[Parsed_showinfo_0 @ 0x5628037e4a00] [info] "
_HEADER = (
    "[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:a.mp4':\n"
    "[info]   Duration: 00:01:02.50, start: 0.000000, bitrate: 163 kb/s\n"
    "[info]   Stream #0:0[0x1](und): Audio: aac\n"
    "[info]   Stream #0:1[0x2](und): Video: h264 (High), yuv420p, 160x120, 24 fps\n"
    "[info]       displaymatrix: rotation of -90.00 degrees\n"
    "[info] Stream mapping:\n"
    "[info]   Stream #0:1 -> #0:0 (h264 (native) -> rawvideo (native))\n"
    f"{_PREFIX}config in time_base: 1/12288, frame_rate: 24/1\n"
)
# as ffmpeg writes it: each piece in one go
_PIECES = (
    "n:   7 pts:  -3584 pts_time:-0.291667 pos: 7846 fmt:yuv420p sar:1/1 s:160x120 i:P iskey:1 "
    "type:I ",
    "checksum:6EAAA7DD plane_checksum:[A20F6FD4",
    " E6E2C894",
    " AE6F6F66",
    "] mean:[",
    "111 ",
    "134 ",
    "129",
    "] stdev:[",
    "54.9 ",
    "66.8 ",
    "nan",
    "]",
    "\n",
)
_RECORD = FrameRecord(pts=-3584, key=True, checksum=0x6EAAA7DD, width=160, height=120)


def _log_of(text: str, block: int = 1 << 16) -> DecodeLog:
    log = DecodeLog()
    data = text.encode()
    for place in range(0, len(data), block):
        log.feed(data[place : place + block])
    return log


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_the_log_may_come_in_pieces(block):
    """Header, time base and frames are found however the pipe cuts the text."""
    frame = _PREFIX + "".join(_PIECES)
    log = _log_of(_HEADER + frame * 3, block)

    assert list(log.records) == [_RECORD] * 3
    assert (log.time_base, log.frame_rate) == (Fraction(1, 12288), Fraction(24))
    assert (log.codec, log.container) == ("h264", "mov,mp4,m4a,3gp,3g2,mj2")
    assert (log.duration_s, log.rotation_deg) == (62.5, 90)
    assert log.complaint is None


@pytest.mark.parametrize("place", range(1, len(_PIECES)))
def test_a_message_across_a_frame_breaks_neither(place):
    """Another thread's error in the middle of a frame's line is noticed, and no frame is lost."""
    broken = "".join(_PIECES[:place]) + "File ended prematurely\n"
    rest = _PREFIX + "".join(_PIECES[place:])
    whole = _PREFIX + "".join(_PIECES)

    log = _log_of(_HEADER + whole + _PREFIX + broken + rest + whole)

    assert list(log.records) == [_RECORD] * 3
    assert log.complaint == "File ended prematurely"


@pytest.mark.parametrize(
    "said",
    [
        "Output #0, rawvideo, to 'pipe:1':\n[info]   Metadata:\n[info]     encoder : Lavf63\n",
        "Application provided invalid, non monotonically increasing dts to muxer in stream 0\n",
    ],
    ids=["description", "time stamps"],
)
@pytest.mark.parametrize("place", range(1, len(_PIECES)))
def test_what_is_said_of_the_output_is_no_damage(place, said):
    """What ffmpeg says of its own output across a frame is not held against the file."""
    broken = "".join(_PIECES[:place]) + said + _PREFIX + "".join(_PIECES[place:])

    log = _log_of(_HEADER + _PREFIX + broken)

    assert list(log.records) == [_RECORD]
    assert log.complaint is None


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        ("[h264 @ 0x1] [error] error while decoding MB 1 2", True),
        ("[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [error] Decoding error: Invalid data", True),
        ("[error] Error while decoding stream #0:0: Invalid data", True),
        ("[h264 @ 0x1] [info] concealing 93 DC, 93 AC, 93 MV errors in P frame", True),
        ("[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [warning] corrupt decoded frame", True),
        ("[h264 @ 0x1] [error] mmco: unref short failure", False),
        ("[rawvideo @ 0x1] [error] Application provided invalid dts to muxer: 2 >= 2", False),
        ("[out#0/rawvideo @ 0x1] [error] anything", False),
        ("[mov @ 0x1] [warning] something odd", False),
        ("[info] frame=    1 fps=0.0 q=-0.0 Lsize=       0kB", False),
    ],
)
def test_only_what_damages_pixels_is_damage(line, damaged):
    """Errors of demuxer and decoder count; warnings, and errors of the output, do not."""
    log = _log_of(_HEADER + line + "\n")

    assert (log.complaint is not None) == damaged


def test_a_frame_without_time_stamp_is_a_frame():
    """NOPTS is kept as such."""
    log = _log_of(_HEADER + _PREFIX + "".join(_PIECES).replace("  -3584", "  NOPTS"))

    assert [record.pts for record in log.records] == [NO_PTS]


def test_an_endless_line_does_not_fill_the_memory():
    """A line without end, such as a dump of user data, is passed over, and the next one read."""
    log = _log_of(_HEADER)
    for _ in range(100):
        log.feed(b"6364" * 10_000)
    log.feed(b"\n" + (_PREFIX + "".join(_PIECES)).encode())

    assert list(log.records) == [_RECORD]
