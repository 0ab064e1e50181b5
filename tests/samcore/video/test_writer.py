"""A written video plays anywhere, and is whole or absent."""

import os
import resource
import time
from fractions import Fraction

import numpy as np
import psutil
import pytest

from samcore.errors import InputError, StorageError, VideoError
from samcore.video import NUMBERS_8, VideoWriter, open_video
from samcore.video import writer as writer_module
from samcore.video.encode import BROWSER
from tests.streams import ask_stream

RATE = Fraction(30000, 1001)


def _pictures(count, height, width):
    """A white square that moves over a coloured ground."""
    for number in range(count):
        picture = np.full((height, width, 3), (180, 40, 90), np.uint8)
        picture[10:30, number : number + 20] = 255
        yield picture


def _write(path, count=20, height=60, width=80):
    with VideoWriter(path, width=width, height=height, rate=RATE) as writer:
        _write_all(writer, _pictures(count, height, width))


def _encoder():
    """The one encoder that runs; the process may have other children, of other tests."""
    (encoder,) = (one for one in psutil.Process().children() if "ffmpeg" in one.name())
    return encoder


def _write_all(writer, pictures):
    for picture in pictures:
        writer.write(picture)


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize(("height", "width"), [(60, 80), (61, 81), (1, 1)])
def test_written_video_is_read_back(tmp_path, height, width):
    """Frames, rate and colours come back; an odd size is padded, not stretched."""
    path = tmp_path / "out.mp4"
    _write(path, height=height, width=width)

    source = open_video(path)

    assert source.info.num_frames == 20
    assert source.info.avg_rate == RATE
    assert (source.info.width, source.info.height) == (width + width % 2, height + height % 2)
    with source.read() as reader:
        for frame, written in zip(reader, _pictures(20, height, width), strict=True):
            read = frame.image_rgb_hwc_u8[:height, :width]
            assert np.median(np.abs(read.astype(int) - written)) <= 6
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["out.mp4"]


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("time_base", [None, Fraction(1, 12800)], ids=["rate", "times"])
def test_written_video_plays_in_a_browser(tmp_path, time_base):
    """H.264 in 4:2:0, and the index comes before the pictures. All four marks of the colours are
    there, in the stream and in the container: without one a player guesses, and shows others."""
    path = tmp_path / "out.mp4"
    with VideoWriter(path, width=80, height=60, rate=RATE, time_base=time_base) as writer:
        for number, picture in enumerate(_pictures(20, 60, 80)):
            writer.write(picture, pts=None if time_base is None else 512 * number)

    stream = ask_stream(path)

    assert (stream.codec, stream.pix_fmt) == ("h264", "yuv420p")
    assert stream.frame_rate == (RATE if time_base is None else 25)
    assert stream.colours == ("tv", "bt709", "bt709", "bt709")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    # primaries, transfer and matrix, by their numbers in the standard; limited range
    assert data[data.index(b"colrnclx") + 8 :][:7] == bytes((0, 1, 0, 1, 0, 1, 0))


def test_written_video_can_be_read_by_whom_the_folder_allows(tmp_path):
    """The file has the permissions that any new file gets."""
    _write(tmp_path / "out.mp4")
    (tmp_path / "other").touch()

    assert (tmp_path / "out.mp4").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_writer_leaves_no_file_after_an_exception(tmp_path):
    """What was begun and not finished is not there, and the old file still is."""
    path = tmp_path / "out.mp4"
    path.write_text("the old one")

    def fail():
        yield from _pictures(5, 60, 80)
        raise ZeroDivisionError

    writer = VideoWriter(path, width=80, height=60, rate=RATE)
    with pytest.raises(ZeroDivisionError), writer:
        _write_all(writer, fail())

    assert path.read_text() == "the old one"
    assert os.listdir(tmp_path) == ["out.mp4"]
    with pytest.raises(RuntimeError, match="closed"):
        writer.write(np.zeros((60, 80, 3), np.uint8))


def test_writer_makes_no_file_of_no_frame(tmp_path):
    """A video without frames is an error, not an empty file."""
    with pytest.raises(VideoError, match="no frame was written"):
        _write(tmp_path / "out.mp4", count=0)

    assert os.listdir(tmp_path) == []


