"""A model that gives no numbers is said at the first frame, in one line."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from samcore.detectors.masks import MaskGrid
from samcore.errors import ModelError
from samcore.machine.device import choose_compute
from samcore.models.known import NANO_DIR
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.models.sam2.network import build_network
from samcore.prompts.automatic import AutomaticPrompts
from samcore.tracking.tracker import VideoTracker

CONFIG, WEIGHTS = str(NANO_DIR / "config.yaml"), NANO_DIR / "nano.safetensors"


def _overflowing(part: str) -> Sam2Model:
    """The embedded model with weights of one part that are numbers, but too large."""
    model = build_model(
        CONFIG,
        WEIGHTS,
        seed=None,
        image_size=64,
        fingerprint=part,
        compute=choose_compute("cpu", "float32"),
    )
    touched = [weight for name, weight in model._net.named_parameters() if name.startswith(part)]
    assert touched
    for weight in touched:
        weight.data.mul_(1e30)
    return model


@pytest.mark.parametrize(
    ("part", "frame"),
    [
        ("image_encoder", 0),
        ("sam_mask_decoder.output_hypernetworks_mlps", 0),
        ("obj_ptr_proj", 0),
        ("memory_encoder", 0),
        ("memory_attention", 1),
    ],
)
def test_a_model_without_numbers_is_said_at_the_first_frame(part: str, frame: int) -> None:
    """Wherever the arithmetic overflows, the first frame that has to do with it says so; nothing is
    remembered of that frame."""
    tracker = VideoTracker(_overflowing(part), height=48, width=64)
    tracker.add_box(1, 0, (10, 10, 40, 40))
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for _ in range(frame):
        tracker.step(image)
    with pytest.raises(ModelError, match=f"no numbers on frame {frame} .*checkpoint") as caught:
        tracker.step(image)
    assert "\n" not in str(caught.value)
    assert tracker.next_frame == frame


def test_a_detector_says_that_its_model_gives_no_numbers() -> None:
    """What the mask generator leaves out because it is no number is not taken for nothing there."""
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    options = AutomaticPrompts(points_per_side=2, min_predicted_iou=0.7, min_stability=0.8)
    with pytest.raises(ModelError, match="no numbers on frame 7"):
        MaskGrid(_overflowing("image_encoder"), options, batch=64).detect([image], first_frame=7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_when_they_are_read(
    value: float, tmp_path: Path
) -> None:
    """The line names the file and the first weight that is none."""
    weights = build_network(CONFIG, WEIGHTS, seed=None, image_size=64).state_dict()
    weights = {name: weight.clone() for name, weight in weights.items()}
    weights["maskmem_tpos_enc"].view(-1)[3] = value
    path = tmp_path / "broken.safetensors"
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"broken\.safetensors .*maskmem_tpos_enc") as caught:
        build_network(CONFIG, path, seed=None, image_size=64)
    assert "\n" not in str(caught.value)
