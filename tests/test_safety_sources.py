"""A source is never trusted: what poses as a video reaches no other file and no other host."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from samcore.errors import VideoError
from samcore.video import Media, open_video, web_media
from samcore.video.decoder import find_ffmpeg

_PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
    "hls of playlists": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n",
    "hls with a key": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
    '#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,\n{file}\n#EXT-X-ENDLIST\n',
    "hls of a file": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{file}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{url}'\n",
    "concat of a file": "ffconcat version 1.0\nfile '{file}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="0" bandwidth="1"><BaseURL>{url}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "rtsp": "rtsp://{host}/x",
    "address": "{url}\n",
    "asx": '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
    "asf redirector": "[Reference]\nRef1={url}\n",
    "vobsub": "# VobSub index file, v7\nid: en, index: 0\n",
}


class _Host:
    """A web server that gives one body to whoever asks, and notes what was asked for."""

    def __init__(self) -> None:
        self.body = b""
        self.asked: list[str] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(owner.body)))
                self.end_headers()
                self.wfile.write(owner.body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def host() -> Iterator[_Host]:
    """Another host, which nobody should ask for anything."""
    host = _Host()
    thread = threading.Thread(target=host.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield host
    host.server.shutdown()
    thread.join()
    host.server.server_close()


class _WebFile:
    """The host's body, as a source on the web."""

    name, size_bytes, digest = "https://videos/clip.mp4", 1000, "sha256:" + 64 * "0"

    def __init__(self, host: _Host) -> None:
        self._url = f"http://{host.name}/clip.mp4"

    def media(self) -> AbstractContextManager[Media]:
        return nullcontext(web_media(self._url))

    def changed(self) -> bool:
        return False


def _text(kind: str, host: _Host, clip: Path) -> str:
    return _PLAYLISTS[kind].format(url=f"http://{host.name}/other.ts", file=clip, host=host.name)


@pytest.mark.parametrize("kind", list(_PLAYLISTS))
def test_a_playlist_called_mp4_reaches_nothing(
    kind: str, host: _Host, clip: Path, tmp_path: Path
) -> None:
    """Refused as no video, on the disk as well as on the web, although what it leads to is one;
    no host is asked for anything but the source itself."""
    host.body = clip.read_bytes()
    path = tmp_path / "clip.mp4"
    path.write_text(_text(kind, host, clip))
    with pytest.raises(VideoError, match="wanted a video file"):
        open_video(path)
    assert host.asked == []

    host.body = _text(kind, host, clip).encode()
    with pytest.raises(VideoError, match="wanted a video file"):
        open_video(_WebFile(host), stall_s=20)
    assert set(host.asked) == {"/clip.mp4"}


def test_the_other_host_is_asked_without_our_limits(host: _Host, tmp_path: Path) -> None:
    """The check can fail: ffmpeg with its limits off follows such a script to the host."""
    path = tmp_path / "clip.mp4"
    path.write_text(_PLAYLISTS["concat"].format(url=f"http://{host.name}/other.ts"))
    allowed = ["-protocol_whitelist", "file,http,tcp", "-f", "concat", "-safe", "0"]
    subprocess.run(
        [find_ffmpeg().path, "-nostdin", *allowed, "-i", str(path), "-f", "null", "-"],
        capture_output=True,
        timeout=60,
    )
    assert host.asked != []


def test_sources_on_the_web_can_be_read(host: _Host, clip: Path) -> None:
    """The other half of it: what is a video is read from the very same host."""
    host.body = clip.read_bytes()
    assert open_video(_WebFile(host)).info.num_frames == open_video(clip).info.num_frames
