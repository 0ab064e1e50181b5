"""The mask generator beside the sam2 package's own, with all of its parameters."""

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.utils import misc

from samcore.images.everything import EverythingOptions
from samcore.images.generator import crop_boxes
from samcore.images.segmenter import ImageSegmenter
from samcore.machine.rung import Rung
from samcore.scenes import Scene
from tests.samcore.images.conftest import use_sizes_of

MAX_PIXELS = 4
"""Of ten thousand: pixels whose logit is within rounding of the threshold."""
LOOSE = {"points_per_side": 6, "min_predicted_iou": 0.3, "min_stability": 0.5}
ALL = {"points_per_side": 3, "min_predicted_iou": 0, "min_stability": 0}
THEIR_NAMES = {
    "points_per_side": "points_per_side",
    "points_per_batch": "points_per_batch",
    "min_predicted_iou": "pred_iou_thresh",
    "min_stability": "stability_score_thresh",
    "stability_offset": "stability_score_offset",
    "mask_threshold": "mask_threshold",
    "box_nms_iou": "box_nms_thresh",
    "crop_layers": "crop_n_layers",
    "crop_nms_iou": "crop_nms_thresh",
    "crop_overlap": "crop_overlap_ratio",
    "crop_points_downscale": "crop_n_points_downscale_factor",
    "point_grids": "point_grids",
    "min_region_area": "min_mask_region_area",
    "use_m2m": "use_m2m",
    "multimask": "multimask_output",
}


@pytest.fixture(scope="module")
def scenes():
    """Pictures large enough for crops."""
    return [
        next(iter(Scene(seed, num_frames=4, height=h, width=w, num_objects=4))).image_rgb_hwc_u8
        for seed, h, w in ((3, 160, 200), (11, 120, 96))
    ]


def connected(inside_n1hw):
    """What the package's CUDA extension gives: labels and areas of connected parts."""
    labels, areas = [], []
    for inside_hw in inside_n1hw[:, 0].numpy().astype(np.uint8):
        _, label_hw, stats, _ = cv2.connectedComponentsWithStats(inside_hw, connectivity=8)
        labels.append(label_hw)
        areas.append(stats[label_hw, cv2.CC_STAT_AREA])
    return torch.tensor(np.stack(labels))[:, None], torch.tensor(np.stack(areas))[:, None]


def ask_the_package(model, image, options):
    """The package's masks, in its order."""
    theirs = {THEIR_NAMES[name]: value for name, value in options.items()}
    if "point_grids" in theirs:
        theirs["points_per_side"] = None
        theirs["point_grids"] = [np.array(grid) for grid in theirs["point_grids"]]
    generator = SAM2AutomaticMaskGenerator(model._net, **theirs)
    if "mask_threshold" in options:
        # The package hands it to the generator only, where its predictor wants it for holes, too.
        generator.predictor._transforms.mask_threshold = options["mask_threshold"]
    use_sizes_of(generator.predictor, model)
    with model.running():
        return generator.generate(image)


GRIDS = [[(0.2, 0.3), (0.7, 0.5), (0.5, 0.9)], [(0.5, 0.5), (0.3, 0.6)]]
CASES = {
    "sure": {"points_per_side": 10, "min_stability": 0.7},
    "loose": {**LOOSE, "points_per_batch": 7},
    "no bounds": ALL,
    "offset": {**LOOSE, "stability_offset": 3.0},
    "threshold": {**LOOSE, "mask_threshold": 1.5},
    "few boxes": {**LOOSE, "box_nms_iou": 0.1},
    "one mask": {**LOOSE, "multimask": False},
    "refined": {**LOOSE, "use_m2m": True},
    "crops": {**LOOSE, "crop_layers": 1},
    "two layers": {**LOOSE, "points_per_side": 5, "crop_layers": 2, "crop_points_downscale": 2},
    "crops apart": {**LOOSE, "crop_layers": 1, "crop_overlap": 0.1, "crop_nms_iou": 0.2},
    "grids": {**ALL, "point_grids": GRIDS, "crop_layers": 1},
    "regions": {**LOOSE, "min_region_area": 12},
    "noise": {**ALL, "min_region_area": 30, "mask_threshold": 0.02},
}
"""Cases with `nano`; the last one is with random weights, whose masks have many small parts."""


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:FutureWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
@pytest.mark.parametrize("case", CASES)
def test_masks_are_the_packages(case, load, scenes, monkeypatch):
    """The same masks in the same order, from the same points and crops, with the same scores,
    within float tolerance; several pictures at once."""
    monkeypatch.setattr(misc, "get_connected_components", connected)
    model, options = load("random-tiny" if case == "noise" else "nano"), CASES[case]
    size = model.facts.image_size
    segmenter = ImageSegmenter(model, rung=Rung(encode_batch=4, object_batch=64, image_size=size))

    ours = segmenter.everything(scenes, EverythingOptions(**options))

    assert len(ours) == len(scenes)
    for found, image in zip(ours, scenes, strict=True):
        wanted = ask_the_package(model, image, options)
        assert len(found.masks) == len(wanted) > 0
        for mask, item in zip(found.masks, wanted, strict=True):
            x, y, w, h = map(int, item["crop_box"])
            assert mask.crop_xyxy_px == (x, y, x + w, y + h)
            assert mask.point_xy_px == pytest.approx(item["point_coords"][0], abs=1e-3)
            assert mask.predicted_iou == pytest.approx(item["predicted_iou"], abs=1e-4)
            if not np.isnan(item["stability_score"]):
                assert mask.stability == pytest.approx(item["stability_score"], abs=2e-3)
            assert mask.score == pytest.approx(mask.predicted_iou * mask.stability)
            assert np.count_nonzero(mask.mask() != item["segmentation"]) <= MAX_PIXELS
        assert [mask.obj_id for mask in found.masks] == list(range(1, len(wanted) + 1))


