"""One tracked object: its memory, and the outputs of its prompted frames ahead."""

from dataclasses import dataclass, field, replace

import torch

from samcore.tracking.memory.sam2 import FrameMemory, MemoryBank, MemoryLimits
from samcore.tracking.propagation import ObjectOutput
from samcore.tracking.state import CondOutput, ObjectState


@dataclass(slots=True)
class TrackedObject:
    """An object's memory, and the outputs of its prompted frames ahead."""

    bank: MemoryBank
    outputs: dict[int, ObjectOutput] = field(default_factory=dict)

    def has_begun(self, frame_idx: int) -> bool:
        return any(memory.frame_idx <= frame_idx for memory in self.bank.cond)

    def is_tracked(self, frame_idx: int) -> bool:
        """Whether memory gives this frame's mask: the object has begun and has no prompt here."""
        return self.has_begun(frame_idx) and not self.bank.is_cond(frame_idx)

    def state(self, obj_id: int) -> ObjectState:
        """What is known of the object, for a file or another tracker. Tensors are not copied."""
        return ObjectState(
            obj_id=obj_id,
            cond=self.bank.cond,
            tracked=self.bank.tracked,
            outputs=tuple(
                CondOutput(
                    frame_idx=frame_idx,
                    logits_11hw=output.logits_11hw,
                    score=output.score.item(),
                    predicted_iou=output.predicted_iou.item(),
                )
                for frame_idx, output in sorted(self.outputs.items())
            ),
        )

    @classmethod
    def of(
        cls,
        saved: ObjectState,
        limits: MemoryLimits,
        *,
        device: torch.device,
        bank_device: torch.device,
    ) -> "TrackedObject":
        """The object that was saved, with its memories on `bank_device`."""
        obj = cls(MemoryBank(limits))
        for memory in saved.cond:
            obj.bank.add_cond(_to_device(memory, bank_device))
        for memory in saved.tracked:
            obj.bank.add_tracked(_to_device(memory, bank_device))
        for output in saved.outputs:
            obj.outputs[output.frame_idx] = ObjectOutput(
                logits_11hw=output.logits_11hw.to(device),
                score=torch.tensor(output.score, device=device),
                predicted_iou=torch.tensor(output.predicted_iou, device=device),
            )
        return obj


def _to_device(memory: FrameMemory, device: torch.device) -> FrameMemory:
    maskmem = memory.maskmem_1chw
    return replace(
        memory,
        maskmem_1chw=None if maskmem is None else maskmem.to(device),
        obj_ptr_1c=memory.obj_ptr_1c.to(device),
    )
