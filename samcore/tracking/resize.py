"""Carry a tracker's state over to a smaller input of the model. Inexact: masks change."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.state import CondOutput, ObjectState, TrackerState


def resize_state(state: TrackerState, *, model_fingerprint: str, image_size: int) -> TrackerState:
    """The state as a model with another input size can go on from it.

    Spatial memories and masks of prompted frames ahead are resampled to the new size, pointers
    stay. The network was never trained on resampled memories: objects are followed on, but their
    masks are not those that the model would have made at either size.

    Args:
        state: Of a model with the same weights.
        model_fingerprint: Of the model that is to go on.
        image_size: Side of its input in pixels.
    """
    if image_size == state.image_size:
        return replace(state, model_fingerprint=model_fingerprint)
    scale = image_size / state.image_size
    with torch.inference_mode():
        objects = tuple(_resize_object(obj, scale) for obj in state.objects)
    return replace(
        state, model_fingerprint=model_fingerprint, image_size=image_size, objects=objects
    )


def _resize_object(obj: ObjectState, scale: float) -> ObjectState:
    return replace(
        obj,
        memories=tuple(_resize_memory(memory, scale) for memory in obj.memories),
        outputs=tuple(_resize_output(output, scale) for output in obj.outputs),
        ahead=tuple(_resize_memory(memory, scale) for memory in obj.ahead),
        keepsakes=replace(
            obj.keepsakes,
            prompted=tuple(_resize_memory(memory, scale) for memory in obj.keepsakes.prompted),
            views=tuple(_resize_memory(memory, scale) for memory in obj.keepsakes.views),
        ),
    )


def _resize_memory(memory: FrameMemory, scale: float) -> FrameMemory:
    maskmem = memory.maskmem
    if maskmem is None or maskmem.ndim < 4:
        return memory  # EdgeTAM's tokens lie on no map of the picture's size
    return replace(memory, maskmem=_resize(maskmem, scale))


def _resize_output(output: CondOutput, scale: float) -> CondOutput:
    return replace(output, logits_11hw=_resize(output.logits_11hw, scale))


def _resize(maps_1chw: Tensor, scale: float) -> Tensor:
    # Sizes of the model's input are multiples of its stride, so both sides come out whole.
    size = (round(maps_1chw.shape[-2] * scale), round(maps_1chw.shape[-1] * scale))
    resized = F.interpolate(
        maps_1chw.float(), size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized.to(maps_1chw.dtype)
