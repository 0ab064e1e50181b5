"""Videos joined end to end: the clock starts again, or the size of the picture changes."""

import hashlib
import subprocess
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from samcore.errors import InputError
from samcore.limits import Limits
from samcore.video import VideoInfo, open_video
from samcore.video.decoder import find_ffmpeg
from samcore.video.index import NO_PTS, FrameIndex
from samcore.video.info import MAX_PLACES
from samcore.video.scan import Sizes
from samcore.video.timeline import make_timeline

_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "12")
_VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-g", "12")
_FRAGMENTS = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")


def make(path, *options, size="160x90", frames=25, rate=25):
    """A moving picture; its bytes."""
    lavfi = f"testsrc2=size={size}:rate={rate}"
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", lavfi]
    subprocess.run([*command, "-frames:v", str(frames), *options, f"file:{path}"], check=True)
    return path.read_bytes()


def hashes(frames):
    return [hashlib.sha256(frame.image_rgb_hwc_u8.tobytes()).hexdigest() for frame in frames]


def check_chunks(source, bounds):
    """Chunks give the frames, and their time stamps, of one reading."""
    with source.read() as reader:
        whole = list(reader)
    assert [frame.pts for frame in whole] == [source.pts(i) for i in range(len(whole))]
    for start, stop in pairwise(bounds):
        with source.read(start, stop) as reader:
            chunk = list(reader)
        assert hashes(chunk) == hashes(whole[start:stop])
        assert [frame.pts for frame in chunk] == [frame.pts for frame in whole[start:stop]]
    return whole


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize(
    ("container", "options", "parts"), [("ts", _H264, 3), ("mkv", _H264, 2), ("webm", _VP8, 2)]
)
def test_time_goes_on_where_the_clock_starts_again(tmp_path, container, options, parts):
    """Recordings of a second, joined by `cat`, last as many seconds; every frame has its own time,
    prompts by time find it, and the restarts are told."""
    path = tmp_path / f"joined.{container}"
    path.write_bytes(make(tmp_path / f"part.{container}", *options) * parts)

    source = open_video(path)
    info = source.info

    num_frames = 25 * parts
    assert info.num_frames == num_frames
    assert info.duration_s == pytest.approx(parts)
    assert info.avg_rate == 25
    assert info.clock_restarts == tuple(range(25, num_frames, 25))
    assert info.num_clock_restarts == parts - 1
    assert source.clock_shifts_s() == tuple(range(parts))
    assert "starts again at frame 25" in " ".join(info.remarks)
    assert [source.time_s(i) for i in range(num_frames)] == [
        Fraction(i, 25) for i in range(num_frames)
    ]
    assert [source.frame_at(second + 0.02) for second in range(parts)] == list(
        range(0, num_frames, 25)
    )
    assert VideoInfo.model_validate_json(info.model_dump_json()) == info
    check_chunks(source, [0, 24, 27, num_frames])


@pytest.mark.usefixtures("each_ffmpeg")
def test_what_ffmpeg_leaves_out_of_joined_videos_is_told(tmp_path):
    """Of fragmented mp4s joined by `cat`, ffmpeg leaves out some of the second one; what is there
    has a time of its own, and that something lacks is told. So it is of a third mkv."""
    path, mkv = tmp_path / "joined.mp4", tmp_path / "three.mkv"
    path.write_bytes(make(tmp_path / "part.mp4", *_H264, *_FRAGMENTS) * 2)
    mkv.write_bytes(make(tmp_path / "part.mkv", *_H264) * 3)

    source = open_video(path)
    info = source.info

    assert info.num_frames > 25
    assert info.clock_restarts == (25,)
    assert source.time_s(25) == 1
    assert info.duration_s == pytest.approx(info.num_frames / 25, abs=0.05)
    assert all(source.pts(i) < source.pts(i + 1) for i in range(24, info.num_frames - 1))
    for damaged in (info.damaged, open_video(mkv).info.damaged):
        assert "another video follows" in damaged


def test_a_second_part_may_have_another_rate(tmp_path):
    """A recording of 10 frames a second after one of 25: each frame lasts as long as in its own."""
    path = tmp_path / "joined.ts"
    second = make(tmp_path / "b.ts", *_H264, frames=10, rate=10)
    path.write_bytes(make(tmp_path / "a.ts", *_H264) + second)

    source = open_video(path)

    assert source.info.clock_restarts == (25,)
    assert source.info.variable_rate
    assert [source.time_s(i) for i in (24, 25, 26)] == [Fraction(24, 25), 1, Fraction(11, 10)]


_COUNT = range(0, 25 * 40, 40)


