"""A policy and its store, put through frames as the tracker does it, without a model."""

import numpy as np
import torch

from samcore.tracking.memory.policy import MemoryPolicy, Seen
from samcore.tracking.memory.store import FrameMemory, MemoryStore


def memory(frame_idx: int) -> FrameMemory:
    """A memory that can be told from others."""
    return FrameMemory(
        frame_idx,
        torch.full((1, 2, 1, 1), frame_idx),
        torch.full((1, 4), frame_idx),
        torch.tensor(1.0),
        torch.tensor(0.9),
    )


def some_sight(rng: np.random.Generator) -> Seen:
    """What a policy may see of a frame: three masks of which each may be empty."""
    masks_mhw = np.zeros((3, 16, 16), dtype=np.bool_)
    boxes = []
    for mask_hw in masks_mhw:
        left, top = (int(n) for n in rng.integers(0, 12, 2))
        if rng.random() < 0.2:
            boxes.append((0, 0, 0, 0))
            continue
        mask_hw[top : top + 4, left : left + 4] = True
        boxes.append((left, top, left + 3, top + 3))
    return Seen(
        ious_m=tuple(float(x) for x in rng.random(3)),
        score=float(rng.normal(1.0, 4.0)),
        boxes_m4=tuple(boxes),
        masks_mhw=masks_mhw,
    )


class Remembered:
    """One object's policy and memories."""

    def __init__(self, policy: MemoryPolicy, *, prune: bool = True) -> None:
        self.policy = policy
        self.store = MemoryStore()
        self._prune = prune
        self._prompted: set[int] = set()

    def prompt(self, frame_idx: int, seen: Seen | None = None) -> None:
        """Encode a prompt, which may lie ahead."""
        self.store.add(memory(frame_idx))
        self.policy = self.policy.prompted(frame_idx, seen if self.policy.needs else None)
        self._prompted.add(frame_idx)

    def step(self, frame_idx: int, seen: Seen | None = None) -> int:
        """Pass a frame: track it, unless it was prompted. Gives which candidate was chosen."""
        chosen = 0
        if frame_idx not in self._prompted:
            if self.policy.needs and seen is not None:
                chosen = self.policy.choose(frame_idx, seen)
            self.store.add(memory(frame_idx))
            known = seen if self.policy.needs else None
            self.policy = self.policy.kept(frame_idx, known, chosen)
        if self._prune:
            self.policy = self.policy.forget(frame_idx + 1)
            self.store.keep_only(self.policy.holds())
        return chosen

    def read_frames(self, frame_idx: int) -> tuple[list[int], list[int]]:
        """The frames whose tensors a step reads, as the tensors themselves tell it."""
        read = self.policy.read(frame_idx)
        return (
            [int(self.store.maskmem(t).flatten()[0]) for t, _ in read.spatial],
            [int(self.store.obj_ptr(t)[0, 0]) for t, _ in read.pointers],
        )
