"""One step of tracking: a prompt into memory, or memories into the next masks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from samcore.machine.transfer import send
from samcore.models.family import (
    AttendedMemory,
    Candidates,
    DecodedMasks,
    ImageFeatures,
    TrackingModel,
)
from samcore.prompts.prompt import Prompt
from samcore.tracking.memory.policy import MemoryPolicy, Need, Read, Seen
from samcore.tracking.memory.store import FrameMemory, MemoryStore
from samcore.tracking.numbers import check_numbers, finite
from samcore.tracking.seen import see

_MAX_PRIOR_LOGIT = 32.0
"""The package clamps a mask that clicks correct to this (`add_new_points_or_box`)."""
_NOBODY: Mapping[int, MemoryPolicy] = {}


@dataclass(frozen=True, slots=True, eq=False)
class ObjectOutput:
    """One object's mask on one frame, on the device."""

    logits_11hw: Tensor
    """Low-resolution mask logits, 1 x 1 x H/4 x W/4 of the model's input, float32."""
    score: Tensor
    """Object-score logit, one float32."""
    predicted_iou: Tensor
    """In [0, 1], one float32."""
    seen: Seen | None = None
    """What the memory policy saw of the frame, if it wants to see anything."""
    chosen: int = 0
    """Which of the candidates in `seen` the mask is."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedBatch:
    """Some objects on one frame: their masks, before they go into memory."""

    frame_idx: int
    obj_ids: tuple[int, ...]
    decoded: DecodedMasks
    """A row for each object, and for each stand-in."""
    seen: Sequence[Seen | None]
    chosen: Sequence[int]
    rows: Sequence[int]
    """The row of each object; the others are nobody's."""

    def outputs(self) -> dict[int, ObjectOutput]:
        """The masks of each object."""
        return {
            obj_id: ObjectOutput(
                logits_11hw=self.decoded.logits_b1hw[row : row + 1],
                score=self.decoded.score_b1[row, 0].float(),
                predicted_iou=self.decoded.ious_b[row],
                seen=self.seen[row],
                chosen=self.chosen[row],
            )
            for row, obj_id in zip(self.rows, self.obj_ids, strict=True)
        }

    def memories(self, maskmem: Tensor, bank_device: torch.device) -> dict[int, FrameMemory]:
        """What is to be remembered of each object.

        Args:
            maskmem: From `encode_memory`, a row for each.
            bank_device: Where memories are kept.
        """
        maskmem = maskmem.to(bank_device)
        obj_ptr_bc = self.decoded.obj_ptr_bc.to(bank_device)
        return {
            obj_id: FrameMemory(
                frame_idx=self.frame_idx,
                maskmem=maskmem[row : row + 1],
                obj_ptr_1c=obj_ptr_bc[row : row + 1],
                score=self.decoded.score_b1[row, 0].float(),
                predicted_iou=self.decoded.ious_b[row],
            )
            for row, obj_id in zip(self.rows, self.obj_ids, strict=True)
        }


def encode_prompt(
    model: TrackingModel,
    features: ImageFeatures,
    prompt: Prompt,
    *,
    height: int,
    width: int,
    bank_device: torch.device,
    needs: Set[Need] = frozenset(),
) -> tuple[FrameMemory, ObjectOutput]:
    """Turn a prompt into a conditioning frame's memory and masks. No other frame is looked at.

    Of several candidates the one with the highest predicted IoU is taken, whatever the policy; a
    policy that `needs` something sees that one.

    Follows `SAM2VideoPredictor.add_new_points_or_box`, `add_new_mask` and
    `propagate_in_video_preflight` (sam2 1.1.0) for a frame that was not tracked before.

    Raises:
        ModelError: The model gives no numbers.
    """
    decoded = _decode_prompt(model, features, prompt, (height, width))
    maskmem = model.encode_memory(features, decoded, is_cond=True)
    check_numbers(model, [finite(decoded, maskmem)], where=f"frame {prompt.frame_idx}")
    seen = see(_only_candidate(decoded), needs)
    batch = DecodedBatch(prompt.frame_idx, (prompt.obj_id,), decoded, seen, (0,), (0,))
    memories = batch.memories(maskmem, bank_device)
    return memories[prompt.obj_id], batch.outputs()[prompt.obj_id]


def mask_of_prompt(
    model: TrackingModel, features: ImageFeatures, prompt: Prompt, *, height: int, width: int
) -> ObjectOutput:
    """The masks that `encode_prompt` gives, to the bit, without the memory: for a person who waits.

    Raises:
        ModelError: The model gives no numbers.
    """
    decoded = _decode_prompt(model, features, prompt, (height, width))
    check_numbers(model, [finite(decoded)], where=f"frame {prompt.frame_idx}")
    batch = DecodedBatch(prompt.frame_idx, (prompt.obj_id,), decoded, (None,), (0,), (0,))
    return batch.outputs()[prompt.obj_id]


