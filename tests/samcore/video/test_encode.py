"""Videos with time stamps of their own, of numbers, and with sound."""

import subprocess
from fractions import Fraction

import numpy as np
import pytest

from samcore.errors import InputError
from samcore.video import (
    NUMBERS_8,
    NUMBERS_16,
    Sound,
    VideoWriter,
    file_media,
    has_sound,
    open_video,
)
from samcore.video.decoder import find_ffmpeg

PTS = (0, 1000, 1001, 5000, 5010, 90_000)


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("time_base", [Fraction(1, 15360), Fraction(1001, 30000)])
def test_each_frame_has_the_time_it_was_given(tmp_path, time_base):
    """Time stamps come back to the tick, whatever their unit."""
    path = tmp_path / "out.mp4"
    with VideoWriter(path, width=64, height=48, rate=Fraction(30), time_base=time_base) as writer:
        for place, pts in enumerate(PTS):
            writer.write(np.full((48, 64, 3), 40 * place, np.uint8), pts=pts)

    video = open_video(path)
    assert [video.time_s(frame) for frame in range(6)] == [pts * time_base for pts in PTS]
    with video.read() as frames:
        levels = [int(np.median(frame.image_rgb_hwc_u8)) for frame in frames]
    assert levels == pytest.approx([40 * place for place in range(6)], abs=4)


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("codec", [NUMBERS_8, NUMBERS_16], ids=["8 bits", "16 bits"])
def test_encoded_numbers_are_decoded_bit_for_bit(tmp_path, codec):
    """Every number of every pixel, also in pictures of odd size; equal pictures, equal files."""
    rng = np.random.default_rng(0)
    most = np.iinfo(codec.dtype).max
    written = rng.integers(0, most + 1, (5, 31, 45), codec.dtype, endpoint=False)
    written[1] = written[2] = most
    for name in ("a.mkv", "b.mkv"):
        with VideoWriter(
            tmp_path / name, width=45, height=31, rate=Fraction(30), codec=codec
        ) as writer:
            for picture in written:
                writer.write(picture)

    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-i", f"file:{tmp_path}/a.mkv"]
    command += ["-f", "rawvideo", "-pix_fmt", codec.raw, "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    np.testing.assert_array_equal(np.frombuffer(data, codec.dtype).reshape(written.shape), written)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


@pytest.mark.parametrize("pts", [None, 0, -1])
def test_encoder_refuses_times_that_run_back(tmp_path, pts):
    """A time stamp that is missing or not after the one before is refused."""
    picture = np.zeros((8, 8, 3), np.uint8)
    with VideoWriter(
        tmp_path / "out.mp4", width=8, height=8, rate=Fraction(30), time_base=Fraction(1, 1000)
    ) as writer:
        writer.write(picture, pts=0)
        with pytest.raises(InputError, match="frame 1: got the time stamp"):
            writer.write(picture, pts=pts)


@pytest.mark.usefixtures("each_ffmpeg")
def test_only_what_can_be_heard_is_sound(tmp_path):
    """A silent file has none, nor has one that is broken."""
    ffmpeg = [find_ffmpeg().path, "-v", "error", "-nostdin", "-f", "lavfi", "-i"]
    for name, source in (("tone.mp4", "sine=duration=1"), ("silent.mp4", "testsrc2=duration=1")):
        subprocess.run([*ffmpeg, source, str(tmp_path / name)], check=True)
    (tmp_path / "broken.mp4").write_bytes(b"no video")

    heard = {
        path.name: has_sound(Sound(file_media(path), Fraction(0), Fraction(1)))
        for path in tmp_path.glob("*.mp4")
    }
    assert heard == {"tone.mp4": True, "silent.mp4": False, "broken.mp4": False}


@pytest.mark.usefixtures("each_ffmpeg")
def test_sound_goes_with_the_pictures(tmp_path):
    """The stretch of the sound that was asked for, and no more than the pictures last."""
    tone = tmp_path / "tone.mkv"
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-f", "lavfi", "-i"]
    command += ["sine=duration=3", "-af", "volume='gte(t,2)':eval=frame", str(tone)]
    subprocess.run(command, check=True)
    sound = Sound(file_media(tone), start_s=Fraction(3, 2), duration_s=Fraction(1))
    path = tmp_path / "out.mp4"
    with VideoWriter(path, width=64, height=48, rate=Fraction(30), sound=sound) as writer:
        for _ in range(30):
            writer.write(np.zeros((48, 64, 3), np.uint8))

    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-i", f"file:{path}"]
    command += ["-f", "f32le", "-ac", "1", "-ar", "8000", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    samples = np.abs(np.frombuffer(data, np.float32))
    assert len(samples) == pytest.approx(8000, abs=400)
    assert samples[:3500].max() < 0.01
    assert samples[4500:7500].max() > 0.05
