"""The frames of any stretch are those of one full decode, whatever the file is like."""

import hashlib
import threading
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from samcore.errors import VideoError
from samcore.video import Frame, VideoSource, VideoWriter, open_video
from samcore.video.decoder import find_ffmpeg
from samcore.video.media import LocalFile
from samcore.video.seek import VideoFrames


def _hash(frame: Frame) -> str:
    return hashlib.sha256(frame.image_rgb_hwc_u8.tobytes()).hexdigest()


def _telling_starts(source: VideoSource) -> list[int]:
    """The beginning, the places around the keyframes in the middle, and the end."""
    last = source.info.num_frames - 1
    keys = np.flatnonzero(source.index.key_n)
    key = int(keys[len(keys) // 2])
    return sorted({0, 1, max(key - 1, 0), key, min(key + 1, last), min(key + 7, last), last})


def test_any_stretch_equals_the_full_decode(clips, nasty_name):
    """Every chunk, wherever it starts, holds the frames that a sequential decode gives there."""
    _check_stretches(clips, nasty_name)


@pytest.mark.parametrize(
    "name",
    [
        "open-gop.mkv",
        "variable-rate.mp4",
        "rotated.mp4",
        "edit-list.mp4",
        "truncated.mp4",
        "corrupted.mp4",
        "doubled-pts.mkv",
        "changing-size.ts",
        "program-stream.mpg",
        "animation.gif",
    ],
)
@pytest.mark.usefixtures("bundled_ffmpeg")
def test_the_bundled_ffmpeg_is_as_exact(clips, name):
    """The same holds for the other ffmpeg that a machine may have, years apart from Debian's."""
    _check_stretches(clips, name)


def _check_stretches(clips, name):
    path = clips.path(name)
    source = open_video(path)
    info = source.info
    expected = clips.hashes(path, info.width, info.height)

    assert info.num_frames == len(expected)
    with source.read() as reader:
        assert [_hash(frame) for frame in reader] == expected
    for start in _telling_starts(source):
        stop = min(start + 3, info.num_frames)
        with source.read(start, stop) as reader:
            frames = list(reader)
        assert [frame.frame_idx for frame in frames] == list(range(start, stop))
        assert [frame.pts for frame in frames] == [source.pts(i) for i in range(start, stop)]
        assert [_hash(frame) for frame in frames] == expected[start:stop], start


def test_chunks_that_overlap_share_their_frames(clips):
    """A plan of short chunks covers a file of open groups with the very frames of one decode."""
    path = clips.path("open-gop.mkv")
    source = open_video(path)
    expected = clips.hashes(path, source.info.width, source.info.height)

    bounds = range(0, source.info.num_frames + 1, 10)
    for start, stop in pairwise(bounds):
        with source.read(max(start - 2, 0), stop) as reader:
            assert [_hash(frame) for frame in reader] == expected[max(start - 2, 0) : stop]


def test_a_picture_is_contiguous_rgb_and_the_readers_own(clips):
    """Each frame is a contiguous H x W x 3 array that no later frame writes over."""
    source = open_video(clips.path("rotated.mp4"))

    with source.read(prefetch=1) as reader:
        first = next(reader).image_rgb_hwc_u8
        before = first.copy()
        rest = [frame.image_rgb_hwc_u8 for frame in reader]

    assert first.shape == (160, 120, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert (first == before).all()
    assert not any(np.shares_memory(first, other) for other in rest)


def test_one_frame_is_the_one_that_a_chunk_holds(clips):
    """`frame(i)` and `read(i)` agree."""
    source = open_video(clips.path("open-gop.mp4"))

    with source.read(22, 23) as reader:
        (in_chunk,) = reader
    alone = source.frame(22)

    assert (alone.frame_idx, alone.pts) == (in_chunk.frame_idx, in_chunk.pts)
    assert (alone.image_rgb_hwc_u8 == in_chunk.image_rgb_hwc_u8).all()


def test_a_rotated_video_is_given_as_displayed(clips, tmp_path):
    """A quarter turn to the right in the header turns the pixels so."""
    turned = clips.path("rotated.mp4")
    lying = tmp_path / "lying.mp4"
    data = bytearray(turned.read_bytes())
    matrix = data.index(b"tkhd") + 44
    unit = (1 << 16).to_bytes(4, "big")
    data[matrix : matrix + 20] = unit + bytes(12) + unit
    lying.write_bytes(data)

    upright = open_video(turned).frame(5).image_rgb_hwc_u8
    stored = open_video(lying).frame(5).image_rgb_hwc_u8

    assert open_video(turned).info.rotation_deg == 90
    # colours of turned pixels are interpolated along the other axis: equal but for that
    difference = np.abs(np.rot90(stored, k=-1).astype(int) - upright)
    assert np.median(difference) <= 2
    assert np.mean(difference) < np.mean(np.abs(np.rot90(stored, k=1).astype(int) - upright)) / 5


def test_a_damaged_file_gives_the_same_pixels_every_time(clips):
    """What a decoder makes up for missing data does not change from one read to the next."""
    source = open_video(clips.path("corrupted.mp4"))

    reads = []
    for _ in range(3):
        with source.read(20, 40) as reader:
            reads.append([_hash(frame) for frame in reader])

    assert source.info.damaged is not None
    assert reads[0] == reads[1] == reads[2]


def test_an_animation_keeps_its_delays_and_clear_places(clips):
    """Frames of a GIF have the times that its delays give, what was cleared is white, and what was
    left stays."""
    source = open_video(clips.path("animation.gif"))

    times_ms = [round(1000 * source.time_s(frame)) for frame in range(6)]
    assert times_ms == [0, 40, 140, 160, 410, 470]
    assert source.info.variable_rate
    assert source.frame_at(0.2) == 3
    left = source.frame(1).image_rgb_hwc_u8
    assert left[50, 4].tolist() == [200, 0, 60]  # of frame 0, which stays where it is
    cleared = source.frame(2).image_rgb_hwc_u8
    assert cleared[50, 52].tolist() == [200, 32, 60]
    assert cleared[100, 100].tolist() == [255, 255, 255]


def test_equal_pictures_are_told_apart_by_their_time(tmp_path):
    """A frame whose time stamp is not the scanned one is not given, though it looks the same: in a
    video that stands still nothing else says which frame it is."""
    path = tmp_path / "still.mp4"
    with VideoWriter(path, width=64, height=48, rate=Fraction(24)) as writer:
        for _ in range(30):
            writer.write(np.full((48, 64, 3), 90, np.uint8))
    source = open_video(path)
    info, index = source.info, source.index
    assert len(set(index.checksum_n.tolist())) < 30
    file = LocalFile(str(path), path, size_bytes=info.size_bytes, digest=info.digest)
    later_n = index.pts_n.copy()
    later_n[20] += 1
    still, other = (
        VideoFrames(find_ffmpeg(), file, info, replace(index, pts_n=pts_n), shown_pts_n=pts_n)
        for pts_n in (index.pts_n, later_n)
    )

    def read(producer):
        return producer.frames(18, 24, stopping=threading.Event(), stall_s=60)

    assert [frame.frame_idx for frame in read(still)] == list(range(18, 24))
    given = []
    with pytest.raises(VideoError, match=r"^frame 20 of .* decodes to another picture"):
        given.extend(frame.frame_idx for frame in read(other))
    assert 20 not in given
