"""Single pictures with every family of the package transformers."""

import numpy as np
import pytest
import torch

from samcore.images.everything import EverythingOptions
from samcore.images.prompt import PicturePrompt
from samcore.images.segmenter import ImageSegmenter
from samcore.machine.rung import Rung
from samcore.prompts.prompt import Prompt

MAX_PIXELS = 8
"""Of 12,288: pixels whose logit is within rounding of the threshold."""


def segmenter(model, pictures, prompts):
    size = model.facts.image_size
    rung = Rung(encode_batch=pictures, object_batch=prompts, image_size=size)
    return ImageSegmenter(model, rung=rung)


@pytest.mark.parametrize("candidates", ["best", "all", "single"])
def test_batches_give_what_single_pictures_give(small_model, family, frames, candidates):
    """Prompts of every kind on pictures of three sizes, at once and one at a time: the same masks,
    logits and scores within float tolerance."""
    model = small_model(family)
    pictures = [frames[0], frames[3][:60], frames[6][:, :70]]
    mask_hw = np.zeros((60, 128), bool)
    mask_hw[10:40, 20:70] = True
    prior_hw = np.full((model.facts.logits_size,) * 2, -4, np.float32)
    prior_hw[4:12, 3:14] = 6
    click = {"points_xy_px": ((40, 30),), "point_labels": (1,)}
    prompts = [
        [Prompt(1, 0, box_xyxy_px=(5, 8, 70, 60)), Prompt(2, 0, **click)],
        [Prompt(1, 0, mask_hw=mask_hw), Prompt(2, 0, mask_hw=mask_hw, **click)],
        [PicturePrompt(1, prior_logits_hw=prior_hw, box_xyxy_px=(5, 8, 60, 60))],
    ]
    options = {"candidates": candidates, "keep_logits": True}

    together = segmenter(model, 3, 64).segment(pictures, prompts, **options)
    alone = segmenter(model, 1, 1).segment(pictures, prompts, **options)

    each = 3 if candidates == "all" else 1
    for found, wanted, image, asked in zip(together, alone, pictures, prompts, strict=True):
        assert (found.height, found.width) == image.shape[:2]
        assert len(found.masks) == len(wanted.masks) == each * len(asked)
        for mask, other in zip(found.masks, wanted.masks, strict=True):
            assert (mask.obj_id, mask.candidate) == (other.obj_id, other.candidate)
            largest = np.abs(other.logits_hw).max()
            np.testing.assert_allclose(
                mask.logits_hw, other.logits_hw, atol=1e-4 * largest, rtol=1e-3
            )
            assert mask.score == pytest.approx(other.score, abs=1e-4)
            assert np.count_nonzero(mask.mask() != other.mask()) <= MAX_PIXELS


def test_a_box_gives_what_the_network_gives(small_model, family, frames):
    """Three candidates of a box are those of the network's own parts, asked for three masks."""
    model = small_model(family)
    box = (5.0, 8.0, 70.0, 60.0)
    (found,) = segmenter(model, 1, 1).segment(
        [frames[0]], [[Prompt(1, 0, box_xyxy_px=box)]], candidates="all", keep_logits=True
    )
    height, width = frames[0].shape[:2]
    corners = torch.tensor(box).reshape(1, 1, 2, 2) / torch.tensor([width, height])
    net = model._net
    with model.running():
        (features,) = model.encode_images(model.preprocess(frames[0][None]))
        sparse, dense = net.prompt_encoder(
            input_points=corners * model.facts.image_size,
            input_labels=torch.tensor([[[2, 3]]], dtype=torch.int32),
            input_boxes=None,
            input_masks=None,
        )
        logits, ious, _, score = net.mask_decoder(
            image_embeddings=model.without_memory(features),
            image_positional_embeddings=net.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            high_resolution_features=list(features.high_res_1chw),
        )
    for place, mask in enumerate(found.masks):
        np.testing.assert_allclose(
            mask.logits_hw, logits[0, 0, place].clamp(-32, 32).numpy(), atol=1e-4, rtol=1e-3
        )
        assert mask.predicted_iou == pytest.approx(float(ious[0, 0, place]), abs=1e-5)
        assert mask.object_score == pytest.approx(float(score[0, 0]), abs=1e-4)


def test_everything_works_with_it(small_model, family, frames):
    """The mask generator with crops and refinement gives the same in batches and one at a time."""
    model = small_model(family)
    options = EverythingOptions(
        points_per_side=2, min_predicted_iou=0, min_stability=0, crop_layers=1, use_m2m=True
    )
    together = segmenter(model, 4, 64).everything([frames[0], frames[6][:80]], options)
    alone = [
        segmenter(model, 1, 2).everything([p], options)[0] for p in (frames[0], frames[6][:80])
    ]
    for found, wanted in zip(together, alone, strict=True):
        assert len(found.masks) == len(wanted.masks) > 0
        scores = [mask.score for mask in found.masks]
        assert scores == pytest.approx([mask.score for mask in wanted.masks], abs=1e-2)
