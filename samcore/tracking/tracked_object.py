"""One tracked object: its memory, and the masks of its prompted frames ahead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from samcore.errors import StateError
from samcore.prompts.prompt import Prompt
from samcore.tracking.keepsakes import Keepsakes
from samcore.tracking.memory.policy import Json, MemoryPolicy
from samcore.tracking.memory.store import FrameMemory, MemoryStore
from samcore.tracking.propagation import ObjectOutput, seen_again
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
    ahead: dict[int, FrameMemory] = field(default_factory=dict)
    """Memories of those prompts ahead that hold from their frame on, by frame: no step before it
    reads them. Their masks are in `outputs`."""
    base: MemoryPolicy | None = None
    """Its policy as if no prompt behind held only from its frame on, see `stand_in`; None if none
    does, or if that cannot be known."""

    def is_tracked(self, frame_idx: int) -> bool:
        """Whether memory gives this frame's mask: the object has begun and has no prompt here."""
        begun = self.begins <= frame_idx and self.retired_at is None
        return begun and frame_idx not in self.outputs

    def take_prompt(
        self, memory: FrameMemory, output: ObjectOutput, *, from_here: bool = False
    ) -> None:
        """Remember a prompted frame, which may lie ahead; `from_here`: once it is reached."""
        if from_here:
            self.ahead[memory.frame_idx] = memory
            self.outputs[memory.frame_idx] = output
            return
        self.begins = min(self.begins, memory.frame_idx)
        self.store.add(memory)
        self.outputs[memory.frame_idx] = output
        self.policy = self.policy.prompted(memory.frame_idx, output.seen)

    def take_step(self, memory: FrameMemory, output: ObjectOutput) -> None:
        """Remember a frame that was tracked."""
        self.store.add(memory)
        self.policy = self.policy.kept(memory.frame_idx, output.seen, output.chosen)
        if self.base is not None:
            self.base = self.base.kept(memory.frame_idx, None, 0)

    def stand_in(self, frame_idx: int, *, prompted: bool = False) -> MemoryPolicy | None:
        """What the object reads on a frame as if no prompt held only from its frame on: by that it
        has a place in a batch, though the row there is nobody's. None if it has no such place.

        So the batches of other objects are those of a run without such prompts, to the last bit of
        their masks; the object itself runs alone.

        Args:
            frame_idx: The frame that is tracked.
            prompted: Whether such a prompt is being encoded on this very frame.
        """
        is_here = prompted or frame_idx in self.ahead
        if self.policy.needs or self.begins > frame_idx or not (is_here or self.base):
            return None
        is_given = frame_idx in self.outputs and frame_idx not in self.ahead
        return None if is_given else self.base or self.policy

    def forget(self, next_frame: int) -> None:
        """Drop what no step at `next_frame` or later can read."""
        if self.retired_at is not None:
            return  # what it has is for whenever it returns
        self._reach(next_frame)
        self.outputs.pop(next_frame - 1, None)
        self.policy = self.policy.forget(next_frame)
        if self.base is not None:
            self.base = self.base.forget(next_frame)
        self.store.keep_only(self.policy.holds())

    def _reach(self, next_frame: int) -> None:
        """Have the prompts before `next_frame` that hold from their frame on among the others."""
        for frame_idx in sorted(t for t in self.ahead if t < next_frame):
            if not self.policy.needs:
                self.base = (self.base or self.policy).kept(frame_idx, None, 0)
            seen = seen_again(self.outputs[frame_idx], self.policy.needs)
            self.store.add(self.ahead.pop(frame_idx))
            self.policy = self.policy.prompted(frame_idx, seen)

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
            ahead=tuple(memory for _, memory in sorted(self.ahead.items())),
            base=None if self.base is None else self.base.dump(),
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
            base = None if saved.base is None else load_policy(saved.base)
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
        obj.base = base
        obj.ahead = {memory.frame_idx: memory.to(bank_device) for memory in saved.ahead}
        for output in saved.outputs:
            obj.outputs[output.frame_idx] = ObjectOutput(
                logits_11hw=output.logits_11hw.to(device),
                score=torch.tensor(output.score, device=device),
                predicted_iou=torch.tensor(output.predicted_iou, device=device),
            )
        if not obj.ahead.keys() <= obj.outputs.keys():
            raise StateError(
                f"the state of object {saved.obj_id} has a prompt ahead without its mask; delete "
                "the state to track its chunk again"
            )
        return obj


def stand_ins(
    objects: Mapping[int, TrackedObject], frame_idx: int, prompts: Mapping[int, Prompt]
) -> dict[int, MemoryPolicy]:
    """The places in a frame's batches that are nobody's, see `TrackedObject.stand_in`.

    Args:
        objects: All of them before the frame.
        frame_idx: The frame that is tracked.
        prompts: Those that are being encoded on it, by object.
    """
    found = {
        obj_id: obj.stand_in(frame_idx, prompted=obj_id in prompts and prompts[obj_id].from_here)
        for obj_id, obj in objects.items()
    }
    return {obj_id: policy for obj_id, policy in found.items() if policy is not None}
