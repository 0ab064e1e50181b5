"""Masks of clicks, as a person sees them before a run."""

import numpy as np
import pytest

from samcore.config import TrackSettings
from samcore.interactive.clicks import ClickSession
from samcore.machine.device import choose_compute
from samcore.masks.rle import decode_mask
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.prompt import Prompt
from samcore.tracking.tracker import VideoTracker
from samcore.video import open_video


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The embedded model."""
    spec = resolve_model("nano", cache_dir=tmp_path_factory.getbasetemp())
    return load_model(spec, choose_compute("cpu", "float32"))


@pytest.fixture(scope="module")
def video(clip):
    """The clip."""
    return open_video(clip)


@pytest.fixture
def asked():
    """Which frames were decoded to be encoded, in order."""
    return []


@pytest.fixture
def clicks(model, video, asked):
    """A session on the clip."""

    def frame(frame_idx: int):
        asked.append(frame_idx)
        return video.frame(frame_idx)

    return ClickSession(
        model,
        height=video.info.height,
        width=video.info.width,
        settings=TrackSettings(fill_hole_area=4),
        frame=frame,
    )


def square(video, left: int, top: int, side: int):
    """A mask of the video's size."""
    mask_hw = np.zeros((video.info.height, video.info.width), dtype=bool)
    mask_hw[top : top + side, left : left + side] = True
    return mask_hw


def test_masks_are_those_of_the_run(clicks, model, video) -> None:
    """Of clicks, boxes with clicks, masks and corrected masks, the mask on the page is the one
    that tracking has on that frame, to the bit; with its scores, too."""
    prompts = [
        Prompt(1, 0, points_xy_px=((60.0, 50.0),), point_labels=(1,)),
        Prompt(2, 3, points_xy_px=((40.0, 40.0), (90.5, 20.0)), point_labels=(1, 0)),
        Prompt(3, 3, box_xyxy_px=(20.0, 20.0, 70.0, 80.5)),
        Prompt(
            4,
            3,
            box_xyxy_px=(20.0, 20.0, 70.0, 80.5),
            points_xy_px=((30.0, 30.0),),
            point_labels=(0,),
        ),
        Prompt(5, 5, mask_hw=square(video, 30, 20, 33)),
        Prompt(
            6,
            5,
            mask_hw=square(video, 10, 20, 25),
            points_xy_px=((60.0, 50.0),),
            point_labels=(1,),
        ),
    ]
    tracker = VideoTracker(
        model,
        height=video.info.height,
        width=video.info.width,
        num_frames=video.info.num_frames,
        settings=TrackSettings(fill_hole_area=4),
    )
    for prompt in prompts:
        tracker.add_prompt(prompt)
    tracker.encode_prompts([video.frame(frame_idx) for frame_idx in (0, 3, 5)])
    with video.read(0, 6) as frames:
        tracked = list(tracker.track(frames))

    for prompt, shown in zip(prompts, clicks.masks(prompts), strict=True):
        run = tracked[prompt.frame_idx]
        row = run.obj_ids.index(prompt.obj_id)
        assert shown.obj_id == prompt.obj_id
        assert np.array_equal(decode_mask(shown.rle), run.masks_nhw[row])
        assert shown.object_score == run.object_scores_n[row]
        assert shown.predicted_iou == run.predicted_ious_n[row]
    assert any(mask.rle.area for mask in clicks.masks(prompts))


def test_a_frame_is_encoded_once(clicks, asked) -> None:
    """Any number of clicks on a frame encodes it once; so does looking at it before."""
    clicks.encode(2)
    for x in range(10, 60, 10):
        clicks.masks([Prompt(1, 2, points_xy_px=((x, 40.0),), point_labels=(1,))])

    assert asked == [2]
    assert clicks.is_encoded(2)


def test_a_mask_that_is_known_is_not_made_again(clicks, asked) -> None:
    """After going elsewhere and back, masks of the same prompts are there at once."""
    prompt = Prompt(1, 0, points_xy_px=((60.0, 50.0),), point_labels=(1,))
    first = clicks.masks([prompt])
    for frame_idx in range(1, 8):
        clicks.encode(frame_idx)
    asked.clear()

    assert clicks.masks([prompt]) == first
    assert not asked


def test_few_frames_are_kept(clicks, asked) -> None:
    """Memory does not grow with the frames that were looked at: the oldest is encoded again."""
    for frame_idx in range(8):
        clicks.encode(frame_idx)
    assert sum(clicks.is_encoded(frame_idx) for frame_idx in range(8)) == 4
    clicks.encode(0)
    assert asked == [*range(8), 0]
