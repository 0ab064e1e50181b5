"""Tracking backward beside the sam2 package's predictor run in reverse; cuts change nothing."""

from dataclasses import replace

import pytest

from samcore.chunks.plan import plan_chunks
from samcore.config import TrackSettings
from samcore.errors import InputError, StateError
from samcore.prompts.prompt import Prompt
from samcore.tracking.backward import BackwardTracker
from samcore.tracking.memory.policy import POLICIES
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from samcore.video import mirrored
from tests.samcore.tracking.test_chunk_invariance import bits, smallest_model
from tests.samcore.tracking.test_parity import TINY, assert_parity

__all__ = ["smallest_model"]
HEIGHT, WIDTH, NUM_FRAMES = 96, 128, 66
PROMPTS = (
    Prompt(1, 61, box_xyxy_px=(10, 10, 60, 70)),
    # Corrected later in the video; nothing between its two prompts is tracked.
    Prompt(2, 40, points_xy_px=((50, 40),), point_labels=(1,)),
    Prompt(2, 64, box_xyxy_px=(30, 20, 90, 90)),
)


def of(prompts, num_frames=NUM_FRAMES):
    """Prompts in the numbers of the mirrored video."""
    return tuple(replace(p, frame_idx=mirrored(p.frame_idx, num_frames)) for p in prompts)


def reverse(frames):
    """The mirrored video."""
    last = len(frames) - 1
    return [replace(frame, frame_idx=last - frame.frame_idx) for frame in reversed(frames)]


def test_the_package_in_reverse(run_ours, run_upstream, tiny_model, frames, mask_hw):
    """Points, boxes, masks, corrections on later frames, for 60 frames: as
    `propagate_in_video(reverse=True)` gives it from each object's first prompt on."""
    prompts = (
        Prompt(1, 60, box_xyxy_px=(10, 10, 60, 70)),
        Prompt(2, 60, points_xy_px=((50, 40),), point_labels=(1,)),
        Prompt(2, 65, mask_hw=mask_hw),
        Prompt(3, 33, mask_hw=mask_hw),
        Prompt(3, 36, box_xyxy_px=(60, 5, 120, 50)),
        Prompt(3, 58, points_xy_px=((70.5, 20.25), (20, 80)), point_labels=(1, 0)),
    )
    theirs = run_upstream(tiny_model, TINY, frames, prompts, reverse=True)

    ours = run_ours(tiny_model, reverse(frames), of(prompts), kind=BackwardTracker)

    for found in (ours.masks, ours.logits):
        mirror = {(mirrored(t, NUM_FRAMES), obj_id): x for (t, obj_id), x in found.items()}
        found.clear()
        found.update(mirror)
    assert {t for t, obj_id in ours.masks if obj_id == 3} == set(range(34))
    assert_parity(ours, theirs, {1, 2, 3})


def test_a_stride_counts_from_the_first_frame(run_ours, run_upstream, tiny_model, frames):
    """With a temporal stride the multiples are those of the video, as with the package."""
    prompts = (Prompt(1, 22, box_xyxy_px=(10, 10, 60, 70)),)
    settings = TrackSettings(memory_policy="sam2-stride", memory_policy_options={"stride": 3})
    short = frames[:24]
    theirs = run_upstream(tiny_model, TINY, short, prompts, reverse=True, stride=3)

    ours = run_ours(
        *(tiny_model, reverse(short), of(prompts, 24), settings, 24), kind=BackwardTracker
    )

    for found in (ours.masks, ours.logits):
        mirror = {(mirrored(t, 24), obj_id): x for (t, obj_id), x in found.items()}
        found.clear()
        found.update(mirror)
    assert_parity(ours, theirs, {1})


