"""A small SAM 2 with random weights, frames to track, and the package's own predictor beside it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import sam2.sam2_video_predictor
import torch
from numpy.typing import NDArray
from sam2.build_sam import build_sam2_video_predictor

from samcore.config import TrackSettings
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.prompts.prompt import Prompt
from samcore.scenes import Scene
from samcore.tracking.postprocess import masks_at_video_size
from samcore.tracking.tracker import VideoTracker

IMAGE_SIZE = 128
HEIGHT, WIDTH = 96, 128
NUM_FRAMES = 66
TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"


@dataclass(frozen=True)
class Frame:
    """A frame with its number, as the video reader gives it."""

    frame_idx: int
    image_rgb_hwc_u8: NDArray[np.uint8]


@dataclass
class Tracked:
    """All that came out of a run, by frame and object."""

    masks: dict[tuple[int, int], NDArray[np.bool_]] = field(default_factory=dict)
    logits: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)


def _heed_memory(net: torch.nn.Module) -> None:
    """Random weights hardly look at memory; make them, so that a wrong memory shows in masks."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.5)
            elif "cross_attn_image" in name and name.endswith("proj.weight"):
                parameter.mul_(3)
            elif name.startswith(("obj_ptr_proj.layers.2", "obj_ptr_tpos_proj.weight")):
                parameter.mul_(10)


def _build(config: str) -> Sam2Model:
    model = build_model(
        config,
        None,
        seed=0,
        image_size=IMAGE_SIZE,
        fingerprint=f"random:{config}",
        compute=choose_compute("cpu", "float32"),
    )
    _heed_memory(model._net)
    return model


@pytest.fixture(scope="session")
def tiny_model() -> Sam2Model:
    """SAM 2.1 tiny at 128 px with seeded random weights."""
    return _build(TINY)


@pytest.fixture(scope="session")
def smallest_model(tmp_path_factory: pytest.TempPathFactory) -> Sam2Model:
    """The embedded model, for what does not depend on the size."""
    spec = resolve_model("nano", cache_dir=tmp_path_factory.mktemp("cache"))
    return load_model(spec, choose_compute("cpu", "float32"))


@pytest.fixture(scope="module")
def encoding_once(smallest_model):
    """The embedded model, which encodes each picture once for all tests."""
    encoded: dict[bytes, list] = {}
    encode = smallest_model.encode_images

    def once(images_n3hw: torch.Tensor) -> list:
        key = images_n3hw.cpu().numpy().tobytes()
        if key not in encoded:
            encoded[key] = encode(images_n3hw)
        return encoded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smallest_model, "encode_images", once)
        yield smallest_model


@pytest.fixture(scope="session")
def sam2_0_model() -> Sam2Model:
    """SAM 2.0 tiny, whose pointers have no temporal encoding."""
    return _build("configs/sam2/sam2_hiera_t.yaml")


@pytest.fixture(scope="session")
def frames() -> list[Frame]:
    """A scene with contacts and occlusions, wider than high."""
    scene = Scene(3, difficulty="medium", num_frames=NUM_FRAMES, height=HEIGHT, width=WIDTH)
    return [Frame(i, scene.frame(i).image_rgb_hwc_u8) for i in range(NUM_FRAMES)]


