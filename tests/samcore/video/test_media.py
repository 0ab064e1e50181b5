"""What ffmpeg is given to read: nothing of it is told, and it leads nowhere else."""

from pathlib import Path

import pytest

from samcore.errors import InputError
from samcore.video import file_media, web_media
from samcore.video.log import DecodeLog

SIGNED = "https://bucket.example/clip.mp4?X-Amz-Signature=secret"
_OPENED = b"""\
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'https://bucket.example/clip.mp4':
[info]   Stream #0:0(und): Video: h264
[info]   Stream #0:0 -> #0:0 (h264 (native) -> rawvideo (native))
"""


def test_a_signed_address_is_not_shown() -> None:
    """Neither the address nor its headers are in what is printed of a medium."""
    media = web_media(SIGNED, {"Authorization": "secret"})
    assert "secret" not in repr(media)
    assert media.is_remote
    assert media.arguments()[-1] == SIGNED


@pytest.mark.parametrize(
    ("media", "protocols"),
    [
        (file_media(Path("/a/b c.mp4")), "file"),
        (web_media("http://host/clip.mp4"), "http,tcp"),
        (web_media(SIGNED), "https,tls,tcp"),
    ],
    ids=["file", "http", "https"],
)
def test_only_what_is_needed_is_allowed(media: object, protocols: str) -> None:
    """Each kind of address allows its own protocols, and a web server may not lead on."""
    options = dict(media.options)  # type: ignore[attr-defined]
    assert options["protocol_whitelist"] == protocols
    assert options["format_whitelist"] == "mov,matroska,avi,mpegts,flv,asf,mpeg,mxf,gif"
    if protocols != "file":
        assert options["max_redirects"] == 0
    assert ("tls_verify" in options) == protocols.startswith("https")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "concat:a|b", "/etc/passwd", "rtmp://h/x"])
def test_other_addresses_are_refused(url: str) -> None:
    """Only the web is remote."""
    with pytest.raises(InputError, match="https://"):
        web_media(url)


def test_a_header_is_one_line() -> None:
    """Nobody adds headers by a line break in one."""
    with pytest.raises(InputError, match="one line"):
        web_media(SIGNED, {"If-Match": '"x"\r\nHost: elsewhere'})


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        (b"[https @ 0x5] [warning] HTTP error 403 Forbidden", "HTTP error 403 Forbidden"),
        (b"[http @ 0x5] [warning] HTTP error 503 Service Unavailable", ""),
        (b"[http @ 0x5] [warning] HTTP error 429 Too Many Requests", ""),
        (b"[http @ 0x5] [error] Stream ends prematurely at 5, should be 9", ""),
        (b"[https @ 0x5] [warning] Will reconnect at 99 in 0 second(s), error=EOF.", ""),
        (b"[https @ 0x5] [warning] Will reconnect at 99 in 15 second(s), error=EOF.", "15 s"),
        (b"[tls @ 0x5] [error] The TLS connection was non-properly terminated.", ""),
    ],
)
def test_troubles_of_a_connection_are_no_damage(line: bytes, broken: str) -> None:
    """What a connection says is no complaint about the video; giving up is told apart."""
    log = DecodeLog()
    log.feed(_OPENED + line + b"\n")
    assert log.complaint is None
    assert broken in log.broken
    assert bool(log.broken) == bool(broken)


def test_a_failed_read_is_told_without_the_address() -> None:
    """ffmpeg names what it could not read; what is kept of that names no address."""
    log = DecodeLog()
    log.feed(_OPENED + f"[error] {SIGNED}: Input/output error\n".encode())
    assert log.broken == "Input/output error"
    assert log.complaint == "the source: Input/output error"
