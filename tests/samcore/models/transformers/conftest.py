"""Small models of each family, frames to track, prompts of every kind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samcore.config import TrackSettings
from samcore.machine.device import choose_compute
from samcore.models.transformers.adapter import EdgeTamModel, TransformersModel
from samcore.prompts.prompt import Prompt
from samcore.scenes import Scene
from samcore.tracking import postprocess
from samcore.tracking.tracker import VideoTracker
from tests.samcore.models.transformers.small_models import (
    ABSENT,
    PRESENT,
    SIZES,
    small_net,
    small_sam3_video,
)

HEIGHT, WIDTH, NUM_FRAMES = 96, 128, 25


@pytest.fixture(scope="session")
def frames() -> np.ndarray:
    """More frames than a memory holds."""
    scene = Scene(3, difficulty="medium", num_frames=NUM_FRAMES, height=HEIGHT, width=WIDTH)
    return np.stack([scene.frame(i).image_rgb_hwc_u8 for i in range(NUM_FRAMES)])


@pytest.fixture(scope="session")
def prompts() -> tuple[Prompt, ...]:
    """Two objects, prompted on the same frames: a box with clicks, a click, masks. (EdgeTAM's own
    predictor fails where one has clicks and the other a mask.)"""
    masks = np.zeros((2, HEIGHT, WIDTH), dtype=np.bool_)
    masks[0, 20:60, 30:80] = True
    masks[1, 40:90, 60:120] = True
    clicks = {"points_xy_px": ((40, 40), (90, 20)), "point_labels": (1, 0)}
    return (
        Prompt(1, 0, box_xyxy_px=(10, 10, 60, 70), **clicks),
        Prompt(2, 0, points_xy_px=((50, 40),), point_labels=(1,)),
        Prompt(1, 5, mask_hw=masks[0]),
        Prompt(2, 5, mask_hw=masks[1]),
    )


def wrap(net: Any, fingerprint: str = "small", *, plain: bool = False) -> TransformersModel:
    """A network behind the adapter, as a test without files has it."""
    kind = EdgeTamModel if net.config.model_type == "edgetam_video" else TransformersModel
    return kind(
        net,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        compute=choose_compute("cpu", "float32"),
        fingerprint=fingerprint,
        plain=plain,
    )


@pytest.fixture(scope="session")
def small_model() -> Callable[..., TransformersModel]:
    """Small models by family and by whether objects are there; each is built once."""
    built: dict[tuple[str, float], TransformersModel] = {}

    def get(family: str, score: float = PRESENT) -> TransformersModel:
        if (family, score) not in built:
            built[family, score] = wrap(small_net(family, score=score))
        return built[family, score]

    return get


@pytest.fixture(params=tuple(SIZES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[PRESENT, ABSENT], ids=["present", "absent"])
def score(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture
def run_ours(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[tuple[int, int], torch.Tensor]]:
    """Track with Longtake; low-resolution logits by frame and object. The last tracker stays as an
    attribute."""
    logits: list[torch.Tensor] = []
    enlarge = postprocess.masks_at_video_size

    def listen(logits_n1hw: torch.Tensor, **kwargs: int) -> Any:
        logits.append(logits_n1hw.clone())
        return enlarge(logits_n1hw, **kwargs)

    monkeypatch.setattr(postprocess, "masks_at_video_size", listen)

    def run(
        model: Any,
        frames: np.ndarray,
        prompts: tuple[Prompt, ...],
        settings: TrackSettings | None = None,
        kind: type[VideoTracker] = VideoTracker,
    ) -> dict[tuple[int, int], torch.Tensor]:
        logits.clear()
        tracker = run.tracker = start(model, frames, prompts, settings, kind)
        return {
            (output.frame_idx, obj_id): logits[-1][row, 0]
            for output in tracker.track(frames)
            for row, obj_id in enumerate(output.obj_ids)
        }

    return run


def start(
    model: Any,
    frames: np.ndarray,
    prompts: tuple[Prompt, ...],
    settings: TrackSettings | None = None,
    kind: type[VideoTracker] = VideoTracker,
) -> VideoTracker:
    """A tracker after the prompt pass."""
    tracker = kind(model, height=HEIGHT, width=WIDTH, num_frames=len(frames), settings=settings)
    for prompt in prompts:
        tracker.add_prompt(prompt)
    tracker.encode_prompts([Numbered(t, frame) for t, frame in enumerate(frames)])
    return tracker


class Numbered:
    """A frame with its number, as the video reader gives it."""

    def __init__(self, frame_idx: int, image: np.ndarray) -> None:
        self.frame_idx = frame_idx
        self.image_rgb_hwc_u8 = image


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each family, as the hub has them; SAM 3's has its detector, too."""
    root = tmp_path_factory.mktemp("models")
    for family in SIZES:
        net = small_sam3_video() if family == "sam3" else small_net(family)
        net.save_pretrained(root / family)
        prepared = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
        (root / family / "preprocessor_config.json").write_text(json.dumps(prepared))
    return root
