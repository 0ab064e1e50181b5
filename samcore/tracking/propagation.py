"""One step of tracking: a prompt into memory, or memories into the next masks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from samcore.models.sam2.adapter import (
    AttendedMemory,
    DecodedMasks,
    ImageFeatures,
    Sam2Model,
    finite,
)
from samcore.prompts.prompt import Prompt
from samcore.tracking.memory.sam2 import FrameMemory, MemoryBank, MemoryLayout

_MAX_PRIOR_LOGIT = 32.0
"""The package clamps a mask that clicks correct to this (`add_new_points_or_box`)."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectOutput:
    """One object's mask on one frame, on the device."""

    logits_11hw: Tensor
    """Low-resolution mask logits, 1 x 1 x H/4 x W/4 of the model's input, float32."""
    score: Tensor
    """Object-score logit, one float32."""
    predicted_iou: Tensor
    """In [0, 1], one float32."""


def encode_prompt(
    model: Sam2Model,
    features: ImageFeatures,
    prompt: Prompt,
    *,
    height: int,
    width: int,
    bank_device: torch.device,
) -> tuple[FrameMemory, ObjectOutput]:
    """Turn a prompt into a conditioning frame's memory and masks. No other frame is looked at.

    Follows `SAM2VideoPredictor.add_new_points_or_box`, `add_new_mask` and
    `propagate_in_video_preflight` (sam2 1.1.0) for a frame that was not tracked before.

    Raises:
        ModelError: The model gives no numbers.
    """
    if prompt.mask_hw is not None:
        decoded = model.mask_to_output(features, prompt.mask_hw)
        if prompt.points_xy_px:
            prior = decoded.logits_b1hw.clamp(-_MAX_PRIOR_LOGIT, _MAX_PRIOR_LOGIT)
            decoded = _decode_clicks(model, features, prompt, (height, width), prior)
    else:
        decoded = _decode_clicks(model, features, prompt, (height, width), None)
    maskmem = model.encode_memory(features, decoded, is_cond=True)
    model.check_numbers([finite(decoded, maskmem)], frame_idx=prompt.frame_idx)
    maskmem = maskmem.to(bank_device)
    return _split(decoded, maskmem, decoded.obj_ptr_bc.to(bank_device), 0, prompt.frame_idx)


def propagate(
    model: Sam2Model,
    features: ImageFeatures,
    frame_idx: int,
    banks: Mapping[int, MemoryBank],
    *,
    object_batch: int,
    max_ptr_age: int,
    bank_device: torch.device,
) -> dict[int, tuple[FrameMemory, ObjectOutput]]:
    """Track objects into a frame. The banks stay as they are: what fails here can be tried again.

    Objects that read the same memory slots run as one batch. Which ones share a batch follows from
    the banks alone, never from where a chunk began.

    Args:
        banks: Memory of each object, by `obj_id`.
        object_batch: Most objects in a batch.
        max_ptr_age: The age that normalises the pointers' temporal encoding.
        bank_device: Where memories are kept.

    Returns:
        For each object what is to be remembered of the frame, and its masks.

    Raises:
        ModelError: The model gives no numbers.
    """
    groups: dict[tuple[tuple[int, ...], int], list[tuple[int, MemoryLayout]]] = defaultdict(list)
    for obj_id in sorted(banks):
        layout = banks[obj_id].layout(frame_idx)
        groups[layout.shape].append((obj_id, layout))
    steps: dict[int, tuple[FrameMemory, ObjectOutput]] = {}
    are_finite: list[Tensor] = []
    for group in groups.values():
        for start in range(0, len(group), object_batch):
            members = group[start : start + object_batch]
            layouts = [layout for _, layout in members]
            members_banks = [banks[obj_id] for obj_id, _ in members]
            memory = _gather(members_banks, layouts, frame_idx, max_ptr_age, model.device)
            fused = model.with_memory(features, memory)
            decoded = model.decode(fused, features, is_cond=False)
            maskmem = model.encode_memory(features, decoded, is_cond=False)
            are_finite.append(finite(decoded, maskmem))
            maskmem = maskmem.to(bank_device)
            ptrs = decoded.obj_ptr_bc.to(bank_device)
            for row, (obj_id, _) in enumerate(members):
                steps[obj_id] = _split(decoded, maskmem, ptrs, row, frame_idx)
    model.check_numbers(are_finite, frame_idx=frame_idx)
    return steps


def _decode_clicks(
    model: Sam2Model,
    features: ImageFeatures,
    prompt: Prompt,
    size_hw: tuple[int, int],
    prior_logits_11hw: Tensor | None,
) -> DecodedMasks:
    """Decode a box and clicks; a box is two points with labels 2 and 3, before the clicks."""
    points: list[Sequence[float]] = []
    labels: list[int] = []
    if prompt.box_xyxy_px is not None:
        points += [prompt.box_xyxy_px[:2], prompt.box_xyxy_px[2:]]
        labels += [2, 3]
    points += prompt.points_xy_px
    labels += prompt.point_labels
    height, width = size_hw
    # From pixels of the video to the unit square to the model's input, in float32 as upstream.
    scaled = torch.tensor(points, dtype=torch.float32) / torch.tensor([width, height])
    scaled = (scaled * model.image_size).to(model.device)
    return model.decode(
        model.without_memory(features),
        features,
        is_cond=True,
        points_bp2=scaled[None],
        labels_bp=torch.tensor([labels], dtype=torch.int32, device=model.device),
        prior_logits_b1hw=prior_logits_11hw,
    )


def _gather(
    banks: Sequence[MemoryBank],
    layouts: Sequence[MemoryLayout],
    frame_idx: int,
    max_ptr_age: int,
    device: torch.device,
) -> AttendedMemory:
    """Stack the memories of a batch of objects, slot by slot, on the device that computes."""

    def rows(slot: int, kind: str) -> list[int]:
        return [getattr(layout, kind)[slot] for layout in layouts]

    first = layouts[0]
    spatial = [rows(slot, "spatial_frames") for slot in range(len(first.spatial_frames))]
    ptrs = [rows(slot, "ptr_frames") for slot in range(len(first.ptr_frames))]
    return AttendedMemory(
        maskmem_bchw=[
            torch.cat([bank.maskmem(t) for bank, t in zip(banks, frames, strict=True)]).to(device)
            for frames in spatial
        ],
        temporal_positions=first.temporal_positions,
        obj_ptr_bc=[
            torch.cat([bank.obj_ptr(t) for bank, t in zip(banks, frames, strict=True)]).to(device)
            for frames in ptrs
        ],
        ptr_ages=[[frame_idx - t for t in frames] for frames in ptrs],
        max_ptr_age=max_ptr_age,
    )


def _split(
    decoded: DecodedMasks, maskmem_bchw: Tensor, obj_ptr_bc: Tensor, row: int, frame_idx: int
) -> tuple[FrameMemory, ObjectOutput]:
    """One object's row of a batch, as memory and as output."""
    memory = FrameMemory(
        frame_idx=frame_idx,
        maskmem_1chw=maskmem_bchw[row : row + 1],
        obj_ptr_1c=obj_ptr_bc[row : row + 1],
    )
    output = ObjectOutput(
        logits_11hw=decoded.logits_b1hw[row : row + 1],
        score=decoded.score_b1[row, 0].float(),
        predicted_iou=decoded.ious_b[row],
    )
    return memory, output
