"""One recording in several files is one video, exact over the joints."""

import subprocess
from fractions import Fraction

import numpy as np
import pytest

from flows.commands.lines import video_lines
from samcore.errors import InputError, VideoError
from samcore.video import open_video
from samcore.video.decoder import find_ffmpeg

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "veryfast", "-bf", "2", "-g", "8")


def _make(path, frames, *options, rate=24, size="64x48", begin=0):
    source = f"testsrc2=size={size}:rate={rate}"
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-f", "lavfi", "-i", source]
    command += ["-vf", f"select=gte(n\\,{begin})", "-frames:v", str(frames)]
    subprocess.run([*command, *(options or X264), f"file:{path}"], check=True)
    return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Twenty, eleven and thirty frames, in containers with different units of time."""
    folder = tmp_path_factory.mktemp("parts")
    return [
        _make(folder / "a.mp4", 20),
        _make(folder / "b.mkv", 11, begin=20),
        _make(folder / "c.ts", 30, begin=31),
    ]


def _pictures(video, start=0, stop=None):
    with video.read(start, stop) as frames:
        return [(frame.frame_idx, frame.pts, frame.image_rgb_hwc_u8) for frame in frames]


def test_frames_and_times_go_on_over_the_joints(parts):
    """Each frame is the very frame of its part, and each part begins where the one before ends."""
    alone = [open_video(part) for part in parts]
    video = open_video(parts)

    expected = [image for one in alone for _, _, image in _pictures(one)]
    found = _pictures(video)
    assert [number for number, _, _ in found] == list(range(61))
    assert all(
        (image == wanted).all() for (_, _, image), wanted in zip(found, expected, strict=True)
    )
    assert [pts for _, pts, _ in found] == video.shown_pts_n.tolist()
    assert video.time_s(20) == Fraction(20, 24)
    # Matroska's milliseconds cannot hold 1/24 s: its part lasts from its first frame to its last
    ends = float(video.time_s(20)) + alone[1].info.duration_s
    assert float(video.time_s(31)) == pytest.approx(ends, abs=1e-6)
    assert video.info.duration_s == pytest.approx(sum(one.info.duration_s for one in alone))
    assert (np.diff(video.shown_pts_n) > 0).all()
    assert not video.info.variable_rate
    assert video.info.avg_rate == 24


def test_reading_may_begin_and_end_anywhere(parts):
    """Stretches within a part, over one joint and over both are those of the whole."""
    video = open_video(parts)
    whole = _pictures(video)

    for start, stop in ((0, 20), (20, 31), (19, 21), (7, 58), (30, 32), (60, 61), (31, 31)):
        found = _pictures(video, start, stop)
        assert [item[:2] for item in found] == [item[:2] for item in whole[start:stop]]
        assert all((a[2] == b[2]).all() for a, b in zip(found, whole[start:stop], strict=True))
    assert [video.frame_at(float(video.time_s(frame))) for frame in (0, 19, 20, 31, 60)] == [
        *(0, 19, 20, 31, 60)
    ]


def test_the_record_names_the_parts_in_order(parts, tmp_path):
    """The identity is that of the parts in their order; a person is told where each begins."""
    info = open_video(parts, index_path=tmp_path / "index.parquet").info
    turned = open_video(parts[::-1]).info

    assert [(part.frame, part.num_frames) for part in info.parts] == [(0, 20), (20, 11), (31, 30)]
    assert [part.digest for part in info.parts] == [open_video(part).info.digest for part in parts]
    assert info.digest != turned.digest
    assert info.source == str(parts[0])
    assert info.size_bytes == sum(part.stat().st_size for part in parts)
    (line,) = [line for line in video_lines(info) if line.startswith("parts ")]
    assert "3 files" in line
    assert f"{parts[1]} from frame 20" in line
    counts = []
    again = open_video(
        parts, index_path=tmp_path / "index.parquet", on_progress=lambda *a: counts.append(a)
    )
    assert counts == []  # each part's index was kept
    assert again.info == info
    assert open_video(parts[:1]).info == open_video(parts[0]).info


@pytest.mark.parametrize(
    ("size", "pixels", "words"),
    [
        ("48x64", "yuv420p", r"a\.mp4' \(64 x 48, yuv420p\) and .*odd\.mp4' \(48 x 64, yuv420p\)"),
        ("64x48", "yuv444p", r"\(64 x 48, yuv420p\) and .*odd\.mp4' \(64 x 48, yuv444p\)"),
    ],
)
def test_parts_that_differ_are_refused_before_they_are_scanned(
    parts, tmp_path, size, pixels, words
):
    """One line names both and what they are, after a look at their first frames."""
    odd = _make(tmp_path / "odd.mp4", 3, "-c:v", "libx264", "-pix_fmt", pixels, size=size)
    scanned = []

    with pytest.raises(InputError, match=f"cannot join .*{words}.*; convert"):
        open_video([*parts, odd], on_progress=lambda *count: scanned.append(count))

    assert scanned == []


def test_rates_may_differ(parts, tmp_path):
    """Time stamps say when a frame is shown, at whatever rate."""
    slow = _make(tmp_path / "slow.mp4", 5, rate=5)

    video = open_video([slow, parts[0]])

    assert video.info.variable_rate
    assert [video.time_s(frame) for frame in (4, 5, 6)] == [
        Fraction(4, 5),
        Fraction(1),
        Fraction(1) + Fraction(1, 24),
    ]


def test_a_damaged_tail_is_that_of_its_part(parts, tmp_path):
    """What can be decoded of it is there, the next part follows, and it is said which it is."""
    cut = _make(tmp_path / "cut.mkv", 30)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    alone = open_video(cut)

    video = open_video([parts[0], cut, parts[0]])

    assert alone.info.damaged is not None
    assert video.info.damaged == f"{cut}: {alone.info.damaged}"
    lost = 20 + alone.info.num_frames
    assert video.info.num_frames == lost + 20
    assert (_pictures(video, lost - 1, lost)[0][2] == _pictures(alone)[-1][2]).all()
    assert (_pictures(video, lost, lost + 1)[0][2] == _pictures(video, 0, 1)[0][2]).all()


def test_what_is_no_part_is_named(parts, tmp_path):
    """A file that is missing or no video, a folder of images, and nothing at all."""
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.mp4' cannot be opened as a video"):
        open_video([parts[0], tmp_path / "text.mp4"])
    with pytest.raises(VideoError, match=r"no video at .*gone\.mp4"):
        open_video([parts[0], tmp_path / "gone.mp4"])
    with pytest.raises(InputError, match="a folder of images: wanted video files"):
        open_video([parts[0], tmp_path])
    with pytest.raises(InputError, match="no files to join"):
        open_video([])
    with pytest.raises(InputError, match="a list of video files: only"):
        open_video(parts, stretch=True)


def test_a_part_that_changes_is_noticed(parts, tmp_path):
    """The error names the part, not the recording."""
    changing = tmp_path / "changing.mp4"
    changing.write_bytes(parts[0].read_bytes())
    video = open_video([parts[0], changing])
    _make(tmp_path / "other.mp4", 20, begin=7)
    changing.write_bytes((tmp_path / "other.mp4").read_bytes())

    with pytest.raises(VideoError, match=r"changing\.mp4"):
        _pictures(video, 18, 25)
