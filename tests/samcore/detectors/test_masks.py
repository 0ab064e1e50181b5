"""The detector `masks` beside the sam2 package's own mask generator."""

import logging

import numpy as np
import pytest
import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

from samcore.detectors.masks import MaskGrid
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.automatic import AutomaticPrompts
from samcore.scenes import Scene

ALL = {"min_predicted_iou": 0, "min_stability": 0}


def the_packages(model, image, options, batch):
    """Masks and scores of the package's own generator, in its order."""
    generator = SAM2AutomaticMaskGenerator(
        model._net,
        points_per_side=options.points_per_side,
        points_per_batch=batch,
        pred_iou_thresh=options.min_predicted_iou,
        stability_score_thresh=options.min_stability,
    )
    # The package has the sizes of a 1024 px input written in.
    side = model.facts.image_size
    generator.predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in (4, 8, 16)]
    with model.running():
        found = generator.generate(image)
    return [
        (item["segmentation"], item["predicted_iou"] * item["stability_score"]) for item in found
    ]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "dtype", "batch", "size_hw", "options"),
    [
        ("nano", "float32", 64, (96, 128), {"points_per_side": 10}),
        ("nano", "float32", 7, (120, 90), {"points_per_side": 8, "min_stability": 0.3}),
        ("nano", "bfloat16", 9, (256, 256), {"points_per_side": 10, "min_predicted_iou": 0.3}),
        ("random-tiny", "float32", 8, (96, 128), {"points_per_side": 3, **ALL}),
    ],
)
def test_masks_are_the_packages_own(name, dtype, batch, size_hw, options, tmp_path):
    """The same masks with the same scores, bit for bit, in whatever arithmetic and batches; also
    where one point is left for the last batch."""
    spec = resolve_model(name, cache_dir=tmp_path, plain_engine=True)
    model = load_model(spec, choose_compute("cpu", dtype))
    scene = Scene(3, num_frames=66, height=size_hw[0], width=size_hw[1], num_objects=3)
    image = next(iter(scene)).image_rgb_hwc_u8
    asked = AutomaticPrompts(**options)

    (found,) = MaskGrid(model, asked, batch=batch).detect([image])
    wanted = the_packages(model, image, asked, batch)

    assert len(found) == len(wanted) > 0
    for item, (mask_hw, score) in zip(found, wanted, strict=True):
        assert item.score == score
        assert np.array_equal(item.mask_hw, mask_hw)


def test_masks_leave_the_process_as_it_was(tmp_path):
    """Nothing is logged through the root logger, and no random number is drawn."""
    root = logging.getLogger()
    before, generator = list(root.handlers), torch.random.get_rng_state()
    model = load_model(resolve_model("nano", cache_dir=tmp_path), choose_compute("cpu", "float32"))
    options = AutomaticPrompts(points_per_side=1, min_predicted_iou=1, min_stability=1)
    assert MaskGrid(model, options, batch=1).detect([np.zeros((32, 32, 3), np.uint8)]) == [[]]
    assert root.handlers == before
    assert torch.equal(torch.random.get_rng_state(), generator)
