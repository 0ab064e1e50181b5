"""A hard cut: prompted frames and the last few tracked frames, all else is dropped."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from samcore.tracking.memory.policy import PolicyOptions
from samcore.tracking.memory.sam2 import Sam2Policy


class RecentOptions(PolicyOptions):
    """The constants of `recent`."""

    frames: int = Field(default=6, ge=1, le=1000)
    """Tracked frames that are remembered; the model reads no more than 6 of their masks and 15 of
    their pointers."""


@dataclass(frozen=True, slots=True)
class RecentPolicy(Sam2Policy):
    """SAM 2's memory over fewer frames: a frame's pointer goes with its mask.

    This is what forks of SAM 2 do to long videos: they delete what is older than some frames. With
    15 frames or more it is SAM 2's own memory. It is here to compare others with.

    Of tracked frames at most `frames` are held. Conditioning frames as in `Sam2Policy`: forks
    delete those, too, or let them grow.
    """

    Options: ClassVar = RecentOptions

    options: RecentOptions

    @property
    def _num_slots(self) -> int:
        return min(self.options.frames, self.limits.num_maskmem - 1)

    @property
    def _max_age(self) -> int:
        return min(self.options.frames, self.limits.max_obj_ptrs - 1)
