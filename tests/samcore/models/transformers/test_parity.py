"""Longtake's tracker beside the video predictors of transformers."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from samcore.prompts.prompt import Prompt
from samcore.tracking.backward import BackwardTracker
from tests.samcore.models.transformers.conftest import HEIGHT, WIDTH
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
    """Box, clicks and mask, present and absent: as with transformers, past the memory's horizon.
    What is remembered, too, since of absent objects nothing else is to be seen."""
    model = small_model(family, score)
    net = deepcopy(model._net)
    take_masks_as_meta_does(net)

    session = run_session(net, pixels_of(model, frames), prompts, (HEIGHT, WIDTH))
    ours, theirs = run_ours(model, frames, prompts), logits_of(session)

    assert worst(ours, theirs, {0, 5}) < RTOL
    for at in theirs:
        torch.testing.assert_close(ours[at], theirs[at], atol=1e-4, rtol=1e-4, msg=str(at))
    remembered = memories_of(session)
    for obj in run_ours.tracker.state().objects:
        assert len(obj.memories) >= 15
        for memory in obj.memories:
            compare(memory, *remembered[memory.frame_idx, obj.obj_id])


def test_backward_matches_the_original(run_ours, small_model, family, frames):
    """Before its first prompt, with a correction after it: as with transformers in reverse."""
    model, last = small_model(family), 21
    prompts = (
        Prompt(1, 19, box_xyxy_px=(8, 8, 40, 40)),
        Prompt(1, 21, points_xy_px=((20, 20),), point_labels=(1,)),
    )
    frames = frames[: last + 1]
    mirrored = tuple(replace(prompt, frame_idx=last - prompt.frame_idx) for prompt in prompts)

    session = run_session(
        model._net, pixels_of(model, frames), prompts, (HEIGHT, WIDTH), reverse=True
    )
    theirs = {at: logits for at, logits in logits_of(session).items() if at[0] <= 19}
    found = run_ours(model, frames[::-1], mirrored, kind=BackwardTracker)
    ours = {(last - t, obj_id): logits for (t, obj_id), logits in found.items()}

    assert set(ours) == {(t, 1) for t in range(20)}
    assert worst(ours, theirs, {19}) < RTOL


def compare(memory, maskmem, pointer, score_there) -> None:
    """Hold one frame's memory to the original's."""
    torch.testing.assert_close(
        memory.obj_ptr_1c[0], pointer, atol=RTOL * pointer.abs().max().item(), rtol=0
    )
    assert memory.score.item() == pytest.approx(score_there, abs=1e-4)
    if memory.maskmem is not None:
        mine = memory.maskmem.float()
        mine = mine[0] if mine.ndim == 3 else mine.flatten(2)[0].T
        their = maskmem.float().reshape(mine.shape)
        # bfloat16 keeps 8 bits: where float32 differs in its last ones, one of these may.
        assert ((mine - their).abs() <= 0.01 * their.abs() + 1e-5).all(), memory.frame_idx


def test_a_mask_prompt_differs_only_as_meta_does(run_ours, small_model, frames, prompts):
    """Beside transformers as it is: a mask's own frame is equal, the frames after it are near."""
    model = small_model("sam2")

    theirs = logits_of(run_session(model._net, pixels_of(model, frames), prompts, (HEIGHT, WIDTH)))
    ours = run_ours(model, frames, prompts)

    torch.testing.assert_close(ours[5, 2], theirs[5, 2], atol=1e-5, rtol=0)
    assert RTOL < worst(ours, theirs, {0, 5}) < 0.2


def test_a_forgotten_pointer_would_be_seen(run_ours, small_model, frames, prompts, monkeypatch):
    """The tolerance is tight enough: a memory of one pointer less fails parity by far."""
    model = small_model("sam2")
    ours = run_ours(model, frames[:20], prompts)

    monkeypatch.setattr(model, "facts", replace(model.facts, max_obj_ptrs=15))
    less = run_ours(model, frames[:20], prompts)

    assert worst(less, ours, {0, 5}) > 5 * RTOL
