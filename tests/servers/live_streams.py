"""Streams on loopback that ffmpeg feeds, and that can be cut and restored."""

import functools
import http.server
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from samcore.video.decoder import find_ffmpeg

_GST_PYTHON = "/usr/bin/python3"
_HAS_GST = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
raise SystemExit(any(Gst.ElementFactory.find(name) is None for name in ("udpsrc", "rtpjpegpay")))
"""
_LISTENS_S = 60


@functools.cache
def has_rtsp_server() -> bool:
    """Whether GStreamer's RTSP server and its Python bindings are on this machine."""
    if not Path(_GST_PYTHON).exists():
        return False
    return subprocess.run([_GST_PYTHON, "-c", _HAS_GST], capture_output=True).returncode == 0


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Feed:
    """An ffmpeg that makes a moving test picture in real time, and sends it somewhere."""

    def __init__(self, *output: str, number: int) -> None:
        """Begin.

        Args:
            output: Options of the output, and its address.
            number: How many there were before: no two give the same pictures, nor the same size.
        """
        size = f"{64 + 16 * number}x48"
        made = f"testsrc2=s={size}:r=10,trim=start={100 * number},setpts=PTS-STARTPTS"
        command = [find_ffmpeg().path, "-loglevel", "error", "-re", "-f", "lavfi", "-i", made]
        self._process = subprocess.Popen([*command, *output], stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


class HlsStream:
    """A live playlist on an HTTP server."""

    def __init__(self, folder: Path) -> None:
        """Nobody feeds or serves it yet."""
        self._folder = folder
        self._port = free_port()
        self._feeds = 0
        self._server: http.server.ThreadingHTTPServer | None = None
        self._feed: Feed | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}/live.m3u8"

    def restore(self) -> None:
        """Feed and serve it."""
        self._folder.mkdir(exist_ok=True)
        self._feed = Feed(
            *("-c:v", "mpeg2video", "-g", "5", "-f", "hls", "-hls_time", "0.5"),
            *("-hls_list_size", "4", "-hls_flags", "delete_segments+omit_endlist+temp_file"),
            *("-hls_segment_filename", str(self._folder / f"{self._feeds}-%05d.ts")),
            str(self._folder / "live.m3u8"),
            number=self._feeds,
        )
        self._feeds += 1
        self._serve()

    def wait(self) -> None:
        """Until there is something to read; no event tells of a file."""
        while not (self._folder / "live.m3u8").exists():
            time.sleep(0.01)

    @contextmanager
    def finished(self, *, seconds: int) -> Iterator[None]:
        """Serve a playlist that has ended, of ten frames a second."""
        self._folder.mkdir(exist_ok=True)
        command = [find_ffmpeg().path, "-loglevel", "error", "-f", "lavfi"]
        command += ["-i", f"testsrc2=s=64x48:r=10:d={seconds}", "-c:v", "mpeg2video", "-f", "hls"]
        command += ["-hls_list_size", "0", str(self._folder / "live.m3u8")]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self._serve()
        try:
            yield
        finally:
            self.cut()

    def _serve(self) -> None:
        serve = functools.partial(_QuietFiles, directory=str(self._folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), serve)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def cut(self) -> None:
        """Stop both."""
        if self._feed is not None:
            self._feed.kill()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)


class RtspStream:
    """A camera: GStreamer's RTSP server, which sends on what ffmpeg gives it."""

    def __init__(self) -> None:
        """Nobody feeds or serves it yet."""
        self._port, self._rtp_port = free_port(), free_port(socket.SOCK_DGRAM)
        self._feeds = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._feed: Feed | None = None

    @property
    def url(self) -> str:
        """Where it is; with a password that must not be seen anywhere."""
        return f"rtsp://viewer:geheim@127.0.0.1:{self._port}/live"

    def restore(self) -> None:
        """Feed and serve it."""
        main = Path(__file__).with_name("rtsp_main.py")
        self._server = subprocess.Popen(
            [_GST_PYTHON, str(main), str(self._port), str(self._rtp_port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._server.stdout is not None
        assert select.select([self._server.stdout], [], [], _LISTENS_S)[0], "it does not listen"
        assert self._server.stdout.readline() == b"listening\n"
        self._feed = Feed(
            *("-c:v", "mjpeg", "-huffman", "default", "-pix_fmt", "yuvj420p", "-q:v", "5"),
            *("-f", "rtp", f"rtp://127.0.0.1:{self._rtp_port}"),
            number=self._feeds,
        )
        self._feeds += 1

    def cut(self) -> None:
        """Stop both, without a word to the viewers."""
        if self._feed is not None:
            self._feed.kill()
        if self._server is not None:
            os.kill(self._server.pid, signal.SIGKILL)
            self._server.communicate()


_S = TypeVar("_S", HlsStream, RtspStream)


@contextmanager
def fed(stream: _S) -> Iterator[_S]:
    """A stream that is there within the block."""
    stream.restore()
    try:
        yield stream
    finally:
        stream.cut()


class _QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""
