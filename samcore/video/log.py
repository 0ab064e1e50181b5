"""What ffmpeg says on stderr: the header, one record per decoded frame, complaints."""

import re
from collections import deque
from fractions import Fraction
from typing import NamedTuple

from samcore.video.ending import says_read_failed, says_shortage
from samcore.video.index import NO_PTS

_MAX_LINE = 1 << 16
_CONTEXT = r"(?:\[[^\]\n]* @ 0x[0-9a-f]+\] )*"

# showinfo writes a line in pieces, and other threads of ffmpeg may write between any two of them:
# these two pieces are whole, and in order, but may stand anywhere in a line.
_FRAME = re.compile(
    r"n: *\d+ pts: *(?P<pts>NOPTS|-?\d+) +pts_time:[^\n]*? fmt:(?P<format>\w+) [^\n]*?"
    r"s:(?P<width>\d+)x(?P<height>\d+) "
    r"i:. iskey:(?P<key>[01]) type:.|checksum:(?P<checksum>[0-9A-F]{8}) plane_checksum:\["
)
# All that showinfo writes in such a line. What follows it there is another thread's message, which
# ffmpeg prints without a level.
_SHOWN = re.compile(
    rf"(?:{_FRAME.pattern}| |\]? *(?:mean|stdev):\[|[0-9A-F]{{8}}|[\[\]]|"
    r"-?(?:\d+(?:\.\d+)?|nan|inf)(?![0-9a-z.]))*"
)
_PREFIX = re.compile(r"\[Parsed_showinfo_0 @ 0x[0-9a-f]+\] \[info\] ")
_COLOURS = re.compile(r"color_range:[a-z0-9-]+(?: color_[a-z]+:[a-z0-9-]+)*")
# ffmpeg describes its output while the first frames are on their way, and is not content with it
# where the input has a time stamp twice
_OF_OUTPUT = re.compile(
    r".* to muxer |"
    r"\s*(?:Output #0|Metadata:|encoder|Stream #0|Video:|Side data|, |\(|:|rawvideo|kb/s|fps|tb)"
)
_TIMING = re.compile(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
_INPUT = re.compile(r"\[info\] Input #0, (\S+), from '")
_DURATION = re.compile(r"\[info\]   Duration: (\d+):(\d+):(\d+\.\d+)")
_STREAM = re.compile(r"\[info\]   Stream #0:(\d+)")
_ROTATION = re.compile(
    r"\[info\] +(?:displaymatrix|Display Matrix): rotation of (-?\d+(?:\.\d+)?) degrees"
)
_MAPPING = re.compile(r"\[info\]   Stream #0:(\d+) -> #0:0 \((\w+)")
_MORE_VIDEOS = re.compile("Found duplicated MOOV|File extends beyond end of segment")
# Errors, and the milder messages that tell of pixels made up, or of frames left out: of mp4s and
# mkvs joined by `cat`, ffmpeg does not read all. Not so `mmco`: a reference that is gone already
# was to be let go, as after every cut without encoding.
_COMPLAINT = re.compile(
    rf"({_CONTEXT})(?:\[(?:error|fatal|panic)\] (?!mmco: )|"
    rf"\[(?:info|warning)\] (?=concealing \d|corrupt decoded frame|{_MORE_VIDEOS.pattern}))(.+)"
)
# What a connection's layers say is no damage of the video. Most of it is made good by connecting
# again; these are the words of giving up. The longest wait is the last one before that.
_NETWORK_CONTEXT = re.compile(r"\[(?:https?|tls|tcp|httpproxy) @ 0x")
_NETWORK_TEXT = re.compile(
    r"Will reconnect at |HTTP error \d|Stream ends prematurely|Failed to reconnect|TLS connection"
)
_GIVEN_UP = re.compile(
    r"HTTP error 4(?!29)\d\d[^\n]*|Failed to reconnect|Will reconnect .* in 15 s"
)
_ADDRESS = re.compile(r"https?://[^\s'\"]+?(?=:? |:?$|['\"])")
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) exceeds specified max pixel count")
# what the throw-away output says of time stamps is no damage of the input
_OUTPUT_CONTEXT = re.compile(r"\[(?:out#|null|rawvideo|vost#)")


class FrameRecord(NamedTuple):
    """One frame as it left the decoder."""

    pts: int
    """Time stamp, or NO_PTS."""
    key: bool
    """True if the decoder calls it a keyframe."""
    checksum: int
    """Adler-32 of its planes, before any conversion."""
    width: int
    """Pixels across, after rotation."""
    height: int
    """Pixels down, after rotation."""