def propagate(
    model: TrackingModel,
    features: ImageFeatures,
    frame_idx: int,
    remembered: Mapping[int, tuple[MemoryPolicy, MemoryStore]],
    *,
    object_batch: int,
    max_ptr_age: int,
    bank_device: torch.device,
    memory_pool: int = 1,
    stand_ins: Mapping[int, MemoryPolicy] = _NOBODY,
) -> dict[int, tuple[FrameMemory, ObjectOutput]]:
    """Track objects into a frame. Nothing is changed: what fails here can be tried again.

    Args:
        remembered: Policy and memories of each object, by `obj_id`; all of one kind of policy.
        object_batch: Most objects in a batch.
        max_ptr_age: The age that normalises the pointers' temporal encoding.
        bank_device: Where memories are kept.
        memory_pool: As `AttendedMemory.pool`.
        stand_ins: As `TrackedObject.stand_in` gives them, of objects that have one.

    Returns:
        For each object what is to be remembered of the frame, and its masks.

    Raises:
        ModelError: The model gives no numbers.
    """
    steps: dict[int, tuple[FrameMemory, ObjectOutput]] = {}
    are_finite: list[Tensor] = []
    for batch in decode_batches(
        *(model, features, frame_idx, remembered),
        object_batch=object_batch,
        max_ptr_age=max_ptr_age,
        memory_pool=memory_pool,
        stand_ins=stand_ins,
    ):
        maskmem = model.encode_memory(features, batch.decoded, is_cond=False)
        are_finite.append(finite(batch.decoded, maskmem))
        memories, outputs = batch.memories(maskmem, bank_device), batch.outputs()
        steps |= {obj_id: (memories[obj_id], outputs[obj_id]) for obj_id in batch.obj_ids}
    check_numbers(model, are_finite, where=f"frame {frame_idx}")
    return steps


def decode_batches(
    model: TrackingModel,
    features: ImageFeatures,
    frame_idx: int,
    remembered: Mapping[int, tuple[MemoryPolicy, MemoryStore]],
    *,
    object_batch: int,
    max_ptr_age: int,
    memory_pool: int = 1,
    stand_ins: Mapping[int, MemoryPolicy] = _NOBODY,
) -> Iterator[DecodedBatch]:
    """The masks that memory gives objects on a frame, batch by batch, none of it remembered yet.

    Objects that read the same memory slots run as one batch. Which ones share a batch follows from
    their policies alone, never from where a chunk began. The arguments are those of `propagate`.
    """
    groups: dict[tuple[object, ...], list[tuple[int, Read | None]]] = defaultdict(list)
    for obj_id in sorted({*remembered, *stand_ins}):
        if obj_id in remembered:
            read = remembered[obj_id][0].read(frame_idx)
            alone = obj_id if obj_id in stand_ins else None
            groups[read.shape, alone].append((obj_id, read))
        if obj_id in stand_ins:
            # A row's bits depend on how many rows its batch has, and not on what is in the others.
            groups[stand_ins[obj_id].read(frame_idx).shape, None].append((obj_id, None))
    for group in groups.values():
        for start in range(0, len(group), object_batch):
            members = group[start : start + object_batch]
            rows = [row for row, (_, read) in enumerate(members) if read is not None]
            if not rows:
                continue
            # Rows that are nobody's have what the first object has.
            places = [row if row in rows else rows[0] for row in range(len(members))]
            obj_ids = [members[row][0] for row in places]
            reads = [found for row in places if (found := members[row][1]) is not None]
            policies = [remembered[obj_id][0] for obj_id in obj_ids]
            memory = _gather(
                [remembered[obj_id][1] for obj_id in obj_ids],
                *(reads, max_ptr_age, memory_pool, model.device),
            )
            fused = model.with_memory(features, memory)
            candidates = model.decode(fused, features, is_cond=False)
            seen = see(candidates, policies[0].needs)
            index_b, chosen = _choose(policies, candidates, seen, frame_idx)
            decoded = model.pick(candidates, index_b, present_above=policies[0].present_above)
            own = tuple(obj_ids[row] for row in rows)
            yield DecodedBatch(frame_idx, own, decoded, seen, chosen, rows)


