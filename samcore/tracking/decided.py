"""Between the decoder and the memory encoder: masks on the host, and as they were decided on."""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samcore.detectors.detector import Detection
from samcore.identities.association import Decisions, crowded_out
from samcore.identities.config import AssociationConfig
from samcore.identities.ledger import Ledger
from samcore.identities.overlap import blanked, cleaned
from samcore.identities.sightings import Sighting, distinct
from samcore.machine.transfer import send
from samcore.models.family import DecodedMasks, ImageFeatures, TrackingModel
from samcore.prompts.prompt import Prompt
from samcore.tracking.memory.policy import Need
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.numbers import check_numbers, finite
from samcore.tracking.propagation import (
    DecodedBatch,
    ObjectOutput,
    decode_boxes,
    encode_prompt,
)

_REMEMBERED_SCORE = 10.0
"""Object score with which a detected object's mask goes into memory; minus that if it is empty."""
_NOT_SHOWN_SCORE = -10.0
"""Object score, and logits, of a mask that is not shown."""

Logits = Mapping[int, NDArray[np.float32]]
"""Low-resolution logits on the host, by object."""


def sightings_of(
    model: TrackingModel,
    features: ImageFeatures,
    found: Sequence[Detection],
    config: AssociationConfig,
    *,
    frame_idx: int,
    size_hw: tuple[int, int],
    object_batch: int,
) -> list[Sighting]:
    """Detections with masks: their own, or what the model sees in their boxes.

    Args:
        model: Of the tracker.
        features: Of the frame.
        found: From `likely`.
        config: The constants of association.
        frame_idx: The frame, for an error.
        size_hw: Height and width of the video.
        object_batch: Most boxes at once.

    Raises:
        ModelError: The model gives no numbers.
    """
    boxes = [item.box_xyxy_px for item in found if item.box_xyxy_px is not None]
    decoded: Iterator[NDArray[np.bool_]] = iter(())
    if boxes:
        logits_nhw = decode_boxes(
            model, features, boxes, size_hw=size_hw, object_batch=object_batch
        )
        check_numbers(model, [logits_nhw.isfinite().all()], where=f"frame {frame_idx}")
        decoded = iter((logits_nhw > 0).cpu().numpy())
    side = model.facts.logits_size
    masks = [
        next(decoded) if item.box_xyxy_px is not None else item.region((side, side))
        for item in found
    ]
    return distinct(found, masks, config)


def on_host(
    outputs: Mapping[int, ObjectOutput], detected: Collection[int], *, clean_area: int
) -> tuple[dict[int, ObjectOutput], dict[int, NDArray[np.float32]]]:
    """The outputs and their logits, by ascending id; masks of detected objects are cleaned.

    One copy from the device for all objects.
    """
    if not outputs:
        return {}, {}
    result = {obj_id: outputs[obj_id] for obj_id in sorted(outputs)}
    stacked_nhw = torch.cat([output.logits_11hw[0] for output in result.values()]).float()
    logits = dict(zip(result, stacked_nhw.cpu().numpy(), strict=True))
    for obj_id in sorted(set(detected) & logits.keys()):
        logits_hw = cleaned(logits[obj_id], area=clean_area)
        if logits_hw is not logits[obj_id]:
            logits[obj_id] = logits_hw
            logits_11hw = torch.from_numpy(logits_hw)[None, None]
            device = result[obj_id].logits_11hw.device
            result[obj_id] = replace(result[obj_id], logits_11hw=send(logits_11hw, device))
    return result, logits


def scores_on_host(outputs: Mapping[int, ObjectOutput]) -> dict[int, float]:
    """The object scores; one copy from the device."""
    if not outputs:
        return {}
    scores = torch.stack([output.score for output in outputs.values()]).tolist()
    return dict(zip(outputs, scores, strict=True))


def as_decided(
    outputs: Mapping[int, ObjectOutput], logits: Logits, decisions: Decisions
) -> tuple[dict[int, ObjectOutput], dict[int, NDArray[np.float32]]]:
    """Outputs and logits without objects that were mistakes, and blank where that was decided."""
    left = {i: output for i, output in outputs.items() if i not in decisions.removed}
    kept = {i: logits_hw for i, logits_hw in logits.items() if i not in decisions.removed}
    for obj_id in decisions.blanked:
        kept[obj_id] = blanked(kept[obj_id])
        left[obj_id] = not_shown(left[obj_id])
    return left, kept


