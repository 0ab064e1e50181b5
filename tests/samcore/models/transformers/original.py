"""The video predictors of transformers itself, run beside Longtake."""

from collections.abc import Iterator
from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from samcore.prompts.prompt import Prompt

SESSIONS = {
    "sam2_video": Sam2VideoInferenceSession,
    "sam3_tracker_video": Sam3TrackerVideoInferenceSession,
    "edgetam_video": EdgeTamVideoInferenceSession,
}


def new_session(net: Any, pixels_n3hw: Tensor, prompts: tuple[Prompt, ...], size_hw: Any) -> Any:
    """A session in which each frame that has prompts was run once."""
    height, width = size_hw
    session = SESSIONS[net.config.model_type](
        video=pixels_n3hw,
        video_height=height,
        video_width=width,
        dtype=torch.float32,
    )
    for frame_idx in sorted({prompt.frame_idx for prompt in prompts}):
        here = [prompt for prompt in prompts if prompt.frame_idx == frame_idx]
        for prompt in here:
            _add(session, prompt, net, size_hw)
        session.obj_with_new_inputs = [prompt.obj_id for prompt in here]
        net(session, frame_idx=frame_idx)
    return session


def _add(session: Any, prompt: Prompt, net: Any, size_hw: tuple[int, int]) -> None:
    side = net.prompt_encoder.input_image_size
    obj_idx = session.obj_id_to_idx(prompt.obj_id)
    if prompt.mask_hw is not None:
        mask = torch.from_numpy(prompt.mask_hw).float()[None, None]
        mask = F.interpolate(mask, size=(side, side), mode="bilinear", antialias=True)
        session.add_mask_inputs(obj_idx, prompt.frame_idx, (mask >= 0.5).float())
        return
    points = list(prompt.points_xy_px)
    labels = list(prompt.point_labels)
    if prompt.box_xyxy_px is not None:
        points = [prompt.box_xyxy_px[:2], prompt.box_xyxy_px[2:], *points]
        labels = [2, 3, *labels]
    scaled = torch.tensor(points, dtype=torch.float32) / torch.tensor([size_hw[1], size_hw[0]])
    inputs = {
        "point_coords": (scaled * side)[None, None],
        "point_labels": torch.tensor([[labels]], dtype=torch.int32),
    }
    session.add_point_inputs(obj_idx, prompt.frame_idx, inputs)


def run_session(
    net: Any,
    pixels_n3hw: Tensor,
    prompts: tuple[Prompt, ...],
    size_hw: tuple[int, int],
    *,
    reverse: bool = False,
) -> Any:
    """A session in which all frames were tracked, or all before the first prompt."""
    session = new_session(net, pixels_n3hw, prompts, size_hw)
    for _ in net.propagate_in_video_iterator(session, reverse=reverse):
        pass
    return session


def logits_of(session: Any) -> dict[tuple[int, int], Tensor]:
    """Low-resolution logits by frame and object."""
    return {at: out["pred_masks"][0, 0] for at, out in _outputs(session)}


def memories_of(session: Any) -> dict[tuple[int, int], tuple[Tensor, Tensor, float]]:
    """What is remembered, by frame and object: spatial memory, pointer, score."""
    return {
        at: (
            out["maskmem_features"],
            out["object_pointer"].flatten(),
            out["object_score_logits"].item(),
        )
        for at, out in _outputs(session)
    }


def _outputs(session: Any) -> Iterator[tuple[tuple[int, int], Any]]:
    for obj_idx, held in session.output_dict_per_obj.items():
        obj_id = session.obj_idx_to_id(obj_idx)
        for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
            for frame_idx, out in held[kind].items():
                yield (frame_idx, obj_id), out


def take_masks_as_meta_does(net: Any) -> None:
    """Let a mask prompt's memory and pointer be made as in Meta's code.

    The memory is made from the low-resolution logits, and the pointer is the token of the single
    mask. transformers makes the one from the mask at full size, and takes the best of three tokens.
    """
    theirs = type(net)._use_mask_as_output
    single = type(net)._single_frame_forward

    def use_mask_as_output(self: Any, *args: Any) -> Any:
        self._single_frame_forward = lambda **kwargs: single(self, **kwargs, multimask_output=False)
        try:
            out = theirs(self, *args)
        finally:
            del self._single_frame_forward
        size = (self.image_size, self.image_size)
        out.high_res_masks = F.interpolate(out.pred_masks, size=size, mode="bilinear")
        return out

    net._use_mask_as_output = MethodType(use_mask_as_output, net)


def pixels_of(model: Any, frames: np.ndarray) -> Tensor:
    """Frames as Longtake prepares them."""
    return torch.cat([model.preprocess(frame[None]) for frame in frames])