def decode_boxes(
    model: TrackingModel,
    features: ImageFeatures,
    boxes_xyxy_px: Sequence[tuple[float, float, float, float]],
    *,
    size_hw: tuple[int, int],
    object_batch: int,
) -> Tensor:
    """The masks that the model sees in boxes, N x h x w logits; no memory is looked at.

    Args:
        boxes_xyxy_px: Left, top, right, bottom in pixels of the video; one or more.
        size_hw: Height and width of the video.
        object_batch: Most boxes at once.
    """
    scale = torch.tensor([size_hw[1], size_hw[0]])
    corners_n22 = torch.tensor(boxes_xyxy_px, dtype=torch.float32).reshape(-1, 2, 2) / scale
    corners_n22 = send(corners_n22 * model.facts.image_size, model.device)
    fused = model.without_memory(features)
    logits = []
    for start in range(0, len(corners_n22), object_batch):
        corners_b22 = corners_n22[start : start + object_batch]
        count = len(corners_b22)
        labels_b2 = send(torch.tensor([[2, 3]] * count, dtype=torch.int32), model.device)
        candidates = model.decode(
            fused if count == 1 else fused.repeat_interleave(count, dim=0),
            features,
            is_cond=True,
            points_bp2=corners_b22,
            labels_bp=labels_b2,
        )
        logits.append(model.pick(candidates, candidates.ious_bm.argmax(dim=1)).logits_b1hw[:, 0])
    return torch.cat(logits)


def _choose(
    policies: Sequence[MemoryPolicy],
    candidates: Candidates,
    seen: Sequence[Seen | None],
    frame_idx: int,
) -> tuple[Tensor, list[int]]:
    """Which candidate is each object's, int64 on the device; and the same on the host, where of a
    policy that sees nothing nobody asks which one was taken."""
    chosen = [
        policy.choose(frame_idx, what)
        for policy, what in zip(policies, seen, strict=True)
        if what is not None
    ]
    if not chosen:
        return candidates.ious_bm.argmax(dim=1), [0] * len(policies)
    return send(torch.tensor(chosen), candidates.ious_bm.device), chosen


def _decode_prompt(
    model: TrackingModel, features: ImageFeatures, prompt: Prompt, size_hw: tuple[int, int]
) -> DecodedMasks:
    if prompt.mask_hw is None:
        return _decode_clicks(model, features, prompt, size_hw, None)
    decoded = model.mask_to_output(features, prompt.mask_hw)
    if prompt.points_xy_px:
        prior = decoded.logits_b1hw.clamp(-_MAX_PRIOR_LOGIT, _MAX_PRIOR_LOGIT)
        decoded = _decode_clicks(model, features, prompt, size_hw, prior)
    return decoded


def _decode_clicks(
    model: TrackingModel,
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
    scaled = send(scaled * model.facts.image_size, model.device)
    candidates = model.decode(
        model.without_memory(features),
        features,
        is_cond=True,
        points_bp2=scaled[None],
        labels_bp=send(torch.tensor([labels], dtype=torch.int32), model.device),
        prior_logits_b1hw=prior_logits_11hw,
    )
    return model.pick(candidates, candidates.ious_bm.argmax(dim=1))


def _gather(
    stores: Sequence[MemoryStore],
    reads: Sequence[Read],
    max_ptr_age: int,
    pool: int,
    device: torch.device,
) -> AttendedMemory:
    """Stack the memories of a batch of objects, slot by slot, on the device that computes."""
    positions, num_ptrs = reads[0].shape
    spatial = [[read.spatial[slot][0] for read in reads] for slot in range(len(positions))]
    ptrs = [[read.pointers[slot] for read in reads] for slot in range(num_ptrs)]
    # Memories are bfloat16 whatever the model computes in, and autocast to float16 joins none.
    with torch.autocast(device.type, enabled=False):
        return AttendedMemory(
            maskmem_bchw=[
                send(
                    torch.cat([store.maskmem(t) for store, t in zip(stores, frames, strict=True)]),
                    device,
                )
                for frames in spatial
            ],
            temporal_positions=positions,
            obj_ptr_bc=[
                send(
                    torch.cat(
                        [store.obj_ptr(t) for store, (t, _) in zip(stores, slot, strict=True)]
                    ),
                    device,
                )
                for slot in ptrs
            ],
            ptr_ages=[[age for _, age in slot] for slot in ptrs],
            max_ptr_age=max_ptr_age,
            pool=pool,
        )


def seen_again(output: ObjectOutput, needs: Set[Need]) -> Seen | None:
    """What a policy saw of a prompted frame when the prompt was encoded, from the mask alone."""
    iou, score = output.predicted_iou.reshape(1, 1), output.score.reshape(1, 1)
    candidates = Candidates(output.logits_11hw, iou, tokens_bkc=iou[..., None], score_b1=score)
    return see(candidates, needs)[0]


def _only_candidate(decoded: DecodedMasks) -> Candidates:
    """Masks that were decided on, as candidates among which there is no choice."""
    return Candidates(
        decoded.logits_b1hw, decoded.ious_b[:, None], decoded.obj_ptr_bc[:, None], decoded.score_b1
    )