def test_each_parameter_counts(load, scenes):
    """No case above passes because its parameter changes nothing."""
    segmenter = ImageSegmenter(load("nano"))

    def made(options):
        (found,) = segmenter.everything(scenes[:1], EverythingOptions(**options))
        return [mask.rle for mask in found.masks]

    loose = made(LOOSE)
    for case in ("offset", "threshold", "few boxes", "one mask", "refined", "crops", "regions"):
        assert made(CASES[case]) != loose, case
    assert made(CASES["crops apart"]) != made(CASES["crops"])


def test_all_parameters_of_the_package_are_there():
    """Each one has a name here, and the same default."""
    import inspect

    theirs = inspect.signature(SAM2AutomaticMaskGenerator.__init__).parameters
    left_out = {"self", "model", "output_mode", "kwargs"}
    assert set(THEIR_NAMES.values()) == set(theirs) - left_out
    assert set(THEIR_NAMES) == set(EverythingOptions.model_fields)
    for ours, name in THEIR_NAMES.items():
        assert EverythingOptions.model_fields[ours].default == theirs[name].default, ours


def test_batches_give_what_single_pictures_give(load, scenes):
    """However many pictures, crops and points are worked on at once, the masks are the same within
    float tolerance; progress counts the points of all pictures."""
    model, told = load("nano"), []
    size = model.facts.image_size
    options = EverythingOptions(**CASES["crops"])
    small = ImageSegmenter(model, rung=Rung(encode_batch=1, object_batch=5, image_size=size))
    large = ImageSegmenter(model, rung=Rung(encode_batch=8, object_batch=64, image_size=size))

    one_by_one = [small.everything([image], options)[0] for image in scenes]
    together = large.everything(scenes, options, on_progress=lambda *done: told.append(done))

    for found, wanted in zip(together, one_by_one, strict=True):
        assert len(found.masks) == len(wanted.masks) > 0
        for mask, alone in zip(found.masks, wanted.masks, strict=True):
            assert np.count_nonzero(mask.mask() != alone.mask()) <= MAX_PIXELS
            assert mask.score == pytest.approx(alone.score, abs=2e-3)
    assert told[-1] == (2 * 5 * 36, 2 * 5 * 36)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("size_hw", [(160, 200), (33, 47), (1, 1), (3, 500)])
def test_crops_cover_the_picture(size_hw):
    """Each layer has every pixel, and no crop reaches out of the picture or is empty."""
    height, width = size_hw
    seen = {}
    for (left, top, right, bottom), layer in crop_boxes(size_hw, layers=3, overlap=512 / 1500):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        seen.setdefault(layer, np.zeros(size_hw, bool))[top:bottom, left:right] = True
    assert sorted(seen) == [0, 1, 2, 3]
    assert all(covered.all() for covered in seen.values())


def test_tiny_pictures_and_many_layers_work(load):
    """A picture of a pixel, and one that crops cut to a pixel each, give masks or none."""
    segmenter = ImageSegmenter(load("nano"))
    options = EverythingOptions(**{**ALL, "points_per_side": 1, "crop_layers": 2})
    pictures = [np.full((1, 1, 3), 90, np.uint8), np.full((2, 7, 3), 90, np.uint8)]
    found = segmenter.everything(pictures, options)
    assert [(one.height, one.width) for one in found] == [(1, 1), (2, 7)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"points_per_side": 0},
        {"crop_overlap": 1.0},
        {"min_stability": float("nan")},
        {"pred_iou_thresh": 0.5},
        {"crop_layers": 2, "point_grids": [[(0.5, 0.5)]]},
        {"point_grids": [[(0.5, 1.5)]]},
    ],
)
def test_wrong_options_are_refused(wrong):
    """Out of bounds, misspelt, grids for fewer layers than there are, points off the picture."""
    with pytest.raises(ValidationError):
        EverythingOptions(**wrong)
