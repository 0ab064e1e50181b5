"""Small nasty videos, made with ffmpeg, and the watch over what reading them leaves behind.

Each function below that takes a path writes one file.
"""

import hashlib
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageDraw

from samcore.video.decoder import find_ffmpeg

SIZE = "160x120"
MOVING = f"testsrc2=size={SIZE}:rate=24"
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast")
# several B-frames that refer to the next keyframe: a seek to it cannot restore those before it
OPEN_GOP = (*X264, "-bf", "3", "-x264-params", "open-gop=1:keyint=12:min-keyint=12:scenecut=0")


def _run_ffmpeg(*arguments: str) -> bytes:
    """Run ffmpeg and give its stdout."""
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-y", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _no_drop() -> tuple[str, str]:
    """The option by which this ffmpeg leaves the number of frames alone."""
    return ("-fps_mode" if find_ffmpeg().has_fps_mode else "-vsync", "passthrough")


def _generate(path: Path, *options: str, frames: int = 60, source: str = MOVING) -> None:
    """Encode a moving test picture."""
    _run_ffmpeg("-f", "lavfi", "-i", source, "-frames:v", str(frames), *options, f"file:{path}")


def plain_mp4(path: Path) -> None:
    """Closed groups of 12 frames, without B-frames."""
    _generate(path, *X264, "-bf", "0", "-g", "12", "-movflags", "+faststart")


def open_gop(path: Path) -> None:
    """B-frames across keyframes; the container goes by the path's suffix."""
    _generate(path, *OPEN_GOP)


def intra_refresh(path: Path) -> None:
    """No keyframe but the first: the picture is refreshed a column at a time."""
    _generate(path, *X264, "-bf", "0", "-x264-params", "intra-refresh=1:keyint=20", frames=90)


def variable_rate(path: Path) -> None:
    """Frames missing at irregular places."""
    _generate(
        path,
        "-vf",
        "select='mod(n,5)*mod(n,7)'",
        *_no_drop(),
        *OPEN_GOP,
        frames=60,
    )


def rotated_90(path: Path) -> None:
    """Stored lying, with a display matrix that turns it a quarter to the right."""
    _generate(path, *OPEN_GOP)
    data = bytearray(path.read_bytes())
    # in the track header, version 0, the matrix is 44 bytes after the name of the box
    matrix = data.index(b"tkhd") + 44
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def edit_list(path: Path) -> None:
    """Cut in the middle of a group without encoding: an edit list hides the frames before."""
    whole = path.with_name(f"whole-{path.name}")
    _generate(whole, *OPEN_GOP, frames=72)
    _run_ffmpeg("-ss", "0.7", "-i", f"file:{whole}", "-c", "copy", f"file:{path}")


def truncated(path: Path) -> None:
    """The last third is missing; the header is in front and claims it all."""
    whole = path.with_name(f"whole-{path.name}")
    options = ("-movflags", "+faststart") if path.suffix == ".mp4" else ()
    _generate(whole, *OPEN_GOP, *options)
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def corrupted(path: Path) -> None:
    """Bits are flipped in the middle of the pictures' data."""
    _generate(path, *X264, "-g", "12", "-movflags", "+faststart", frames=72)
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data), len(data) // 20):
        data[place] ^= 0xFF
    path.write_bytes(data)


def overcounted_avi(path: Path) -> None:
    """The header claims a thousand frames."""
    _generate(path, "-c:v", "mpeg4", "-q:v", "5", "-g", "12", "-bf", "0")
    data = bytearray(path.read_bytes())
    main, stream = data.index(b"avih"), data.index(b"strh")
    struct.pack_into("<I", data, main + 8 + 16, 1000)
    struct.pack_into("<I", data, stream + 8 + 32, 1000)
    path.write_bytes(data)


def b_frames_avi(path: Path) -> None:
    """H.264 with B-frames in a container that has no time stamps for them."""
    _generate(path, *OPEN_GOP)


def vp9_webm(path: Path) -> None:
    """VP9 with frames that are never shown."""
    options = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "200k")
    _generate(path, *options, "-g", "15", "-auto-alt-ref", "1", "-lag-in-frames", "10")


def transport_stream(path: Path) -> None:
    """Time stamps that begin at 1.4 s, and no index."""
    _generate(path, *OPEN_GOP)


def negative_start(path: Path) -> None:
    """Time stamps that begin below 0."""
    _generate(path, *OPEN_GOP, "-output_ts_offset", "-2", "-avoid_negative_ts", "disabled")


def doubled_pts(path: Path) -> None:
    """Two frames for every time stamp."""
    _generate(path, "-c:v", "mjpeg", "-bsf:v", r"setts=pts=floor(N/2)*80:dts=floor(N/2)*80")


