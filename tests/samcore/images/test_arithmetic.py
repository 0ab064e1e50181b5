"""Narrow arithmetic, and a GPU, give nearly the masks of float32 on the CPU."""

import numpy as np
import pytest
import torch

from samcore.images.everything import EverythingOptions
from samcore.images.segmenter import ImageSegmenter
from samcore.machine.rung import Rung
from samcore.prompts.prompt import Prompt

OPTIONS = EverythingOptions(points_per_side=6, min_predicted_iou=0.3, min_stability=0.5)


def both(model, pictures):
    """Masks of boxes and clicks of all pictures at once, and how much everything covers."""
    size = model.facts.image_size
    segmenter = ImageSegmenter(model, rung=Rung(encode_batch=4, object_batch=64, image_size=size))
    box, click = {"box_xyxy_px": (5, 5, 50, 45)}, {"points_xy_px": ((30, 30),)}
    prompts = [[Prompt(1, 0, **box), Prompt(2, 0, point_labels=(1,), **click)] for _ in pictures]
    found = segmenter.segment(pictures, prompts, min_region_area=4)
    covered = [
        np.any([mask.mask() for mask in one.masks], axis=0)
        for one in segmenter.everything(pictures, OPTIONS)
    ]
    return [mask.mask() for one in found for mask in one.masks], covered


def assert_near(ours, theirs):
    """Equal but for a few pixels in a hundred, on the whole."""
    for some, others in zip(ours, theirs, strict=True):
        apart = [np.mean(a != b) for a, b in zip(some, others, strict=True)]
        assert np.mean(apart) < 0.03
    assert any(mask_hw.any() for mask_hw in theirs[0])


def test_bfloat16_gives_nearly_the_same(load, pictures):
    """Prompts and everything, in batches."""
    assert_near(both(load("nano", "bfloat16"), pictures), both(load("nano"), pictures))


@pytest.mark.needs_cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gpu_gives_nearly_the_same(load, pictures, dtype):
    """Prompts and everything, in batches."""
    on_gpu = both(load("nano", dtype, device="cuda"), pictures)
    on_cpu = both(load("nano"), pictures)
    assert_near(on_gpu, on_cpu)
    assert torch.cuda.memory_allocated() > 0
