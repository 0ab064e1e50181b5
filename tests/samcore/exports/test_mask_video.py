"""The lossless video of objects' numbers, read by ffmpeg."""

import subprocess
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from samcore.exports import write_export
from samcore.video.decoder import find_ffmpeg
from tests.streams import ask_stream


def decode(path, kind, dtype, height, width):
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-i", f"file:{path}"]
    command += ["-f", "rawvideo", "-pix_fmt", kind, "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, dtype).reshape(-1, height, width)


def test_mask_video_is_read_back(case, tmp_path):
    """A frame for each that was tracked, at its time; every pixel has its object's id."""
    path = case.write("mask-video", tmp_path) / "masks.mkv"

    video = case.masklets.video
    found = decode(path, "gray", np.uint8, video.height, video.width)
    assert len(found) == len(case.masks)
    for pixels, masks in zip(found, case.exclusive.values(), strict=True):
        assert set(np.unique(pixels)) - {0} == set(masks)
        for object_id, mask in masks.items():
            np.testing.assert_array_equal(pixels == object_id, mask)


@pytest.mark.usefixtures("each_ffmpeg")
def test_mask_video_says_what_it_is(case, many, tmp_path):
    """Lossless grey at the video's times; with large ids in 16 bits."""
    stream = ask_stream(case.write("mask-video", tmp_path / "8") / "masks.mkv")
    assert (stream.codec, stream.pix_fmt) == ("ffv1", "gray")
    wanted = [place / 30 for place in range(len(case.masks))]
    assert stream.times_s == pytest.approx(wanted, abs=1e-3)
    stream = ask_stream(many((1, 65535)).write("mask-video", tmp_path / "16") / "masks.mkv")
    assert stream.pix_fmt == "gray16le"


@pytest.mark.usefixtures("each_ffmpeg")
def test_frames_without_rows_move_no_others(make_case, tmp_path):
    """In a video of variable rate a frame with masks is shown at its time, whatever the rate was
    while nothing was there."""

    def time(frame):
        return 512 * frame if frame < 10 else 512 * 10 + 64 * (frame - 10)

    def draw(frame):
        return {1: np.ones((33, 47), bool)} if frame in (0, 8, 9, 16, 17) else {}

    case = make_case(tmp_path, draw=draw, ids=(1,), start=0, stop=20, pts=time)
    lasts_s = Fraction(time(19), 15360)
    update = {
        "avg_rate": 19 / lasts_s,
        "duration_s": float(20 * lasts_s / 19),
        "variable_rate": True,
    }
    video = case.masklets.video.model_copy(update=update)
    write_export(replace(case.masklets, video=video), "mask-video", tmp_path / "out")
    found = ask_stream(tmp_path / "out" / "masks.mkv").times_s
    assert found == sorted(found)
    assert len(found) == 20
    for frame in (0, 8, 9, 16, 17, 19):
        assert found[frame] == pytest.approx(time(frame) / 15360, abs=1e-3)


def test_large_ids_take_16_bits(many, tmp_path):
    """Ids above 255 are pixel values as they are, up to 65535."""
    case = many((1, 256, 65535))
    path = case.write("mask-video", tmp_path / "out") / "masks.mkv"

    video = case.masklets.video
    found = decode(path, "gray16le", np.uint16, video.height, video.width)
    for pixels, masks in zip(found, case.exclusive.values(), strict=True):
        for object_id, mask in masks.items():
            np.testing.assert_array_equal(pixels == object_id, mask)