def changing_size(path: Path) -> None:
    """Two recordings of different sizes one after the other; time begins again in the middle."""
    small, large = path.with_name("small.ts"), path.with_name("large.ts")
    _generate(small, *OPEN_GOP, frames=30)
    _generate(large, *OPEN_GOP, frames=30, source="testsrc2=size=320x240:rate=24")
    path.write_bytes(small.read_bytes() + large.read_bytes())


def flash(path: Path) -> None:
    """H.264 with B-frames in a container without an index."""
    _generate(path, *OPEN_GOP)


def windows_media(path: Path) -> None:
    """What Windows once recorded in."""
    _generate(path, "-c:v", "wmv2", "-q:v", "5", "-g", "12")


def program_stream(path: Path) -> None:
    """MPEG-2 as on a DVD: B-frames, no index, and time stamps for some packets only."""
    _generate(path, "-c:v", "mpeg2video", "-q:v", "5", "-bf", "2", "-g", "12")


def broadcast(path: Path) -> None:
    """MPEG-2 as broadcasters exchange it."""
    _generate(path, "-c:v", "mpeg2video", "-q:v", "5", "-bf", "2", "-g", "12")


def animation(path: Path) -> None:
    """Frames that last differently long, and paint over, leave or clear what was there; what is
    clear shows through."""
    pictures, delays = [], (40, 100, 20, 250, 60)
    for number in range(15):
        picture = Image.new("RGBA", (160, 120), (0, 0, 0, 0))
        draw = ImageDraw.Draw(picture)
        draw.rectangle((8 * number, 20, 8 * number + 40, 70), fill=(200, 16 * number, 60, 255))
        pictures.append(picture)
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=[delays[number % 5] for number in range(15)],
        disposal=[number % 3 + 1 for number in range(15)],
        loop=0,
    )


NASTY: dict[str, Callable[[Path], None]] = {
    "plain.mp4": plain_mp4,
    "open-gop.mp4": open_gop,
    "open-gop.mkv": open_gop,
    "open-gop.mov": open_gop,
    "intra-refresh.mp4": intra_refresh,
    "variable-rate.mp4": variable_rate,
    "variable-rate.mkv": variable_rate,
    "rotated.mp4": rotated_90,
    "edit-list.mp4": edit_list,
    "truncated.mkv": truncated,
    "truncated.mp4": truncated,
    "corrupted.mp4": corrupted,
    "overcounted.avi": overcounted_avi,
    "b-frames.avi": b_frames_avi,
    "vp9.webm": vp9_webm,
    "transport-stream.ts": transport_stream,
    "negative-start.ts": negative_start,
    "doubled-pts.mkv": doubled_pts,
    "changing-size.ts": changing_size,
    "flash.flv": flash,
    "windows-media.wmv": windows_media,
    "program-stream.mpg": program_stream,
    "broadcast.mxf": broadcast,
    "animation.gif": animation,
}
"""Every nasty video by its file name."""
NEEDS = {"windows-media.wmv": "wmv2", "program-stream.mpg": "mpeg2video"}
NEEDS |= {"broadcast.mxf": "mpeg2video"}
"""Encoders that not every ffmpeg has."""


class Clips:
    """The nasty videos, each made when it is first asked for, and what they decode to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hashes: dict[tuple[Path, str], list[str]] = {}

    def path(self, name: str) -> Path:
        """Give the file of one of NASTY."""
        path = self._folder / name
        if not path.exists():
            # in a folder of its own: some need a second file
            work = self._folder / f"making-{name}"
            work.mkdir(exist_ok=True)
            needed = NEEDS.get(name)
            if needed is not None and needed not in _run_ffmpeg("-encoders").decode():
                pytest.skip(f"this ffmpeg cannot encode {needed}")
            NASTY[name](work / name)
            (work / name).replace(path)
        return path

    def hashes(self, path: Path, width: int, height: int) -> list[str]:
        """Decode the whole file, by a plain call of ffmpeg, and hash each RGB frame."""
        key = (path, find_ffmpeg().path)
        if key not in self._hashes:
            raw = _run_ffmpeg(
                *("-threads", "1", "-i", f"file:{path}", "-map", "0:V:0", *_no_drop()),
                *("-vf", f"scale={width}:{height},format=rgb24", "-f", "rawvideo", "pipe:1"),
            )
            size = width * height * 3
            pictures = [raw[place : place + size] for place in range(0, len(raw), size)]
            self._hashes[key] = [hashlib.sha256(picture).hexdigest() for picture in pictures]
        return self._hashes[key]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `nasty_name` once for every nasty video."""
    if "nasty_name" in metafunc.fixturenames:
        metafunc.parametrize("nasty_name", list(NASTY))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """The nasty videos of this session."""
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No test of this folder may leave a process or a thread behind."""
    myself = psutil.Process()
    processes, threads = set(myself.children(recursive=True)), set(threading.enumerate())
    yield
    assert set(myself.children(recursive=True)) <= processes
    assert set(threading.enumerate()) <= threads
