"""An index of frames that is not the one that was written is made again, whatever changed in it."""

import random
from dataclasses import fields
from pathlib import Path

import numpy as np

from samcore.video import open_video
from samcore.video.decoder import find_ffmpeg
from samcore.video.index import load_index


def test_index_with_a_flipped_bit_is_not_believed(clips, tmp_path: Path) -> None:
    """Each of 400 flips of one bit makes the index none, or changes nothing that it says."""
    path = tmp_path / "index.parquet"
    video = open_video(clips.path("open-gop.mp4"), index_path=path)
    known = {
        "size_bytes": video.info.size_bytes,
        "digest": video.info.digest,
        "decoder": find_ffmpeg().version,
    }
    assert load_index(path, **known) is not None
    data = path.read_bytes()
    chance = random.Random(0)
    believed = 0
    for _ in range(400):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        found = load_index(path, **known)
        if found is not None:
            believed += 1
            assert found[0] == video.info
            assert all(
                np.array_equal(getattr(found[1], field.name), getattr(video.index, field.name))
                for field in fields(video.index)
            )
    assert believed < 200
