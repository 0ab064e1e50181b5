"""Ground truth is paired with a folder of pictures by names; what cannot be paired is an error."""

import json

import numpy as np
import pytest

from samcore.errors import InputError
from samcore.evaluation.open_truth import open_ground_truth
from samcore.evaluation.pairing import TrackedVideo
from samcore.video import FrameNames
from samcore.video.tracked import TrackedFrames
from tests.samcore.evaluation.conftest import block, coco_video

FRAMES = [{1: block(0)}, {1: block(2)}, {1: block(30)}]


def video_of(*stems):
    return TrackedVideo(len(stems), FrameNames(tuple(f"{stem}.jpg" for stem in stems)))


def frames_of(truth):
    return [frame.frame for frame in truth.frames()]


def named(folder, *stems):
    """Rename the pictures of a folder, which are numbered from 0."""
    for path, stem in zip(sorted(folder.glob("*.png")), stems, strict=True):
        path.rename(folder / f"{stem}.png")
    return folder


@pytest.mark.parametrize(
    ("pictures", "truths", "frames"),
    [
        (["00000", "00005", "00010", "00015"], ["00000", "00005", "00015"], [0, 1, 3]),
        (["1", "2", "3", "4"], ["2", "3", "4"], [1, 2, 3]),
        (["dog", "cat", "ox", "cow"], ["ox", "dog", "cow"], [0, 2, 3]),
        (["x7_raw", "x9_raw", "x20_raw"], ["7", "9", "20"], [0, 1, 2]),
    ],
    ids=["every fifth, some", "from 1", "words", "the same numbers"],
)
@pytest.mark.parametrize("kind", ["davis", "coco"])
def test_pictures_of_one_name_belong_together(davis, tmp_path, pictures, truths, frames, kind):
    """By the whole name, or by the number where no name is the same; in the order of frames."""
    if kind == "davis":
        path = named(davis(FRAMES), *truths)
    else:
        content = coco_video(FRAMES, numbers=(1,))
        content["videos"][0]["file_names"] = [f"clip/{stem}.jpg" for stem in truths]
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(content))

    assert frames_of(open_ground_truth(path, video=video_of(*pictures))) == frames


def test_mots_text_has_the_numbers_of_the_names(mots_txt):
    """Its first column is the number in a picture's name."""
    path = mots_txt(FRAMES, first=10)
    assert frames_of(open_ground_truth(path, video=video_of("9", "10", "11", "12"))) == [1, 2, 3]
    with pytest.raises(InputError, match="1 of 3 annotated frames, the first of them '12'"):
        open_ground_truth(path, video=video_of("9", "10", "11"))


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (["00000", "00005", "00010"], r"2 of 3 annotated frames, the first of them '00001'"),
        (["dog", "cat", "ox"], r"3 of 3 .* none of the 3 pictures .*\(dog.jpg to ox.jpg\)"),
    ],
)
def test_what_cannot_be_paired_is_an_error(davis, pictures, message):
    """Not a low score; --first-frame pairs by number all the same."""
    folder = davis(FRAMES)
    with pytest.raises(InputError, match=message) as raised:
        open_ground_truth(folder, video=video_of(*pictures))
    assert "--first-frame" in str(raised.value)
    assert frames_of(open_ground_truth(folder, video=video_of(*pictures), first_frame=0)) == [
        *range(3)
    ]


@pytest.mark.parametrize("kind", ["davis", "mots", "coco"])
def test_frames_past_a_video_s_end_are_an_error(davis, mots_txt, tmp_path, kind):
    """A video file has no names: what goes on after its end is not of it, or counts otherwise."""
    if kind == "davis":
        path = named(davis(FRAMES), "00000", "00005", "00010")
    elif kind == "mots":
        path = mots_txt(FRAMES, first=8)
    else:
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(coco_video([{}] * 8 + FRAMES, numbers=(1,))))
    assert len(frames_of(open_ground_truth(path, video=TrackedVideo(11)))) >= 3
    with pytest.raises(InputError, match=r"goes on to frame (9|10), and the video has 9 frames"):
        open_ground_truth(path, video=TrackedVideo(9))


@pytest.mark.parametrize(
    ("places", "first_frame", "frames"),
    [(3, None, [4, 9, 14]), (15, None, list(range(15))), (3, 0, [0, 1, 2])],
    ids=["those that were tracked", "all", "as it is said"],
)
def test_lists_of_tracked_frames_alone(tmp_path, places, first_frame, frames):
    """Where every fifth frame was tracked, lists as long as these have a place for each of them, as
    the export has; longer ones one for each frame of the video."""
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco_video([{1: block(0)}] * places, numbers=(1,))))
    video = TrackedVideo(15, tracked=TrackedFrames.of(np.arange(4, 15, 5), every=5))

    assert frames_of(open_ground_truth(path, first_frame=first_frame, video=video)) == frames
