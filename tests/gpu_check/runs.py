"""What the parts share: a scene, the model, and a run by Longtake and by the sam2 package."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import sam2.sam2_video_predictor
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor

import samcore.tracking.postprocess as postprocess
from samcore.config import TrackSettings
from samcore.machine.compiling import Compiler
from samcore.machine.device import Compute, choose_compute, repeatable_kernels
from samcore.models.known import NANO_DIR
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.models.sam2.configs import config_file
from samcore.models.sam2.network import _PREDICTOR_FLAGS
from samcore.scenes import Scene, box_of
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker

NANO = str(NANO_DIR / "config.yaml")
NANO_WEIGHTS = NANO_DIR / "nano.safetensors"
WARM_UP = 17
"""Frames until the memory is full."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Work:
    """How large everything is."""

    device: str
    tiny: bool
    config: str
    checkpoint: Path | None

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def compute(self) -> Compute:
        """In the device's own precision."""
        return choose_compute(self.device, "auto")

    @property
    def size(self) -> int:
        """Side of the model's input."""
        return 64 if self.tiny else 1024

    @property
    def shape(self) -> tuple[int, int]:
        """Of the video, height and width."""
        return (48, 64) if self.tiny else (720, 1280)

    @property
    def backend(self) -> str:
        """Of `torch.compile`; Inductor takes minutes on a CPU, so there it only traces."""
        return "inductor" if self.is_cuda else "aot_eager"

    def model(
        self,
        compute: Compute | None = None,
        *,
        size: int | None = None,
        compiled: bool = False,
    ) -> Sam2Model:
        """The model to measure; random weights are made to look at the memory."""
        compiler = Compiler(self.backend) if compiled else None
        if self.tiny:
            return nano(compute or self.compute, size=size or self.size, compiler=compiler)
        model = build_model(
            self.config,
            self.checkpoint,
            seed=0,
            image_size=size or self.size,
            fingerprint="gpu-check",
            compute=compute or self.compute,
            compiler=compiler,
        )
        if self.checkpoint is None:
            _look_at_memory(model._net)
        return model

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.is_cuda:
            torch.cuda.synchronize(self.compute.device)

    def scene(self, num_frames: int, num_objects: int) -> tuple[list[NDArray[np.uint8]], list[Box]]:
        """Frames, and each object's box on the first one."""
        height, width = self.shape
        scene = Scene(3, num_frames=num_frames, height=height, width=width, num_objects=num_objects)
        painted = [scene.frame(i) for i in range(num_frames)]
        everything = (0.0, 0.0, width - 1.0, height - 1.0)
        boxes = [box_of(mask) if mask.any() else everything for mask in painted[0].masks_nhw]
        return [frame.image_rgb_hwc_u8 for frame in painted], [
            (float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes
        ]


def nano(compute: Compute, *, size: int = 128, compiler: Compiler | None = None) -> Sam2Model:
    """The embedded model with its trained weights."""
    return build_model(
        NANO,
        NANO_WEIGHTS,
        seed=None,
        image_size=size,
        fingerprint="nano",
        compute=compute,
        compiler=compiler,
    )


def _look_at_memory(net: Any) -> None:
    """Random weights hardly look at memory, and those that begin as zeros hide mistakes."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.5)  # of the memory fuser; 1e-6 otherwise
            elif "cross_attn_image" in name and name.endswith("proj.weight"):
                parameter.mul_(3)
            elif not parameter.any():
                drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
                parameter.copy_(0.05 * drawn)


def new_predictor(model: Sam2Model, config: str, *, optimized: bool = False) -> Any:
    """The sam2 package's predictor with the weights of a model, on its device."""
    kind = "SAM2VideoPredictorVOS" if optimized else "SAM2VideoPredictor"
    changes: dict[str, Any] = {
        "_target_": f"sam2.sam2_video_predictor.{kind}",
        "image_size": model.image_size,
    }
    if optimized and "hiera_t" not in config:
        # The package: "HieraT does not currently support compilation".
        changes["compile_image_encoder"] = True
    loaded = OmegaConf.select(OmegaConf.load(config_file(config)), "model")
    merged = OmegaConf.merge(loaded, _PREDICTOR_FLAGS, changes)
    OmegaConf.resolve(merged)
    predictor = instantiate(merged, _recursive_=True)
    predictor.load_state_dict(model._net.state_dict())
    # Without the CUDA extension it warns at every frame and does nothing.
    predictor.fill_hole_area = 0
    return predictor.to(model.device).eval()


def new_tracker(
    model: Sam2Model,
    shape: tuple[int, int],
    boxes: Sequence[Box],
    num_frames: int,
    **options: Any,
) -> VideoTracker:
    """A tracker with its prompts, on frame 0."""
    height, width = shape
    tracker = VideoTracker(model, height=height, width=width, num_frames=num_frames, **options)
    for number, box in enumerate(boxes, start=1):
        tracker.add_box(number, 0, box)
    return tracker


@dataclass
class Seen:
    """What a run gave."""

    masks: list[NDArray[np.bool_]]
    """Of each frame, N x H x W."""
    logits: list[Tensor]
    """Of each frame, N x 1 x h x w, float32 on the CPU."""


def by_longtake(
    model: Sam2Model,
    frames: Sequence[NDArray[np.uint8]],
    boxes: Sequence[Box],
    settings: TrackSettings | None = None,
) -> Seen:
    """Masks and low-resolution logits of a video in one piece."""
    seen = Seen([], [])
    enlarge = postprocess.masks_at_video_size

    def listen(logits_n1hw: Tensor, **options: int) -> NDArray[np.bool_]:
        seen.logits.append(logits_n1hw.float().cpu())
        return enlarge(logits_n1hw, **options)

    tracker = new_tracker(model, frames[0].shape[:2], boxes, len(frames), settings=settings)
    postprocess.masks_at_video_size = listen
    try:
        seen.masks = [output.masks_nhw for output in tracker.track(frames)]
    finally:
        postprocess.masks_at_video_size = enlarge
    return seen


@contextlib.contextmanager
def _given_frames(images_n3hw: Tensor, shape: tuple[int, int]) -> Iterator[None]:
    """The package's predictor takes these frames for those of any video."""
    with mock.patch.multiple(
        sam2.sam2_video_predictor,
        load_video_frames=lambda **_: (images_n3hw, *shape),
        tqdm=lambda frames, **_: frames,  # no bar
    ):
        yield


def propagate_theirs(
    predictor: Any,
    model: Sam2Model,
    frames: Sequence[NDArray[np.uint8]],
    boxes: Sequence[Box],
    *,
    repeatable: bool = False,
) -> Iterator[tuple[int, Tensor, Any]]:
    """Frame number, masks on the host and the state, frame by frame, by the sam2 package.

    With `repeatable` by the kernels that Longtake uses, to compare numbers; else by the fastest.
    """
    shape = frames[0].shape[:2]
    with (
        torch.inference_mode(),
        repeatable_kernels() if repeatable else contextlib.nullcontext(),
        model.compute.autocast(),
        _given_frames(torch.cat([model.preprocess(f[None]) for f in frames]), shape),
    ):
        state = predictor.init_state("frames")
        for number, box in enumerate(boxes, start=1):
            predictor.add_new_points_or_box(state, 0, number, box=box)
        for frame_idx, _, masks_n1hw in predictor.propagate_in_video(state):
            yield frame_idx, (masks_n1hw[:, 0] > 0).cpu(), state


def by_sam2(
    predictor: Any, model: Sam2Model, frames: Sequence[NDArray[np.uint8]], boxes: Sequence[Box]
) -> Seen:
    """The same of the sam2 package's own predictor."""
    seen = Seen([], [])
    for frame_idx, masks_nhw, state in propagate_theirs(
        predictor, model, frames, boxes, repeatable=True
    ):
        seen.masks.append(masks_nhw.numpy())
        outs = [
            obj["cond_frame_outputs"].get(frame_idx) or obj["non_cond_frame_outputs"][frame_idx]
            for obj in state["output_dict_per_obj"].values()
        ]
        seen.logits.append(torch.cat([out["pred_masks"] for out in outs]).float().cpu())
    return seen


def seconds_a_frame(outputs: Iterator[Any], synchronise: Callable[[], None], skip: int) -> float:
    """Time of the frames after the first `skip`."""
    count, started = 0, 0.0
    for _ in outputs:
        count += 1
        if count == skip:
            synchronise()
            started = time.perf_counter()
    synchronise()
    return (time.perf_counter() - started) / (count - skip)


def continued(
    model: Sam2Model, path: Path, frames: Sequence[NDArray[np.uint8]], stop: int
) -> Iterator[NDArray[np.bool_]]:
    """Go on from a saved state up to a frame, and save the state there in its place."""
    tracker = VideoTracker.from_state(model, TrackerState.load(path))
    for output in tracker.track(frames[tracker.next_frame : stop]):
        yield output.masks_nhw
    tracker.state().save(path)