def test_writer_tells_a_full_disk(tmp_path):
    """An encoder that may not write more ends in a StorageError, without a file."""
    path = tmp_path / "out.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (30, 240, 320, 3), np.uint8)

    writer = VideoWriter(path, width=320, height=240, rate=RATE)
    encoder = _encoder()
    resource.prlimit(encoder.pid, resource.RLIMIT_FSIZE, (50_000, 50_000))
    with pytest.raises(StorageError, match="free some space"), writer:
        _write_all(writer, noise)

    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("codec", [BROWSER, NUMBERS_8], ids=["mp4", "mkv"])
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_video_that_the_disk_has_no_room_for_is_not_made(full_disk, tmp_path, codec, share):
    """Wherever it fills up, also at the very end: some ffmpegs say so, but exit as if all went
    well."""

    def write(path):
        numbers = codec is NUMBERS_8
        with VideoWriter(path, width=64, height=48, rate=RATE, codec=codec) as writer:
            for picture in _pictures(20, 48, 64):
                writer.write(np.ascontiguousarray(picture[:, :, 0]) if numbers else picture)

    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "whole")
    room = int((folder / "whole").stat().st_size * share)

    with full_disk(room), pytest.raises(StorageError, match="/out': free some space"):
        write(folder / "out")
    assert os.listdir(folder) == ["whole"]


def test_an_encoder_that_dies_is_an_error(tmp_path):
    """A crash of the encoder is told, and leaves no file."""
    writer = VideoWriter(tmp_path / "out.mp4", width=80, height=60, rate=RATE)
    encoder = _encoder()
    encoder.kill()
    with pytest.raises(VideoError, match="failed"), writer:
        _write_all(writer, _pictures(400, 60, 80))

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("before", "after"), [(0, 20), (2, 0)], ids=["write", "close"])
def test_an_encoder_that_hangs_is_an_error(tmp_path, monkeypatch, before, after):
    """An encoder that takes no frames, or does not end, is killed after its time and told; no
    file is left."""
    monkeypatch.setattr(writer_module, "_WRITE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(writer_module, "_CLOSE_TIMEOUT_S", 0.5)
    writer = VideoWriter(tmp_path / "out.mp4", width=320, height=240, rate=RATE)
    encoder = _encoder()

    def pictures():
        yield from _pictures(before, 240, 320)
        encoder.suspend()
        yield from _pictures(after, 240, 320)

    started = time.monotonic()
    with pytest.raises(VideoError, match=r"hangs|did not end"), writer:
        _write_all(writer, pictures())

    assert time.monotonic() - started < 60
    assert not encoder.is_running()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["gone/out.mp4", "file/out.mp4"])
def test_a_folder_that_cannot_be_written_to_is_told(tmp_path, place):
    """A missing folder, or a file in its place, is a StorageError before any frame."""
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match="cannot write the video"):
        VideoWriter(tmp_path / place, width=80, height=60, rate=RATE)


def test_a_folder_in_the_files_place_is_told(tmp_path):
    """A path that is a folder is a StorageError, and nothing is left in it or beside it."""
    (tmp_path / "out.mp4").mkdir()

    with pytest.raises(StorageError, match="cannot write the video"):
        _write(tmp_path / "out.mp4")

    assert os.listdir(tmp_path) == ["out.mp4"]
    assert os.listdir(tmp_path / "out.mp4") == []


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((80, 60, 3), np.uint8),
        np.zeros((60, 80, 4), np.uint8),
        np.zeros((60, 80, 3), np.float32),
    ],
    ids=["turned", "alpha", "float"],
)
def test_a_picture_that_does_not_fit_is_refused(tmp_path, picture):
    """A picture of another size or type is refused before it garbles the video."""
    writer = VideoWriter(tmp_path / "out.mp4", width=80, height=60, rate=RATE)
    with pytest.raises(InputError, match=r"\(60, 80, 3\)"), writer:
        writer.write(picture)


@pytest.mark.parametrize(("width", "height", "rate"), [(0, 60, 25), (80, -1, 25), (80, 60, 0)])
def test_a_size_or_rate_of_nothing_is_refused(tmp_path, width, height, rate):
    """Sizes and rates must be above 0."""
    with pytest.raises(InputError, match="above 0"):
        VideoWriter(tmp_path / "out.mp4", width=width, height=height, rate=Fraction(rate))


def test_a_view_of_a_larger_array_is_written_as_seen(tmp_path):
    """A picture that is not contiguous is written pixel for pixel."""
    path = tmp_path / "out.mp4"
    mirrored = next(_pictures(1, 60, 80))[:, ::-1]
    with VideoWriter(path, width=80, height=60, rate=RATE) as writer:
        writer.write(mirrored)

    read = open_video(path).frame(0).image_rgb_hwc_u8

    assert np.median(np.abs(read.astype(int) - mirrored)) <= 6
    assert read[20, 70].min() > 200
