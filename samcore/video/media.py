"""What a decoder reads: a file of this machine, or an address on the web."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from samcore.errors import InputError

CONTAINERS = "mov,matroska,avi,mpegts,flv,asf,mpeg,mxf,gif"
"""Demuxers that read the one file given to them. Playlists, concat scripts, image sequences and
the like open other files by name, and are refused by ffmpeg itself before they open anything."""
VIDEO_FILES = "mp4, mov, mkv, webm, avi, ts, flv, wmv, mpg, mxf, gif"
"""The same as people call them."""

_PROTOCOLS = {"file": "file", "http": "http,tcp", "https": "https,tls,tcp"}
"""What ffmpeg needs in order to read an address of this kind, and no more."""
_SILENCE_S = 30
"""Seconds without a byte after which a connection counts as broken."""
_WEB = {
    "reconnect": 1,
    "reconnect_on_network_error": 1,
    "reconnect_on_http_error": "429,5xx",
    "reconnect_delay_max": 16,
    "rw_timeout": _SILENCE_S * 1_000_000,
    # radio stations' titles between the bytes
    "icy": 0,
    # a server could lead on to other hosts, and from https to http
    "max_redirects": 0,
}


@dataclass(frozen=True, slots=True)
class Media:
    """One input of ffmpeg. Its address may be signed: it belongs in no message, log or record."""

    address: str = field(repr=False)
    """`file:` and an absolute path, `http://` or `https://`."""
    options: Mapping[str, object] = field(repr=False)
    """ffmpeg's options of this input; among them what keeps it from reaching beyond itself."""

    @property
    def is_remote(self) -> bool:
        """Whether it is read over a network."""
        return not self.address.startswith("file:")

    def arguments(self) -> list[str]:
        """The options as ffprobe takes them, and the address last."""
        pairs = (pair for name, value in self.options.items() for pair in (f"-{name}", str(value)))
        return [*pairs, self.address]


def file_media(path: Path) -> Media:
    """A file; any name, since it is given as a `file:` address."""
    return Media(f"file:{path.absolute()}", _limits("file"))


def web_media(
    url: str, headers: Mapping[str, str] | None = None, *, ca_file: Path | None = None
) -> Media:
    """An address that answers range requests, so that a seek fetches only what it needs.

    Args:
        url: `http://` or `https://`.
        headers: Sent with each request.
        ca_file: Certificates to trust, in PEM form; None is what ffmpeg was built to trust.

    Raises:
        InputError: It is another kind of address, or a header is more than one line.
    """
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise InputError(f"wanted an http:// or https:// address, got {scheme or 'none'}")
    options = {**_limits(scheme), **_WEB}
    if scheme == "https":
        # ffmpeg by itself takes any certificate
        options["tls_verify"] = 1
        if ca_file is not None:
            options["ca_file"] = str(ca_file)
    if headers:
        if any("\r" in text or "\n" in text for pair in headers.items() for text in pair):
            raise InputError("a header of a request must be one line")
        options["headers"] = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return Media(url, options)


def _limits(scheme: str) -> dict[str, object]:
    return {"protocol_whitelist": _PROTOCOLS[scheme], "format_whitelist": CONTAINERS}


class VideoFile(Protocol):
    """Interface that every place of a video file implements: this machine, a bucket, the web."""

    @property
    def name(self) -> str:
        """As people know it, without a secret in it."""

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""

    @property
    def digest(self) -> str:
        """Identity of the content: a kind such as `sha256`, a colon, 64 hexadecimal digits."""

    def media(self) -> AbstractContextManager[Media]:
        """Something to decode from, valid within the block; asked for anew for each decoder.

        Raises:
            SegmentationError: It cannot be had, or the content is another one by now.
        """

    def changed(self) -> bool:
        """Whether the content is another one by now, as far as can be told."""


class LocalFile:
    """A video file of this machine."""

    def __init__(self, name: str, path: Path, *, size_bytes: int, digest: str) -> None:
        """Remember how the file is now.

        Args:
            name: As it was asked for.
            path: Where it is.
            size_bytes: Its size.
            digest: Its SHA-256.
        """
        self.name = name
        self.size_bytes = size_bytes
        self.digest = digest
        self._path = path
        self._version = _version_of(path)

    @contextmanager
    def media(self) -> Iterator[Media]:
        yield file_media(self._path)

    def changed(self) -> bool:
        return _version_of(self._path) != self._version


def _version_of(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