@pytest.mark.parametrize(
    ("given", "shown", "restarts"),
    [
        ([0, 40, 80, 120, 160], [0, 40, 80, 120, 160], ()),
        ([*_COUNT, *_COUNT], range(0, 2000, 40), (25,)),
        ([*_COUNT, 0, 40], range(0, 27 * 40, 40), (25,)),
        ([0, 40, 80] * 3, range(0, 360, 40), (3, 6)),
        ([5000, 5040, 0, 40, 80], [5000, 5040, 5080, 5120, 5160], (2,)),
        # a second part of 10 frames a second
        ([*_COUNT, *range(0, 3000, 100)], [*_COUNT, *range(1000, 4000, 100)], (25,)),
        # the decoder gives none in between
        ([0, 40, NO_PTS, 120, 0, 40, NO_PTS, 120], range(0, 320, 40), (4,)),
        # no restarts: one frame is wrong, by little or much; pairs swapped; order of decoding
        ([0, 40, 80, 60, 160, 200], [0, 40, 80, 80, 160, 200], ()),
        ([*_COUNT, 0, 1040, 1080, 1120], [*_COUNT, 960, 1040, 1080, 1120], ()),
        ([0, 80, 40, 160, 120, 240, 200, 280], [0, 80, 80, 160, 160, 240, 240, 280], ()),
        (
            [0, 120, 40, 80, 240, 160, 200, 360, 280, 320],
            [0, 120, 120, 120, 240, 240, 240, 360, 360, 360],
            (),
        ),
        ([0, 0, 40, 40, 80, 80], [0, 0, 40, 40, 80, 80], ()),
    ],
)
def test_which_times_are_shown(given, shown, restarts):
    """A clock that goes on from where it fell back to has started again; one that returns to where
    it was has not, and time stands still until then."""
    num = len(given)
    index = FrameIndex(np.array(given, np.int64), np.ones(num, np.bool_), np.zeros(num, np.uint32))

    timeline = make_timeline(index, frame_ticks=40)

    assert timeline.pts_n.tolist() == list(shown)
    assert timeline.restarts == restarts


@pytest.mark.usefixtures("each_ffmpeg")
@pytest.mark.parametrize("larger_first", [False, True])
def test_the_largest_size_is_the_videos(tmp_path, larger_first):
    """Where a recording grows or shrinks, frames are given at its largest size, chunked or not, and
    it is told from which frame on it has which size."""
    sizes = ["320x180", "160x90"] if larger_first else ["160x90", "320x180"]
    offset = ("-output_ts_offset", "1")
    first = make(tmp_path / "a.ts", *_H264, size=sizes[0], frames=10)
    second = make(tmp_path / "b.ts", *_H264, *offset, size=sizes[1], frames=15)
    path = tmp_path / "grows.ts"
    path.write_bytes(first + second)

    source = open_video(path)
    info = source.info

    assert (info.width, info.height, info.num_frames) == (320, 180, 25)
    found = [(it.frame, f"{it.width}x{it.height}") for it in info.size_changes]
    assert found == [(0, sizes[0]), (10, sizes[1])]
    assert info.num_size_changes == 1
    assert "320 x 180 from frame" in info.remarks[0]
    assert info.clock_restarts == ()
    whole = check_chunks(source, [0, 8, 12, 25])
    assert all(frame.image_rgb_hwc_u8[:, [2, -3]].any(axis=(0, 2)).all() for frame in whole)


@pytest.mark.usefixtures("each_ffmpeg")
def test_a_picture_that_turns_gets_bars(tmp_path):
    """Portrait after landscape is not squeezed: it stands in the middle, between black bars."""
    path = tmp_path / "turns.ts"
    grey = ("-vf", "geq=lum=180:cb=128:cr=128")
    path.write_bytes(
        make(tmp_path / "a.ts", *grey, *_H264, frames=5)
        + make(tmp_path / "b.ts", *grey, *_H264, size="90x160", frames=5)
    )

    source = open_video(path)

    assert (source.info.width, source.info.height) == (160, 90)
    whole = check_chunks(source, [0, 4, 7, 10])
    assert (whole[4].image_rgb_hwc_u8 > 100).all()
    turned = whole[5].image_rgb_hwc_u8
    across = np.flatnonzero((turned > 100).all(axis=(0, 2)))
    assert len(across) == pytest.approx(90 * 90 / 160, abs=2)
    assert across[0] + across[-1] == pytest.approx(159, abs=2)
    assert not turned[:, : across[0] - 1].any()
    assert not turned[:, across[-1] + 2 :].any()


def test_a_size_that_grows_past_the_limit_is_refused(tmp_path):
    """The limit on the picture's size holds for every frame, not for the first one only."""
    path = tmp_path / "grows.ts"
    path.write_bytes(
        make(tmp_path / "a.ts", *_H264, frames=5)
        + make(tmp_path / "b.ts", *_H264, size="320x180", frames=5)
    )

    with pytest.raises(InputError, match="320"):
        open_video(path, limits=Limits(max_pixels=200 * 100))


def test_sizes_that_change_all_the_time_stay_few():
    """A video whose size changes with each frame has a short record, which says how often."""
    sizes = Sizes()
    for frame_idx in range(1000):
        sizes.add(frame_idx, 100 + frame_idx % 2, 50)

    assert len(sizes.changes) == MAX_PLACES + 1
    assert sizes.num_changes == 999
    assert sizes.largest_wh == (101, 50)