def not_shown(output: ObjectOutput) -> ObjectOutput:
    """The output of an object whose mask is not given: absent, and empty."""
    return replace(
        output,
        logits_11hw=output.logits_11hw.clamp(max=_NOT_SHOWN_SCORE),
        score=output.score.clamp(max=_NOT_SHOWN_SCORE),
    )


def encode_sightings(
    model: TrackingModel,
    features: ImageFeatures,
    decisions: Decisions,
    logits: Logits,
    config: AssociationConfig,
    *,
    frame_idx: int,
    size_hw: tuple[int, int],
    bank_device: torch.device,
    needs: Set[Need],
) -> dict[int, tuple[FrameMemory, ObjectOutput]]:
    """Memory and masks of new objects and of those that are anchored, as of prompts.

    Args:
        model: Of the tracker.
        features: Of the frame.
        decisions: On the frame.
        logits: Of all objects that are left.
        config: Whose mask an anchor has.
        frame_idx: The frame.
        size_hw: Height and width of the video.
        bank_device: Where memories are kept.
        needs: Of the memory policy.

    Raises:
        ModelError: The model gives no numbers.
    """
    begun: dict[int, tuple[FrameMemory, ObjectOutput]] = {}
    for obj_id, sighting in sorted((decisions.births | decisions.anchors).items()):
        item = sighting.detection
        if obj_id in decisions.anchors and config.anchor == "track":
            prompt = Prompt(obj_id, frame_idx, mask_hw=logits[obj_id] > 0)
        elif item is None:
            prompt = Prompt(obj_id, frame_idx, mask_hw=sighting.mask_hw)
        else:
            prompt = Prompt(
                obj_id, frame_idx, box_xyxy_px=item.box_xyxy_px, mask_hw=item.enlarged()
            )
        begun[obj_id] = encode_prompt(
            *(model, features, prompt),
            height=size_hw[0],
            width=size_hw[1],
            bank_device=bank_device,
            needs=needs,
        )
    return begun


def encode_decided(
    model: TrackingModel,
    features: ImageFeatures,
    batches: Sequence[DecodedBatch],
    logits: Logits,
    ledger: Ledger,
    config: AssociationConfig,
    *,
    frame_idx: int,
    bank_device: torch.device,
) -> dict[int, FrameMemory]:
    """Put a frame into memory with the masks that were decided on.

    A detected object's mask is that, or an empty one where others have nearly all of its pixels.
    A person's is as it was decoded.

    Args:
        model: Of the tracker.
        features: Of the frame.
        batches: All that was decoded.
        logits: Of all objects that are left, as they were decided on.
        ledger: After the frame.
        config: The constants of association.
        frame_idx: The frame, for an error.
        bank_device: Where memories are kept.

    Raises:
        ModelError: The model gives no numbers.
    """
    crowded = crowded_out(ledger, config, logits)
    into_memory = {
        obj_id: blanked(logits[obj_id]) if obj_id in crowded else logits[obj_id]
        for obj_id in ledger.detected & logits.keys()
    }
    memories: dict[int, FrameMemory] = {}
    are_finite: list[Tensor] = []
    for batch in batches:
        maskmem = model.encode_memory(features, _with_masks(batch, into_memory), is_cond=False)
        are_finite.append(finite(batch.decoded, maskmem))
        memories |= batch.memories(maskmem, bank_device)
    check_numbers(model, are_finite, where=f"frame {frame_idx}")
    return memories


def _with_masks(batch: DecodedBatch, into_memory: Logits) -> DecodedMasks:
    """A batch with these masks in the place of those that were decoded."""
    found = zip(batch.rows, batch.obj_ids, strict=True)
    rows = {row: obj_id for row, obj_id in found if obj_id in into_memory}
    if not rows:
        return batch.decoded
    logits_b1hw, score_b1 = batch.decoded.logits_b1hw.clone(), batch.decoded.score_b1.clone()
    for row, obj_id in rows.items():
        logits_hw = into_memory[obj_id]
        logits_b1hw[row, 0] = torch.from_numpy(logits_hw).to(logits_b1hw.device)
        is_there = bool((logits_hw > 0).any())
        score_b1[row] = _REMEMBERED_SCORE if is_there else -_REMEMBERED_SCORE
    return replace(batch.decoded, logits_b1hw=logits_b1hw, score_b1=score_b1)
