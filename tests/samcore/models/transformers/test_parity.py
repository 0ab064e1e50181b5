"""Longtake's tracker beside the video predictors of transformers."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from samcore.tracking.tracker import VideoTracker
from tests.samcore.models.transformers.conftest import HEIGHT, WIDTH, start
from tests.samcore.models.transformers.original import (
    logits_of,
    memories_of,
    pixels_of,
    run_session,
    take_masks_as_meta_does,
)

RTOL = 2e-5
"""Of the largest logit of a tracked frame."""


def worst(ours, theirs, prompted) -> float:
    """The largest difference of tracked frames' logits, as a part of the largest one."""
    assert ours.keys() == theirs.keys()
    tracked = [at for at in theirs if at[0] not in prompted]
    largest = max(theirs[at].abs().max().item() for at in tracked)
    return max((ours[at] - theirs[at]).abs().max().item() for at in tracked) / largest


def test_two_objects_match_the_original(run_ours, small_model, family, score, frames, prompts):
    """Box, clicks and mask, present and absent: as with transformers, past the memory's horizon."""
    model = small_model(family, score)
    net = deepcopy(model._net)
    take_masks_as_meta_does(net)

    theirs = logits_of(run_session(net, pixels_of(model, frames), prompts, (HEIGHT, WIDTH)))
    ours = run_ours(model, frames, prompts)

    assert worst(ours, theirs, {0, 5}) < RTOL
    for at in theirs:
        torch.testing.assert_close(ours[at], theirs[at], atol=1e-4, rtol=1e-4, msg=str(at))


def test_memories_match_the_original(small_model, family, score, frames, prompts):
    """What is remembered of the last frames, too: of absent objects nothing else is to be seen."""
    model = small_model(family, score)
    net = deepcopy(model._net)
    take_masks_as_meta_does(net)
    tracker = start(model, frames, prompts)
    for _ in tracker.track(frames):
        pass

    theirs = memories_of(run_session(net, pixels_of(model, frames), prompts, (HEIGHT, WIDTH)))

    compared = 0
    for obj in tracker.state().objects:
        for memory in obj.memories:
            maskmem, pointer, score_there = theirs[memory.frame_idx, obj.obj_id]
            torch.testing.assert_close(
                memory.obj_ptr_1c[0], pointer, atol=RTOL * pointer.abs().max().item(), rtol=0
            )
            assert memory.score.item() == pytest.approx(score_there, abs=1e-4)
            if memory.maskmem is not None:
                mine = memory.maskmem.float()
                mine = mine[0] if mine.ndim == 3 else mine.flatten(2)[0].T
                their = maskmem.float().reshape(mine.shape)
                # bfloat16 keeps 8 bits: where float32 differs in its last ones, one of these may.
                close = (mine - their).abs() <= 0.01 * their.abs() + 1e-5
                assert close.all(), (memory.frame_idx, obj.obj_id)
                compared += 1
    assert compared >= 14


def test_a_mask_prompt_differs_only_as_meta_does(run_ours, small_model, frames, prompts):
    """Beside transformers as it is: a mask's own frame is equal, the frames after it are near."""
    model = small_model("sam2")

    theirs = logits_of(run_session(model._net, pixels_of(model, frames), prompts, (HEIGHT, WIDTH)))
    ours = run_ours(model, frames, prompts)

    torch.testing.assert_close(ours[5, 2], theirs[5, 2], atol=1e-5, rtol=0)
    assert RTOL < worst(ours, theirs, {0, 5}) < 0.2


def test_a_forgotten_pointer_would_be_seen(
    run_ours, small_model, family, frames, prompts, monkeypatch
):
    """The tolerance is tight enough: a memory of one pointer less fails parity by far."""
    model = small_model(family)
    ours = run_ours(model, frames[:20], prompts)

    monkeypatch.setattr(model, "facts", replace(model.facts, max_obj_ptrs=15))
    less = run_ours(model, frames[:20], prompts)

    assert worst(less, ours, {0, 5}) > 5 * RTOL


def test_the_tracker_takes_a_stream(small_model, family, frames, prompts):
    """Frames of no known number, one by one."""
    tracker = VideoTracker(small_model(family), height=HEIGHT, width=WIDTH)
    for prompt in prompts[:2]:
        tracker.add_prompt(prompt)

    outputs = [tracker.step(frame) for frame in frames[:4]]

    assert [output.obj_ids for output in outputs] == [(1, 2)] * 4