class DecodeLog:
    """Takes ffmpeg's stderr in pieces and keeps what is wanted of it.

    Holds the frame records that were not taken yet and a few lines, however long the log is.
    """

    def __init__(self) -> None:
        self.records: deque[FrameRecord] = deque()
        """Frames not taken yet, in the order in which they were decoded."""
        self.frames = 0
        """How many frames were decoded so far."""
        self.time_base: Fraction | None = None
        """Of the stream that is decoded."""
        self.frame_rate: Fraction | None = None
        """What the container says or ffmpeg guesses of it."""
        self.container = ""
        """ffmpeg's name of the container."""
        self.codec = ""
        """ffmpeg's name of the codec."""
        self.pixel_format = ""
        """ffmpeg's name of how the first frame's pixels lie in memory."""
        self.duration_s: float | None = None
        """What the container claims, to a hundredth."""
        self.complaints = 0
        """How many error lines there were."""
        self.first_complaint = ""
        """The first error line; empty if there was none."""
        self.shortage = ""
        """The first error line that complains of the system's memory or threads."""
        self.broken = ""
        """How a connection was lost for good, in ffmpeg's words; empty if none was."""
        self.too_large_wh: tuple[int, int] | None = None
        """Size of a picture that was refused for having more pixels than ffmpeg may take."""
        self._head: re.Match[str] | None = None
        self._stream = -1
        self._rotations: dict[int, float] = {}
        self._decoded_stream = -1
        self._partial = b""
        self._skipping = False

    @property
    def rotation_deg(self) -> int:
        """Degrees clockwise by which the picture is turned for display."""
        return round(-self._rotations.get(self._decoded_stream, 0.0)) % 360

    @property
    def complaint(self) -> str | None:
        """The first error line and whether more followed, or None."""
        if not self.complaints:
            return None
        # not how many: that is another number each time
        return f"{self.first_complaint} (and more)" if self.complaints > 1 else self.first_complaint

    def feed(self, data: bytes) -> bool:
        """Take the next piece of the log; True if a frame record came to light."""
        before = len(self.records)
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        for line in lines:
            if not self._skipping:
                self._take(line.decode("utf-8", "replace"))
            self._skipping = False
        if len(self._partial) > _MAX_LINE:  # a dump of user data, of any length
            self._partial = b""
            self._skipping = True
        return len(self.records) > before

    def _take(self, line: str) -> None:
        if self._decoded_stream < 0:
            # until decoding begins, what looks like a frame is a title that poses as one
            self._take_header(line)
        else:
            for piece in _FRAME.finditer(line):
                self._take_frame(piece)
            if intruder := _intruder(line):
                self._complain(intruder)
            if self.time_base is None and (timing := _TIMING.search(line)):
                base_num, base_den, rate_num, rate_den = map(int, timing.groups())
                self.time_base = Fraction(base_num, base_den) if base_den else None
                self.frame_rate = Fraction(rate_num, rate_den) if rate_num and rate_den else None
        if _NETWORK_CONTEXT.search(line):
            self._take_network(line)
            return
        if too_large := _TOO_LARGE.search(line):
            self.too_large_wh = (int(too_large[1]), int(too_large[2]))
        complaint = _COMPLAINT.match(line)
        if complaint and not _OUTPUT_CONTEXT.search(complaint[1]):
            self._complain(complaint[2].strip())

    def _take_network(self, text: str) -> None:
        if given_up := _GIVEN_UP.search(text):
            self.broken = self.broken or given_up[0]

    def _complain(self, text: str) -> None:
        if _NETWORK_TEXT.search(text):
            self._take_network(text)
            return
        # an address may be signed, and what is said here is shown
        text = _ADDRESS.sub("the source", text)
        self.broken = self.broken or says_read_failed(text)
        if _MORE_VIDEOS.match(text):
            text = (
                "another video follows the first one in this file, and ffmpeg may leave out frames "
                f"of it ({text.rstrip('.')}): join videos with `ffmpeg -f concat`"
            )
        if says_shortage(text):
            self.shortage = self.shortage or text
        self.complaints += 1
        self.first_complaint = self.first_complaint or text

    def _take_frame(self, piece: re.Match[str]) -> None:
        if piece["checksum"] is None:
            self._head = piece
            return
        if self._head is None:
            return
        head, self._head = self._head, None
        self.frames += 1
        self.pixel_format = self.pixel_format or head["format"]
        self.records.append(
            FrameRecord(
                pts=NO_PTS if head["pts"] == "NOPTS" else int(head["pts"]),
                key=head["key"] == "1",
                checksum=int(piece["checksum"], 16),
                width=int(head["width"]),
                height=int(head["height"]),
            )
        )

    def _take_header(self, line: str) -> None:
        if mapping := _MAPPING.match(line):
            self._decoded_stream = int(mapping[1])
            self.codec = mapping[2]
        elif container := _INPUT.match(line):
            self.container = container[1]
        elif duration := _DURATION.match(line):
            hours, minutes, seconds = duration.groups()
            self.duration_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        elif stream := _STREAM.match(line):
            self._stream = int(stream[1])
        elif rotation := _ROTATION.match(line):
            self._rotations[self._stream] = float(rotation[1])


def _intruder(line: str) -> str:
    """Give what another thread wrote into a line of showinfo's; empty if nothing or no harm."""
    body = _PREFIX.sub("", line, count=1)
    if colours := _COLOURS.match(body):
        rest = body[colours.end() :]
    elif (piece := _FRAME.search(body)) and (shown := _SHOWN.match(body, piece.start())):
        rest = body[shown.end() :]
    else:
        return ""
    rest = rest.strip()
    return "" if len(rest) < 8 or _OF_OUTPUT.match(rest) else rest