@pytest.fixture(scope="session")
def mask_hw() -> NDArray[np.bool_]:
    """A mask to prompt with."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[20:60, 30:80] = True
    return mask


@pytest.fixture(scope="session")
def five_objects(mask_hw: NDArray[np.bool_]) -> tuple[Prompt, ...]:
    """Every kind of prompt, on the first frame and on later ones, with corrections."""
    return (
        Prompt(1, 0, box_xyxy_px=(10, 10, 60, 70)),
        Prompt(2, 0, points_xy_px=((50, 40),), point_labels=(1,)),
        Prompt(3, 0, mask_hw=mask_hw),
        # Corrected twice; before frame 30 these conditioning frames lie ahead.
        Prompt(4, 0, points_xy_px=((70.5, 20.25),), point_labels=(1,)),
        Prompt(4, 30, box_xyxy_px=(60, 5, 120, 50)),
        Prompt(4, 47, mask_hw=mask_hw),
        # Begins later, with a box and clicks together.
        Prompt(
            5,
            5,
            box_xyxy_px=(30, 20, 90, 90),
            points_xy_px=((50, 40), (80, 25)),
            point_labels=(1, 0),
        ),
    )


RunOurs = Callable[..., Tracked]


@pytest.fixture
def run_ours(monkeypatch: pytest.MonkeyPatch) -> RunOurs:
    """Track with Longtake; `logits` holds the low-resolution ones."""
    logits: list[torch.Tensor] = []
    enlarge = masks_at_video_size

    def listen(logits_n1hw: torch.Tensor, **kwargs: int) -> NDArray[np.bool_]:
        logits.append(logits_n1hw.clone())
        return enlarge(logits_n1hw, **kwargs)

    monkeypatch.setattr("samcore.tracking.postprocess.masks_at_video_size", listen)

    def run(
        model: Sam2Model,
        frames: list[Frame],
        prompts: tuple[Prompt, ...],
        settings: TrackSettings | None = None,
        num_frames: int = NUM_FRAMES,
        kind: type[VideoTracker] = VideoTracker,
    ) -> Tracked:
        logits.clear()
        tracker = kind(model, height=HEIGHT, width=WIDTH, num_frames=num_frames, settings=settings)
        for prompt in prompts:
            tracker.add_prompt(prompt)
        tracker.encode_prompts(frames)
        tracked = Tracked()
        for output in tracker.track(frames):
            for row, obj_id in enumerate(output.obj_ids):
                at = (output.frame_idx, obj_id)
                tracked.masks[at] = output.masks_nhw[row]
                tracked.logits[at] = logits[-1][row, 0]
        return tracked

    return run


RunUpstream = Callable[..., Tracked]


@pytest.fixture(scope="session")
def run_upstream() -> Iterator[RunUpstream]:
    """Track with the package's SAM2VideoPredictor, on the frames as Longtake preprocesses them."""
    patch = pytest.MonkeyPatch()

    def run(
        model: Sam2Model,
        config: str,
        frames: list[Frame],
        prompts: tuple[Prompt, ...],
        *,
        reverse: bool = False,
        stride: int = 1,
    ) -> Tracked:
        predictor = build_sam2_video_predictor(
            config,
            None,
            device="cpu",
            hydra_overrides_extra=[f"++model.image_size={IMAGE_SIZE}"],
        )
        predictor.load_state_dict(model._net.state_dict())
        predictor.memory_temporal_stride_for_eval = stride
        # Without the CUDA extension it warns at every frame and does nothing.
        predictor.fill_hole_area = 0
        images = torch.cat([model.preprocess(f.image_rgb_hwc_u8[None]) for f in frames])
        patch.setattr(
            sam2.sam2_video_predictor, "load_video_frames", lambda **_: (images, HEIGHT, WIDTH)
        )
        tracked = Tracked()
        # A state for each first frame: the predictor can't track an object before its first prompt.
        firsts = {
            p.obj_id: min(q.frame_idx for q in prompts if q.obj_id == p.obj_id) for p in prompts
        }
        for first in sorted(set(firsts.values())):
            state = predictor.init_state("frames")
            for prompt in prompts:
                if firsts[prompt.obj_id] == first:
                    _prompt_upstream(predictor, state, prompt)
            for frame_idx, obj_ids, masks_n1hw in predictor.propagate_in_video(
                state, reverse=reverse
            ):
                for row, obj_id in enumerate(obj_ids):
                    obj = state["output_dict_per_obj"][row]
                    out = obj["cond_frame_outputs"].get(frame_idx)
                    out = out or obj["non_cond_frame_outputs"][frame_idx]
                    tracked.masks[frame_idx, obj_id] = (masks_n1hw[row, 0] > 0).numpy()
                    tracked.logits[frame_idx, obj_id] = out["pred_masks"][0, 0]
        return tracked

    yield run
    patch.undo()


def _prompt_upstream(predictor: object, state: dict[str, object], prompt: Prompt) -> None:
    at = (state, prompt.frame_idx, prompt.obj_id)
    if prompt.mask_hw is not None:
        predictor.add_new_mask(*at, prompt.mask_hw)
    if prompt.box_xyxy_px is not None or prompt.points_xy_px:
        predictor.add_new_points_or_box(
            *at,
            points=list(prompt.points_xy_px) or None,
            labels=list(prompt.point_labels) or None,
            box=prompt.box_xyxy_px,
        )
