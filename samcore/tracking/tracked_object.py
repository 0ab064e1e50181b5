"""One tracked object: its memory, and the masks of its prompted frames ahead."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from samcore.errors import StateError
from samcore.tracking.keepsakes import Keepsakes
from samcore.tracking.memory.policy import Json, MemoryPolicy
from samcore.tracking.memory.store import FrameMemory, MemoryStore
from samcore.tracking.propagation import ObjectOutput
from samcore.tracking.state import CondOutput, ObjectState


@dataclass(slots=True)
class TrackedObject:
    """One object: its memory, and the masks of those prompted frames that lie ahead.

    The tracker computes a prompted frame's masks when it encodes the prompt. That may be long
    before tracking reaches the frame; until then the masks wait in `outputs`.
    """

    policy: MemoryPolicy
    begins: int
    """The object's first prompted frame: before it there are no masks."""
    store: MemoryStore = field(default_factory=MemoryStore)
    outputs: dict[int, ObjectOutput] = field(default_factory=dict)
    """Masks of the prompted frames ahead, by frame."""
    keepsakes: Keepsakes = field(default_factory=Keepsakes)
    """By these it is found again; empty where objects do not retire."""
    retired_at: int | None = None
    """The frame from which on it is only looked for; None while it is tracked."""

    def is_tracked(self, frame_idx: int) -> bool:
        """Whether memory gives this frame's mask: the object has begun and has no prompt here."""
        begun = self.begins <= frame_idx and self.retired_at is None
        return begun and frame_idx not in self.outputs

    def take_prompt(self, memory: FrameMemory, output: ObjectOutput) -> None:
        """Remember a prompted frame, which may lie ahead."""
        self.begins = min(self.begins, memory.frame_idx)
        self.store.add(memory)
        self.outputs[memory.frame_idx] = output
        self.policy = self.policy.prompted(memory.frame_idx, output.seen)

    def take_step(self, memory: FrameMemory, output: ObjectOutput) -> None:
        """Remember a frame that was tracked."""
        self.store.add(memory)
        self.policy = self.policy.kept(memory.frame_idx, output.seen, output.chosen)

    def forget(self, next_frame: int) -> None:
        """Drop what no step at `next_frame` or later can read."""
        if self.retired_at is not None:
            return  # what it has is for whenever it returns
        self.outputs.pop(next_frame - 1, None)
        self.policy = self.policy.forget(next_frame)
        self.store.keep_only(self.policy.holds())

    def state(self, obj_id: int) -> ObjectState:
        """What is known of the object, for a file or another tracker. Tensors are not copied."""
        kept = set() if self.retired_at is None else {one.frame_idx for one in self.keepsakes}
        return ObjectState(
            obj_id=obj_id,
            begins=self.begins,
            memories=tuple(memory for memory in self.store if memory.frame_idx not in kept),
            outputs=tuple(
                CondOutput(
                    frame_idx=frame_idx,
                    logits_11hw=output.logits_11hw,
                    score=output.score.item(),
                    predicted_iou=output.predicted_iou.item(),
                )
                for frame_idx, output in sorted(self.outputs.items())
            ),
            policy=self.policy.dump(),
            keepsakes=self.keepsakes,
            retired_at=self.retired_at,
        )

    @classmethod
    def of(
        cls,
        saved: ObjectState,
        load_policy: Callable[[Json], MemoryPolicy],
        *,
        device: torch.device,
        bank_device: torch.device,
    ) -> "TrackedObject":
        """The object that was saved, with its memories on `bank_device`.

        Raises:
            StateError: The policy cannot read what was saved of it.
        """
        memories = list(saved.memories)
        if saved.retired_at is not None:
            memories += saved.keepsakes
            bank_device = torch.device("cpu")
        held = {memory.frame_idx for memory in memories}
        spatial = {memory.frame_idx for memory in memories if memory.maskmem is not None}
        try:
            policy = load_policy(saved.policy)
            holds = policy.holds()
            missing = (holds.spatial - spatial) | (holds.pointers - held)
            if missing:
                raise ValueError(f"no memory of frame {min(missing)}")
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise StateError(
                f"the memory policy cannot read its state of object {saved.obj_id}: "
                f"{ascii(error)[:200]}; delete the state to track its chunk again"
            ) from error
        obj = cls(policy, saved.begins, keepsakes=saved.keepsakes.to(bank_device))
        obj.retired_at = saved.retired_at
        for memory in memories:
            obj.store.add(memory.to(bank_device))
        for output in saved.outputs:
            obj.outputs[output.frame_idx] = ObjectOutput(
                logits_11hw=output.logits_11hw.to(device),
                score=torch.tensor(output.score, device=device),
                predicted_iou=torch.tensor(output.predicted_iou, device=device),
            )
        return obj
