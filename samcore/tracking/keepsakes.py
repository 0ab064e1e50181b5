"""What is kept of an object for the case that it goes away: a few memories that show it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from samcore.config import RetirementRules
from samcore.tracking.memory.store import FrameMemory


@dataclass(frozen=True, slots=True, eq=False)
class Keepsakes:
    """The memories by which an object is found again, whatever its policy holds.

    At most `2 + RetirementRules.views` (4), however long the video is. A value: what changes it
    gives a new one.
    """

    prompted: tuple[FrameMemory, ...] = ()
    """Of its first prompted frame, and of the last one that shows it."""
    views: tuple[FrameMemory, ...] = ()
    """Of the last tracked frames that show it well, ascending."""
    absent: int = 0
    """Tracked frames in a row that do not show it, the last one included."""

    @classmethod
    def of_memories(cls, memories: Sequence[FrameMemory]) -> "Keepsakes":
        """Of an object that begins with memories of prompts, ascending: the first and the last."""
        return cls(prompted=(*memories[:1], *memories[1:][-1:]))

    def __iter__(self) -> Iterator[FrameMemory]:
        """All of them, by ascending frame."""
        yield from sorted((*self.prompted, *self.views), key=lambda memory: memory.frame_idx)

    def after_prompt(self, memory: FrameMemory, *, is_shown: bool) -> "Keepsakes":
        """Once a prompted frame has gone by."""
        prompted = self.prompted
        if is_shown or not prompted:
            prompted = (*prompted[:1], memory)
        return replace(self, prompted=prompted, absent=0)

    def after_step(
        self,
        memory: FrameMemory,
        rules: RetirementRules,
        *,
        is_shown: bool,
        predicted_iou: float,
    ) -> "Keepsakes":
        """Once a tracked frame has gone by."""
        if not is_shown:
            return replace(self, absent=self.absent + 1)
        views = self.views
        if memory.frame_idx % rules.view_every == 0 and predicted_iou >= rules.view_iou:
            # Cloned: a row of a batch would keep all of the batch in memory.
            views = (*views, memory.clone())[-rules.views :]
        return replace(self, views=views, absent=0)

    def to(self, device: torch.device) -> "Keepsakes":
        """The same on another device."""
        return replace(
            self,
            prompted=tuple(memory.to(device) for memory in self.prompted),
            views=tuple(memory.to(device) for memory in self.views),
        )
