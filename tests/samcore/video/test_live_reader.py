"""What a stream gives: the very pictures that a file with the same frames gives."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from samcore.errors import InputError, VideoError
from samcore.limits import Limits
from samcore.video import open_video
from samcore.video.decoder import find_ffmpeg
from samcore.video.live_queue import LiveFrame
from samcore.video.live_reader import LiveReader, without_addresses
from samcore.video.live_source import parse_live_source


@contextmanager
def said_by(*command: str) -> Iterator[int]:
    """The output of an ffmpeg, as a descriptor."""
    program = [find_ffmpeg().path, "-loglevel", "error", "-nostdin", *command]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.fileno()


def read_all(stdin: int, limits: Limits | None = None) -> list[LiveFrame]:
    """All frames of y4m on a descriptor."""
    frames = []
    with LiveReader(
        parse_live_source("-"),
        drop="never",
        waiting=2,
        stall_s=1,
        stdin=stdin,
        limits=limits or Limits(),
    ) as reader:
        while not reader.is_over:
            frame = reader.get(10.0)
            frames += [] if frame is None else [frame]
    return frames


def test_pictures_are_those_of_the_file(tmp_path: Path) -> None:
    """So what is tracked in a stream is what `longtake track` would track; numbers and times
    ascend. (The file's colours are not marked, as y4m cannot mark them.)"""
    video = tmp_path / "video.mkv"
    made = ("-f", "lavfi", "-i", "testsrc2=s=70x50:r=10:d=2", "-pix_fmt", "yuv420p")
    with said_by(*made, "-c:v", "ffv1", str(video)):
        pass
    with said_by("-i", str(video), "-f", "yuv4mpegpipe", "-") as stdin:
        frames = read_all(stdin)
    with open_video(video).read() as wanted:
        pictures = [frame.image_rgb_hwc_u8 for frame in wanted]
    assert len(frames) == len(pictures)
    assert all(
        np.array_equal(frame.image_rgb_hwc_u8, picture)
        for frame, picture in zip(frames, pictures, strict=True)
    )
    assert [frame.received for frame in frames] == [*range(len(frames))]
    times = [frame.captured_us for frame in frames]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot read standard input"),
        (b"\x00\x00\x00\x18ftypmp42", "cannot read standard input"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "cannot read standard input"),
        (b"YUV4MPEG2 W64 H48 F25:1\nFRAME\nshort", "cannot read standard input"),
    ],
)
def test_what_is_not_y4m_is_said(content: bytes, says: str) -> None:
    """One line, and nothing but the pipe is opened."""
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    try:
        with pytest.raises(VideoError, match=says) as error:
            read_all(read)
    finally:
        os.close(read)
    assert "passwd" not in str(error.value)


def test_pictures_that_are_too_large_are_refused(clip: Path) -> None:
    """Before there is memory for one."""
    with (
        said_by("-i", str(clip), "-f", "yuv4mpegpipe", "-") as stdin,
        pytest.raises(InputError, match="LONGTAKE_MAX_PIXELS"),
    ):
        read_all(stdin, Limits(max_pixels=100))


def test_a_stop_ends_a_silent_pipe(clip: Path) -> None:
    """A writer that says nothing holds nobody up."""
    read, write = os.pipe()
    before = set(threading.enumerate())
    with LiveReader(
        parse_live_source("-"), drop="never", waiting=2, stall_s=1, stdin=read
    ) as reader:
        assert reader.get(0.0) is None
    os.close(read)
    os.close(write)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    "said",
    [
        "rtsp://me:sesame@camera/1: Connection refused",
        "failed on its way (exit code 1: rtsp://me:sesame@camera/1)",
        "keepalive failed for 'https://me:sesame@host/a.ts?key=sesame' when opening",
        'cannot open "http://me:sesame@host/a.ts"',
    ],
)
def test_no_address_is_repeated(said: str) -> None:
    """What ffmpeg says of an address may hold a password."""
    shown = without_addresses(said)
    assert "sesame" not in shown
    assert "the source" in shown
    assert shown[-1] == said[-1] or said.endswith("/1)")
