"""The lossless video of objects' numbers, read by ffmpeg."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from samcore.video.decoder import find_ffmpeg


def decode(path, kind, dtype, height, width):
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-i", f"file:{path}"]
    command += ["-f", "rawvideo", "-pix_fmt", kind, "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, dtype).reshape(-1, height, width)


def streams(path):
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_frames", "-of", "json", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_masks_come_back(case, tmp_path):
    """A frame for each that was tracked, at its time; every pixel has its object's id."""
    path = case.write("mask-video", tmp_path) / "masks.mkv"

    video = case.masklets.video
    found = decode(path, "gray", np.uint8, video.height, video.width)
    assert len(found) == len(case.masks)
    for pixels, masks in zip(found, case.exclusive.values(), strict=True):
        assert set(np.unique(pixels)) - {0} == set(masks)
        for object_id, mask in masks.items():
            np.testing.assert_array_equal(pixels == object_id, mask)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="asks ffprobe about the file")
def test_the_file_says_what_it_is(case, many, tmp_path):
    """Lossless grey at the video's times; with large ids in 16 bits."""
    known = streams(case.write("mask-video", tmp_path / "8") / "masks.mkv")
    (stream,) = known["streams"]
    assert (stream["codec_name"], stream["pix_fmt"]) == ("ffv1", "gray")
    times = [float(frame["pts_time"]) for frame in known["frames"]]
    assert times == pytest.approx([place / 30 for place in range(len(case.masks))], abs=1e-3)
    known = streams(many((1, 65535)).write("mask-video", tmp_path / "16") / "masks.mkv")
    assert known["streams"][0]["pix_fmt"] == "gray16le"


def test_large_ids_take_16_bits(many, tmp_path):
    """Ids above 255 are pixel values as they are, up to 65535."""
    case = many((1, 256, 65535))
    path = case.write("mask-video", tmp_path / "out") / "masks.mkv"

    video = case.masklets.video
    found = decode(path, "gray16le", np.uint16, video.height, video.width)
    for pixels, masks in zip(found, case.exclusive.values(), strict=True):
        for object_id, mask in masks.items():
            np.testing.assert_array_equal(pixels == object_id, mask)
