"""SAM 2's memory with a temporal stride: it looks further back with as many memories."""

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from samcore.tracking.memory.policy import Bound, NumMaskmem
from samcore.tracking.memory.sam2 import Sam2Policy


class StrideOptions(NumMaskmem):
    """The constants of `sam2-stride`."""

    stride: int = Field(default=2, ge=1, le=1000)
    """Frames from one spatial memory to the next; 1 is SAM 2's own memory."""


@dataclass(frozen=True, slots=True)
class StridePolicy(Sam2Policy):
    """The last frame, then every `stride`-th one: the multiples of `stride` before it.

    At frame 20 with a conditioning frame at 2 and a stride of 3 (`num_maskmem=7`):

        frame    2 ... 6 . . 9 . . 12 . . 15 . . 18 19  20
        spatial  s     s     s     s      s      s  s   ?

    Positions count ranks, not distances. Pointers are of the last 15 frames whatever the stride.
    Frame numbers are those of the video, so it does not matter where a chunk begins. A frame that
    was not tracked leaves its slot empty.

    At most `num_maskmem - 1` (6) tracked frames are held with spatial memory: a frame that is no
    multiple loses it when it is two frames old. Conditioning frames as in `Sam2Policy`.

    Follows `SAM2Base._prepare_memory_conditioned_features` with `memory_temporal_stride_for_eval`
    (github.com/facebookresearch/sam2, sam2 1.1.0).
    """

    Options: ClassVar = StrideOptions

    options: StrideOptions

    @property
    def bound(self) -> Bound:
        # With a prompt on every frame, those in reach of the stride are held beside the last ones.
        cond = 1 + max(self.limits.max_cond_frames, self._max_age) + self._num_slots
        return Bound(cond + self._num_slots, cond + self._max_age + self._num_slots)

    def _tracked_slots(self, frame_idx: int, recent: Set[int]) -> list[tuple[int, int]]:
        stride, most = self.options.stride, self.limits.num_maskmem
        newest = self._multiple_before(frame_idx - 1)
        by_rank = [frame_idx - 1, *(newest - k * stride for k in range(self._num_slots - 1))]
        slots = [(t, most - rank) for rank, t in enumerate(by_rank, start=1) if t in recent]
        return slots[::-1]

    def _reads_spatial(self, tracked: int, next_frame: int) -> bool:
        if tracked == next_frame - 1:
            return True
        stride = self.options.stride
        oldest = self._multiple_before(next_frame - 1) - (self._num_slots - 2) * stride
        return tracked == self._multiple_before(tracked + 1) and tracked >= oldest

    def _multiple_before(self, frame_idx: int) -> int:
        """The last multiple of the stride before a frame, counted from the video's frame 0."""
        stride, origin = self.options.stride, self.limits.origin
        return (frame_idx - 1 - origin) // stride * stride + origin
