"""The memories of one object, by frame, as its policy wants them held."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from samcore.tracking.memory.policy import Holds


@dataclass(frozen=True, slots=True, eq=False)
class FrameMemory:
    """What one frame leaves behind for one object."""

    frame_idx: int
    """Position in the source video, from 0 (never the position in the chunk)."""
    maskmem: Tensor | None
    """Spatial memory with a batch axis of 1; SAM 2's is 1 x 64 x H/16 x W/16, bfloat16. None once
    only the pointer can be read."""
    obj_ptr_1c: Tensor
    """Object pointer, 1 x C."""
    score: Tensor
    """Object-score logit, one float32."""
    predicted_iou: Tensor
    """In [0, 1], one float32."""

    def to(self, device: torch.device) -> "FrameMemory":
        """The same memory on another device."""
        return replace(
            self,
            maskmem=None if self.maskmem is None else self.maskmem.to(device),
            obj_ptr_1c=self.obj_ptr_1c.to(device),
            score=self.score.to(device),
            predicted_iou=self.predicted_iou.to(device),
        )

    def clone(self) -> "FrameMemory":
        """The same memory in tensors of its own."""
        return replace(
            self,
            maskmem=None if self.maskmem is None else self.maskmem.clone(),
            obj_ptr_1c=self.obj_ptr_1c.clone(),
            score=self.score.clone(),
            predicted_iou=self.predicted_iou.clone(),
        )


class MemoryStore:
    """All that the tracker may attend to for one object: at most what its policy holds."""

    def __init__(self) -> None:
        self._by_frame: dict[int, FrameMemory] = {}

    def __iter__(self) -> Iterator[FrameMemory]:
        for frame_idx in sorted(self._by_frame):
            yield self._by_frame[frame_idx]

    def __len__(self) -> int:
        return len(self._by_frame)

    def add(self, memory: FrameMemory) -> None:
        """Remember a frame, in the place of an earlier memory of it."""
        self._by_frame[memory.frame_idx] = memory

    def memory(self, frame_idx: int) -> FrameMemory:
        """All that is remembered of a frame."""
        return self._by_frame[frame_idx]

    def maskmem(self, frame_idx: int) -> Tensor:
        """The spatial memory of a frame, with a batch axis of 1."""
        maskmem = self._by_frame[frame_idx].maskmem
        if maskmem is None:
            raise LookupError(f"the spatial memory of {frame_idx = } was dropped")
        return maskmem

    def obj_ptr(self, frame_idx: int) -> Tensor:
        """The object pointer of a frame, 1 x C."""
        return self._by_frame[frame_idx].obj_ptr_1c

    def keep_only(self, holds: Holds) -> None:
        """Drop every memory, and every spatial part, that is not named."""
        for frame_idx in list(self._by_frame):
            if frame_idx in holds.spatial:
                continue
            if frame_idx not in holds.pointers:
                del self._by_frame[frame_idx]
            elif self._by_frame[frame_idx].maskmem is not None:
                self._by_frame[frame_idx] = replace(self._by_frame[frame_idx], maskmem=None)
