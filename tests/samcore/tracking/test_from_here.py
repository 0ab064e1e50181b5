"""A prompt that holds from its frame on: frames before it, and other objects, are as without it."""

from dataclasses import replace

import pytest

from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.prompts.prompt import Prompt
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from tests.samcore.tracking.conftest import HEIGHT, WIDTH

NUM_FRAMES = 26
AT, AGAIN = 9, 17
PROMPTS = (
    Prompt(1, 0, box_xyxy_px=(10, 10, 60, 70)),
    Prompt(1, 13, box_xyxy_px=(10, 10, 60, 70)),
    Prompt(2, 0, box_xyxy_px=(60, 5, 120, 50)),
    Prompt(2, 13, box_xyxy_px=(60, 5, 120, 50)),
    Prompt(3, 0, points_xy_px=((50, 40),), point_labels=(1,)),
    Prompt(3, 13, points_xy_px=((50, 40),), point_labels=(1,)),
    Prompt(4, 4, points_xy_px=((90, 20),), point_labels=(1,)),
)
"""Objects 1 to 3 always are one batch."""
CORRECTIONS = (
    Prompt(1, AT, box_xyxy_px=(40, 30, 90, 90), from_here=True),
    Prompt(1, AGAIN, points_xy_px=((80, 20),), point_labels=(1,), from_here=True),
)


@pytest.fixture(scope="module")
def model(encoding_once):
    return encoding_once


def tracker_of(model, frames, prompts, *, policy="sam2", encoded=True, batch=16):
    settings = TrackSettings(encode_batch=1, memory_policy=policy, object_batch=batch)
    tracker = VideoTracker(
        model, height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES, settings=settings
    )
    for prompt in prompts:
        tracker.add_prompt(prompt)
    if encoded:
        tracker.encode_prompts(frames[:NUM_FRAMES])
    return tracker


def rows_of(outputs):
    """All that a table would have, bit for bit, by frame and object."""
    return {
        (out.frame_idx, obj_id): (
            out.masks_nhw[row].tobytes(),
            out.object_scores_n[row].tobytes(),
            out.predicted_ious_n[row].tobytes(),
            bool(out.prompted_n[row]),
        )
        for out in outputs
        for row, obj_id in enumerate(out.obj_ids)
    }


def tracked(model, frames, prompts, **options):
    return rows_of(tracker_of(model, frames, prompts, **options).track(frames[:NUM_FRAMES]))


@pytest.fixture(scope="module")
def plain(model, frames):
    return tracked(model, frames, PROMPTS)


@pytest.fixture(scope="module")
def corrected(model, frames):
    return tracked(model, frames, PROMPTS + CORRECTIONS)


def test_only_frames_from_there_on_and_only_that_object_change(plain, corrected):
    """Not a bit of an earlier frame, nor of another object, depends on the correction; from its
    frame on, the object's rows are others."""
    changed = {at for at in plain if plain[at] != corrected[at]}

    assert plain.keys() == corrected.keys()
    assert {obj_id for _, obj_id in changed} == {1}
    assert min(frame for frame, _ in changed) == AT
    assert {(frame, 1) for frame in range(AT, NUM_FRAMES) if frame != 13} <= changed


def test_a_prompt_for_the_whole_video_changes_earlier_frames(model, frames, plain):
    """The same prompt without from_here is read by frames before it, as SAM 2 does it."""
    whole = tracked(model, frames, (*PROMPTS, replace(CORRECTIONS[0], from_here=False)))

    assert any(plain[frame, 1] != whole[frame, 1] for frame in range(1, AT))


@pytest.mark.parametrize("cut", [4, AT - 1, AT, AT + 1, 13, AGAIN, 20])
def test_a_cut_changes_nothing(model, frames, corrected, tmp_path, cut):
    """A state saved before, on and after the prompts' frames has all that lies ahead and behind."""
    first = tracker_of(model, frames, PROMPTS + CORRECTIONS)
    rows = rows_of(first.track(frames[:cut]))
    first.state().save(tmp_path / "state")
    settings = TrackSettings(encode_batch=1, object_batch=16)
    second = VideoTracker.from_state(
        model, TrackerState.load(tmp_path / "state"), settings=settings
    )

    assert rows | rows_of(second.track(frames[cut:NUM_FRAMES])) == corrected


def test_the_object_goes_on_alone(model, frames, corrected):
    """Once the prompt is reached, the object's bits do not need the others: they may be gone."""
    tracker = tracker_of(model, frames, PROMPTS + CORRECTIONS)
    list(tracker.track(frames[: AT + 1]))
    for obj_id in (2, 3, 4):
        tracker.remove_object(obj_id)
    rows = rows_of(tracker.track(frames[AT + 1 : NUM_FRAMES]))

    assert rows == {at: row for at, row in corrected.items() if at[1] == 1 and at[0] > AT}


def test_a_prompt_may_come_with_its_frame(model, frames, corrected):
    """Without a prompt pass, a prompt that holds from its frame on gives the same bits."""
    early = (*PROMPTS, CORRECTIONS[1])
    tracker = tracker_of(model, frames, early)
    rows = rows_of(tracker.track(frames[:AT]))
    tracker.add_prompt(CORRECTIONS[0])

    assert rows | rows_of(tracker.track(frames[AT:NUM_FRAMES])) == corrected


def test_the_first_prompt_begins_the_object(model, frames, plain):
    """Of an object's first prompt, from_here says nothing new."""
    prompts = [replace(prompt, from_here=prompt.frame_idx in (0, 4)) for prompt in PROMPTS]

    assert tracked(model, frames, prompts) == plain


@pytest.mark.parametrize("policy", ["sam2-stride", "recent", "samurai", "dam", "sam3"])
def test_every_policy_keeps_earlier_frames(model, frames, policy):
    """Whatever is remembered, frames before the prompt are as without it, and it is heeded."""
    plain = tracked(model, frames, PROMPTS[:1], policy=policy)
    corrected = tracked(model, frames, (PROMPTS[0], CORRECTIONS[0]), policy=policy)

    changed = {frame for frame, _ in plain if plain[frame, 1] != corrected[frame, 1]}
    assert min(changed) == AT
    assert len(changed) > 5


def test_where_objects_retire_it_is_refused(model):
    """A prompt ahead decides who is given up, so it cannot be as if it were not there."""
    settings = TrackSettings(retire_after=5)
    tracker = VideoTracker(model, height=HEIGHT, width=WIDTH, settings=settings)

    with pytest.raises(InputError, match="cannot hold from there on where objects retire"):
        tracker.add_prompt(CORRECTIONS[0])