def start(model, frames, settings, prompts=PROMPTS):
    """A tracker after the prompt pass, at the first frame that has a prompt here."""
    prompts = of(prompts)
    tracker = BackwardTracker(
        *(model,),
        height=HEIGHT,
        width=WIDTH,
        num_frames=NUM_FRAMES,
        start_frame=mirrored(61, NUM_FRAMES),
        settings=settings,
    )
    for prompt in prompts:
        tracker.add_prompt(prompt)
    tracker.encode_prompts(frames)
    return tracker


@pytest.mark.parametrize("policy", [entry.name for entry in POLICIES])
def test_cuts_change_nothing(smallest_model, frames, tmp_path, policy):
    """Chunks of 7, 20 and 64 frames, each from the saved state of the one before, give the bits of
    one pass, whatever is remembered; also where a cut lies before an object's begin."""
    file = tmp_path / "state.safetensors"
    settings = TrackSettings(encode_batch=4, memory_policy=policy)
    video = reverse(frames)
    first = mirrored(61, NUM_FRAMES)
    whole = {
        o.frame_idx: bits(o) for o in start(smallest_model, video, settings).track(video[first:])
    }
    assert set(whole) == set(range(first, NUM_FRAMES))

    for chunk_frames, overlap in ((7, 2), (20, 0), (64, 0)) if policy == "sam2" else ((20, 3),):
        start(smallest_model, video, settings).state().save(file)
        plan = plan_chunks(first, NUM_FRAMES, chunk_frames=chunk_frames, overlap=overlap)
        for chunk, successor in zip(plan, [*plan[1:], None], strict=True):
            state = TrackerState.load(file)
            tracker = BackwardTracker.from_state(smallest_model, state, settings=settings)
            assert tracker.next_frame == chunk.start
            for output in tracker.track(video[chunk.start : chunk.stop]):
                assert bits(output) == whole[output.frame_idx], output.frame_idx
                if successor and tracker.next_frame == successor.start:
                    tracker.state().save(file)


def test_an_object_begins_at_its_first_prompt_in_the_video(smallest_model, frames):
    """Its later prompts are memory only: they change masks, and have no rows."""
    video = reverse(frames)[:40]

    def rows(prompts):
        tracker = start(smallest_model, video, None, prompts)
        found = [o for o in tracker.track(video[4:34]) if 2 in o.obj_ids]
        return {mirrored(o.frame_idx, NUM_FRAMES): bits(o) for o in found}

    both, alone = rows(PROMPTS[1:]), rows(PROMPTS[1:2])

    assert set(both) == set(alone) == set(range(32, 41))
    assert both[40] == alone[40]
    assert both[39] != alone[39]


def test_states_have_a_direction(smallest_model, frames, tmp_path):
    """A state of one direction is refused by a tracker of the other, in one line; a forward state's
    file says nothing of it."""
    video = reverse(frames)
    backward = start(smallest_model, video, None).state()
    forward = VideoTracker(smallest_model, height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES)
    file = tmp_path / "state.safetensors"
    forward.state().save(file)

    with pytest.raises(StateError, match=r"another direction: backward, here it is forward"):
        VideoTracker.from_state(smallest_model, backward)
    with pytest.raises(StateError, match=r"another direction: forward, here it is backward"):
        BackwardTracker.from_state(smallest_model, forward.state())
    assert b"backward" not in file.read_bytes()


def test_prompts_come_before_tracking(smallest_model, frames):
    """What is not encoded, or would begin an object anew, is refused in one line."""
    video = reverse(frames)
    tracker = BackwardTracker(smallest_model, height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES)
    for prompt in of((Prompt(1, 65, box_xyxy_px=(10, 10, 60, 70)),)):
        tracker.add_prompt(prompt)

    with pytest.raises(InputError, match=r"^prompts on frames \[0\] are not encoded"):
        tracker.step(video[0].image_rgb_hwc_u8)
    tracker.encode_prompts(video)
    tracker.step(video[0].image_rgb_hwc_u8)
    with pytest.raises(InputError, match=r"^object 1 is tracked backward from a prompt already"):
        tracker.add_prompt(Prompt(1, 3, box_xyxy_px=(10, 10, 60, 70)))
