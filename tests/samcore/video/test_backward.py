"""A video read backward gives the frames of a full decode, the last one first."""

import threading

import numpy as np
import pytest

from samcore.errors import VideoError
from samcore.video import BackwardVideo, mirrored, open_video


def _read(video, start=0, stop=None):
    with video.read(start, stop, prefetch=2) as reader:
        return [(f.frame_idx, f.pts, f.image_rgb_hwc_u8.tobytes()) for f in reader]


def _reversed(forward):
    return [(len(forward) - 1 - i, pts, data) for i, pts, data in reversed(forward)]


def test_backward_is_the_full_decode_reversed(clips, nasty_name):
    """Whatever the file is like, wherever reading begins, also where no interval fits into the
    buffer: the same frames with the same time stamps, numbered from the last one."""
    video = open_video(clips.path(nasty_name))
    wanted = _reversed(_read(video))

    small = BackwardVideo(video, buffer_bytes=0)

    assert _read(BackwardVideo(video)) == wanted
    assert _read(small, 5, len(wanted) - 2) == wanted[5:-2]
    assert [small.pts(i) for i in range(len(wanted))] == [pts for _, pts, _ in wanted]


def test_no_more_is_held_than_the_buffer(clips):
    """With one keyframe for the whole video, pieces of eight frames are decoded, again and again;
    with room for some intervals a piece begins at a keyframe."""
    video = open_video(clips.path("plain.mp4"))
    keys = set(np.flatnonzero(video.index.key_n).tolist())
    pieces: list[tuple[int, int]] = []
    frames = video.producer.frames

    class Listening:
        def frames(self, start, stop, **kwargs):
            pieces.append((start, stop))
            return frames(start, stop, **kwargs)

    def read(buffer_bytes):
        pieces.clear()
        backward = BackwardVideo(video, buffer_bytes=buffer_bytes)
        backward.producer._producer = Listening()
        _read(backward)
        return pieces.copy()

    size = video.info.width * video.info.height * 3
    longest = max(np.diff([*sorted(keys), video.info.num_frames]))
    assert max(stop - start for start, stop in read(0)) == 8
    assert all(start in keys for start, _ in read(int(longest) * size))
    assert [piece[0] for piece in read(1 << 30)] == [0]


def test_a_reader_that_is_stopped_ends(clips):
    """Stopped on its way through a piece, it gives nothing more, and no decoder is left."""
    backward = BackwardVideo(open_video(clips.path("plain.mp4")), buffer_bytes=0)
    stopping = threading.Event()

    given = []
    for frame in backward.producer.frames(0, 40, stopping=stopping, stall_s=60):
        given.append(frame.frame_idx)
        if len(given) == 8:
            stopping.set()

    assert given == list(range(8))


def test_a_folder_backward(clips, tmp_path):
    """A folder's pictures come in reverse, read one by one; one that changed is said."""
    from PIL import Image

    for i in range(5):
        Image.new("RGB", (16, 12), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    video = open_video(tmp_path)

    backward = BackwardVideo(video)

    assert _read(backward) == _reversed(_read(video))
    assert backward.frame_at(0.05) == mirrored(video.frame_at(0.05), 5)
    Image.new("RGB", (16, 12)).save(tmp_path / "1.png")
    with pytest.raises(VideoError, match="changed after it was"):
        _read(backward)
