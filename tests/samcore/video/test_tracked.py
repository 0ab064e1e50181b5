"""Some frames of a video, read alone: the very frames of the whole, with their numbers or steps."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from samcore.errors import InputError
from samcore.video import open_video
from samcore.video.picking import Comb, PicksFrames
from samcore.video.tracked import TrackedFrames, choose_frames, in_steps, skipping


def _read(video, start=0, stop=None):
    with video.read(start, stop) as frames:
        return [(frame.frame_idx, frame.pts, frame.image_rgb_hwc_u8.tobytes()) for frame in frames]


@pytest.mark.parametrize("every", [2, 7])
@pytest.mark.parametrize(
    ("name", "is_cheap"),
    [
        ("open-gop.mp4", True),
        ("open-gop.mkv", True),
        ("program-stream.mpg", True),
        ("variable-rate.mp4", False),
        ("doubled-pts.mkv", False),
    ],
)
def test_picked_frames_are_those_of_the_whole(clips, name, is_cheap, every):
    """Wherever reading begins; at a constant rate ffmpeg itself leaves the others out."""
    video = open_video(clips.path(name))
    whole = _read(video)
    stop = video.info.num_frames
    frames = choose_frames(video, 3, stop, every=every)
    numbers = list(range(3, stop, every))

    assert frames.numbers_m.tolist() == numbers
    assert isinstance(video.producer, PicksFrames)
    assert (video.producer.only(frames.numbers_m) is not None) == is_cheap
    picked, steps = skipping(video, frames), in_steps(video, frames)
    assert _read(picked) == [whole[number] for number in numbers]
    assert _read(picked, 5, stop - 4) == [whole[n] for n in numbers if 5 <= n < stop - 4]
    expected = [(step, *whole[number][1:]) for step, number in enumerate(numbers)]
    assert _read(steps) == expected
    for start in (1, len(numbers) - 1):
        assert _read(steps, start, start + 1) == expected[start : start + 1]
    assert steps.info.num_frames == len(numbers)
    assert steps.info.digest != video.info.digest
    assert _read(picked, numbers[1] + 1, numbers[1] + 2) == []
    with pytest.raises(InputError, match="none of those"):
        picked.frame(numbers[1] + 1)


def test_a_recording_in_parts_is_picked_over_the_joints(clips):
    """Which frame of a part is picked follows from its number in the whole."""
    name = clips.path("open-gop.mp4")
    video = open_video([name, name])
    frames = choose_frames(video, 0, video.info.num_frames, every=7)

    found = _read(skipping(video, frames))

    whole = _read(video)
    assert found == [whole[number] for number in range(0, 120, 7)]
    assert [item[0] for item in found if item[0] >= 60][:2] == [63, 70]


def test_images_that_are_not_picked_are_not_read(tmp_path):
    """A folder's other files may be gone after the scan."""
    for number in range(9):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    video = open_video(tmp_path)
    for number in (1, 2, 4, 5, 7, 8):
        (tmp_path / f"{number}.png").unlink()

    picked = skipping(video, choose_frames(video, 0, 9, every=3))

    assert [(number, image[0]) for number, _, image in _read(picked)] == [(0, 0), (3, 3), (6, 6)]


@pytest.mark.parametrize("name", ["open-gop.mp4", "open-gop.mkv", "transport-stream.ts"])
def test_a_rate_that_divides_is_every_nth_frame(clips, name):
    """Also where a container's unit cannot hold the video's rate: 24 a second in milliseconds."""
    video = open_video(clips.path(name))

    for fps, every in ((12, 2), (8, 3), (Fraction(24, 7), 7)):
        frames = choose_frames(video, 5, 60, fps=Fraction(fps))
        assert frames.numbers_m.tolist() == list(range(5, 60, every))
    assert choose_frames(video, 0, 60, fps=Fraction(240)).numbers_m.tolist() == list(range(60))


def test_a_clock_chooses_the_first_frame_at_or_after_each_tick(clips):
    """Where frames come irregularly, and where none comes for several ticks, too."""
    video = open_video(clips.path("variable-rate.mp4"))
    times = [video.time_s(frame) for frame in range(video.info.num_frames)]

    frames = choose_frames(video, 0, len(times), fps=Fraction(10))

    ticks = [Fraction(tick, 10) for tick in range(int(times[-1] * 10) + 1)]
    slack = video.info.time_base
    first = [next(n for n, time in enumerate(times) if time > tick - slack) for tick in ticks]
    assert frames.numbers_m.tolist() == sorted(set(first))
    assert 1 < len(frames) < len(times)
    assert len(set(np.diff(frames.numbers_m).tolist())) > 1


def test_a_choice_is_written_down_short_and_read_back():
    """Runs of equal distances; a frame's step, and the nearest ones of another."""
    frames = TrackedFrames.of(np.array([10, 15, 20, 25, 29]), every=5)

    assert frames.steps == "5*3 4*1"
    again = TrackedFrames.model_validate_json(frames.model_dump_json())
    assert again == frames
    assert again.numbers_m.tolist() == [10, 15, 20, 25, 29]
    assert [again.step_of(number) for number in (10, 11, 15, 29, 30)] == [0, 1, 1, 4, 5]
    assert [again.number(step) for step in (0, 4, 5)] == [10, 29, 30]
    assert 20 in again
    assert 21 not in again
    assert again.nearest(12) == (10, 15)
    assert again.nearest(3) == (10,)
    assert again.nearest(99) == (29,)
    assert again.within(15, 29).tolist() == [15, 20, 25]
    assert TrackedFrames.of(np.array([4]), fps=Fraction(1)).numbers_m.tolist() == [4]
    with pytest.raises(ValueError, match="pattern"):
        TrackedFrames(first=0, steps="5*x")


def test_a_choice_that_makes_no_sense_is_refused(clips):
    """One line says what is wanted."""
    video = open_video(clips.path("open-gop.mp4"))

    with pytest.raises(InputError, match="wanted one of them"):
        choose_frames(video, 0, 60, every=2, fps=Fraction(5))
    with pytest.raises(InputError, match="wanted 1 or more, got 0"):
        choose_frames(video, 0, 60, every=0)
    with pytest.raises(InputError, match="wanted more than 0, got -1"):
        choose_frames(video, 0, 60, fps=Fraction(-1))
    assert choose_frames(video, 0, 60, every=1) is None
    assert choose_frames(video, 0, 60) is None
    assert skipping(video, None) is video
    assert in_steps(video, None) is video


def test_the_rule_for_ffmpeg_holds_for_no_other_frame(clips):
    """Where it would, there is none, and frames are dropped here."""
    index = open_video(clips.path("open-gop.mkv")).index
    even = np.arange(0, 60, 2)

    comb = Comb.of(index, even)

    assert [number for number in range(60) if comb.holds(int(index.pts_n[number]))] == even.tolist()
    assert Comb.of(index, np.array([0, 2, 3, 9])) is None
    assert Comb.of(index, np.arange(5, 20)) is None
