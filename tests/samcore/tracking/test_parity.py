"""Longtake's tracker beside the sam2 package's own predictor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from samcore.config import TrackSettings
from samcore.prompts.prompt import Prompt

TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"
ATOL = 5e-5
"""On logits with a standard deviation of 0.1. A memory forgotten, or encoded at the wrong age,
moves them by 4e-3 and more (`test_a_forgotten_pointer_would_be_seen`)."""
MAX_PIXELS = 3
"""Of 12,288: pixels whose logit is within the tolerance of the threshold."""


@pytest.fixture(scope="module")
def upstream(run_upstream, tiny_model, frames, five_objects):
    """The predictor's results, computed once."""
    return run_upstream(tiny_model, TINY, frames, five_objects)


def assert_parity(ours, theirs, obj_ids):
    """Equal logits within float tolerance, equal masks but for pixels at the threshold."""
    wanted = {at for at in theirs.masks if at[1] in obj_ids}
    assert set(ours.masks) == wanted
    for at in sorted(wanted):
        torch.testing.assert_close(
            ours.logits[at], theirs.logits[at], atol=ATOL, rtol=0, msg=str(at)
        )
        assert np.count_nonzero(ours.masks[at] != theirs.masks[at]) <= MAX_PIXELS, at


def test_five_objects_match_the_package(run_ours, tiny_model, frames, five_objects, upstream):
    """Points, boxes, masks, corrections, a late beginning: as with the package, for 66 frames."""
    ours = run_ours(tiny_model, frames, five_objects)

    assert_parity(ours, upstream, {1, 2, 3, 4, 5})


@pytest.mark.parametrize("obj_id", [1, 4])
def test_one_object_matches_the_package(
    run_ours, tiny_model, frames, five_objects, upstream, obj_id
):
    """An object tracked alone gives what it gives among others."""
    prompts = tuple(p for p in five_objects if p.obj_id == obj_id)

    assert_parity(run_ours(tiny_model, frames, prompts), upstream, {obj_id})


def test_batches_of_frames_and_objects_match_the_package(
    run_ours, tiny_model, frames, five_objects, upstream
):
    """Other batch sizes give the same masks within float tolerance."""
    settings = TrackSettings(encode_batch=4, object_batch=2)

    ours = run_ours(tiny_model, frames[:30], five_objects[:3], settings)

    assert ours.logits.keys() == {(t, obj_id) for t in range(30) for obj_id in (1, 2, 3)}
    for at, logits in ours.logits.items():
        torch.testing.assert_close(logits, upstream.logits[at], atol=ATOL, rtol=0)


def test_clicks_that_correct_a_mask_match_the_package(
    run_ours, run_upstream, tiny_model, frames, mask_hw
):
    """Points beside a mask refine it as add_new_mask, then clicks do; in a video of 12 frames."""
    prompt = Prompt(1, 2, mask_hw=mask_hw, points_xy_px=((90, 50),), point_labels=(1,))

    ours = run_ours(tiny_model, frames[:12], (prompt,), num_frames=12)

    assert_parity(ours, run_upstream(tiny_model, TINY, frames[:12], (prompt,)), {1})


def test_sam2_0_matches_the_package(run_ours, run_upstream, sam2_0_model, frames, five_objects):
    """The older family, with its other flags, too."""
    prompts = five_objects[:2]

    theirs = run_upstream(sam2_0_model, "configs/sam2/sam2_hiera_t.yaml", frames[:24], prompts)

    assert_parity(run_ours(sam2_0_model, frames[:24], prompts), theirs, {1, 2})


def test_a_forgotten_pointer_would_be_seen(
    run_ours, tiny_model, frames, five_objects, upstream, monkeypatch
):
    """The tolerance is tight enough: a bank that forgets one pointer of sixteen fails parity."""
    monkeypatch.setattr(tiny_model, "facts", replace(tiny_model.facts, max_obj_ptrs=15))

    ours = run_ours(tiny_model, frames[:24], five_objects[:1])

    worst = max((ours.logits[at] - upstream.logits[at]).abs().max().item() for at in ours.logits)
    assert worst > 20 * ATOL
