"""Objects that are gone for long: they leave the tracked ones, are looked for, and return.

What happens to an object on a frame:

    tracked   its mask is empty for the N-th time in a row    it retires; its policy and memories go
    retired   a prompt is on this frame                       it returns, with the prompt's mask
    retired   the frame is a multiple of K, and it is found   it returns, with the mask found
    retired   too many others have retired since              it is given up for good

A retired object has its keepsakes, as conditioning frames of a policy that knows nothing else; the
masks and memories of its prompts ahead; and nothing of the frames on which it was absent. All of
that lies in main memory. All retired objects are looked for at once, as many in a batch as others.
Frame numbers are those of the video, and what is needed is in the state: cuts change nothing.
"""

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from samcore.config import RetirementRules
from samcore.masks.frame_masks import FrameMasks
from samcore.tracking.keepsakes import Keepsakes
from samcore.tracking.memory.policy import Json, MemoryPolicy
from samcore.tracking.memory.store import FrameMemory, MemoryStore
from samcore.tracking.propagation import ObjectOutput, seen_again
from samcore.tracking.tracked_object import TrackedObject

_MAIN_MEMORY = torch.device("cpu")


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What a frame does to the objects, worked out before any of it is done."""

    returned: dict[int, TrackedObject] = field(default_factory=dict)
    """In place of the retired ones, before the frame goes into memory."""
    keepsakes: dict[int, Keepsakes] = field(default_factory=dict)
    """After the frame."""
    retired: dict[int, TrackedObject] = field(default_factory=dict)
    """In place of the tracked ones, after the frame went into memory."""
    dropped: tuple[int, ...] = ()
    """Objects that are given up on this frame."""


class Retirement:
    """Who retires, who is looked for, and who is found again."""

    def __init__(
        self,
        rules: RetirementRules | None,
        new_policy: MemoryPolicy,
        bank_device: torch.device,
    ) -> None:
        """Nobody is given up yet.

        Args:
            rules: None if objects do not retire.
            new_policy: The policy of an object without memory.
            bank_device: Where the memories of tracked objects lie.
        """
        self.given_up: frozenset[int] = frozenset()
        """Objects that retired and are not looked for any more, nor remembered."""
        self._rules = rules
        self._new_policy = new_policy
        self._bank_device = bank_device

    def sought(
        self, objects: Mapping[int, TrackedObject], frame_idx: int, *, at_once: bool = False
    ) -> list[int]:
        """The objects that are looked for on a frame; `at_once` on any, not only now and then."""
        if self._rules is None or (frame_idx % self._rules.look_every and not at_once):
            return []
        return [
            obj_id
            for obj_id, obj in objects.items()
            if obj.retired_at is not None and frame_idx not in obj.outputs
        ]

    def promising(self, outputs: Mapping[int, ObjectOutput]) -> set[int]:
        """Of the objects that were looked for, those whose scores suffice. One copy from the
        device for all of them."""
        rules = self._rules
        if rules is None or not outputs:
            return set()
        scores = torch.stack([output.score for output in outputs.values()])
        ious = torch.stack([output.predicted_iou for output in outputs.values()])
        numbers = torch.stack([scores, ious], dim=1).cpu().tolist()
        return {
            obj_id
            for obj_id, (score, iou) in zip(outputs, numbers, strict=True)
            if score > rules.found_score and iou >= rules.found_iou
        }

    def settled(
        self, masks: FrameMasks, objects: Mapping[int, TrackedObject], promising: Collection[int]
    ) -> FrameMasks:
        """The masks without those of objects that are not found after all, and with the numbers of
        those that are gone.

        Args:
            masks: Of the tracked objects, and of those that are promising.
            objects: All of them before the frame.
            promising: Retired objects whose masks may be something else's.
        """
        if self._rules is None:
            return masks
        candidates = [i for i, obj_id in enumerate(masks.obj_ids) if obj_id in promising]
        places = [i for i, obj_id in enumerate(masks.obj_ids) if obj_id not in promising]
        for i in sorted(candidates, key=lambda i: (-masks.object_scores_n[i], masks.obj_ids[i])):
            others = [masks.masks_nhw[place] for place in places]
            if _is_its_own(masks.masks_nhw[i], others, self._rules.found_overlap):
                places.append(i)
        if len(places) < len(masks.obj_ids):
            places.sort()
            masks = replace(
                masks,
                obj_ids=tuple(masks.obj_ids[place] for place in places),
                masks_nhw=masks.masks_nhw[places],
                object_scores_n=masks.object_scores_n[places],
                predicted_ious_n=masks.predicted_ious_n[places],
                prompted_n=masks.prompted_n[places],
            )
        gone = {obj_id for obj_id, obj in objects.items() if obj.retired_at is not None}
        return replace(
            masks,
            retired=tuple(sorted(gone - set(masks.obj_ids))),
            given_up=tuple(sorted(self.given_up - set(masks.obj_ids))),
        )

    def changes(
        self,
        objects: Mapping[int, TrackedObject],
        masks: FrameMasks,
        memories: Mapping[int, FrameMemory],
    ) -> Changes:
        """What a frame does to the objects. Nothing is changed: it can fail for want of memory.

        Args:
            objects: All of them before the frame.
            masks: The frame's, settled.
            memories: What is to be remembered of the frame, of all but objects whose prompt on it
                was encoded before.
        """
        rules, frame_idx = self._rules, masks.frame_idx
        found = Changes()
        if rules is None:
            return found
        for row, obj_id in enumerate(masks.obj_ids):
            obj = objects.get(obj_id)
            memory = memories.get(obj_id)
            if memory is None:
                memory = objects[obj_id].store.memory(frame_idx).to(self._bank_device)
            kept = Keepsakes() if obj is None else obj.keepsakes.to(self._bank_device)
            is_shown = bool(masks.masks_nhw[row].any())
            if masks.prompted_n[row]:
                kept = kept.after_prompt(memory, is_shown=is_shown)
            else:
                iou = float(masks.predicted_ious_n[row])
                kept = kept.after_step(memory, rules, is_shown=is_shown, predicted_iou=iou)
            found.keepsakes[obj_id] = kept
            if obj is None:
                continue
            if obj.retired_at is not None:
                found.returned[obj_id] = _returned(obj, self._bank_device)
            elif kept.absent >= rules.after:
                found.retired[obj_id] = self._retired(obj, kept, frame_idx)
        gone = {
            obj_id: obj
            for obj_id, obj in {**objects, **found.retired}.items()
            if obj.retired_at is not None and obj_id not in found.returned and not obj.outputs
        }
        oldest_first = sorted(gone, key=lambda obj_id: (gone[obj_id].retired_at or 0, obj_id))
        too_many = max(0, len(oldest_first) - rules.archive_size)
        return replace(found, dropped=tuple(oldest_first[:too_many]))

    def take(
        self, objects: MutableMapping[int, TrackedObject], changes: Changes, masks: FrameMasks
    ) -> None:
        """Do what a frame does to the objects, once it is in their memories."""
        for obj_id, kept in changes.keepsakes.items():
            objects[obj_id].keepsakes = kept
        objects.update(changes.retired)
        for obj_id in changes.dropped:
            del objects[obj_id]
        self.given_up = (self.given_up - set(masks.obj_ids)) | set(changes.dropped)

    def dump(self) -> Json:
        """The rules, for the state; nothing if objects do not retire."""
        return {} if self._rules is None else self._rules.model_dump(mode="json")

    def _retired(self, obj: TrackedObject, kept: Keepsakes, frame_idx: int) -> TrackedObject:
        """The object with what remains of it after `frame_idx`."""
        kept = kept.to(_MAIN_MEMORY)
        ahead = {t: output for t, output in obj.outputs.items() if t > frame_idx}
        memories = [*kept, *(obj.store.memory(t).to(_MAIN_MEMORY) for t in sorted(ahead))]
        store, policy = MemoryStore(), self._new_policy
        for memory in memories:
            store.add(memory)
            output = ahead.get(memory.frame_idx)
            seen = None if output is None else seen_again(output, policy.needs)
            policy = policy.prompted(memory.frame_idx, seen)
        return TrackedObject(
            policy, obj.begins, store, ahead, keepsakes=kept, retired_at=frame_idx + 1
        )


def _returned(obj: TrackedObject, bank_device: torch.device) -> TrackedObject:
    """A retired object as one that is tracked."""
    store = MemoryStore()
    for memory in obj.store:
        store.add(memory.to(bank_device))
    return TrackedObject(obj.policy, obj.begins, store, dict(obj.outputs), obj.keepsakes)


def _is_its_own(
    mask_hw: NDArray[np.bool_], others: Collection[NDArray[np.bool_]], most: float
) -> bool:
    """Whether there is a mask, and none of the others is much the same."""
    area = int(np.count_nonzero(mask_hw))
    for other_hw in others:
        inter = int(np.count_nonzero(mask_hw & other_hw))
        if inter > most * (area + int(np.count_nonzero(other_hw)) - inter):
            return False
    return area > 0
