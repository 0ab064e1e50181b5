"""SAM 3's memory: frames on which the object was seen well, and their pointers."""

import math
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import Self

from samcore.errors import InputError
from samcore.tracking.memory.policy import (
    Bound,
    Holds,
    Json,
    Need,
    NumMaskmem,
    Read,
    Seen,
)
from samcore.tracking.memory.sam2 import Sam2Policy, ranked, readable_ptrs


class Sam3Options(NumMaskmem):
    """The constants of `sam3`."""

    memory_iou: float = Field(default=0.01, ge=0, le=1)
    """A frame was seen well if its predicted IoU, times how sure the object is there, is above
    this."""
    cond_frames: int = Field(default=4, ge=1, le=1024)
    """Conditioning frames of a step, the closest ones."""


@dataclass(frozen=True, slots=True)
class Sam3Policy(Sam2Policy):
    """Remembers the last frames on which the object was seen well, and the very last frame.

    A frame counts as `2 * sigmoid(score) - 1`, 0 where the object is absent, times its predicted
    IoU. The list that a step looks at has the last 15 frames that count more than `memory_iou`, and
    the last frame. Spatial memories are those of the last 6 of the list. Pointers are those of all
    but its oldest. Positions and ages count ranks in the list.

    At most 4 conditioning frames are read: the closest before and after, then others by distance.
    Their pointers have their true age. The first one has no privilege here.

    Whatever the video's length it holds 7 tracked frames with spatial memory, 16 pointers of
    tracked frames, and of the conditioning frames that lie back the last 4. A frame costs the same
    however long the object has been lost.

    Source: `frame_filter` and `_prepare_memory_conditioned_features` in
    `sam3_tracker_base.py:508-557`, github.com/facebookresearch/sam3 at 99d02f2. On purpose it
    differs in these points:

    - Each object is judged by itself. Upstream takes the mean over all objects that began on the
      same frame, so that one's absence drops the other's memories.
    - A last frame that was prompted takes no slot, as it is a conditioning frame; upstream leaves
      its slot empty.

    That the list's oldest pointer is never read looks like an oversight upstream, and is kept.
    """

    Options: ClassVar = Sam3Options

    options: Sam3Options
    good: tuple[int, ...] = ()
    """Tracked frames held on which the object was seen well, ascending."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"scores"})

    @property
    def bound(self) -> Bound:
        return Bound(self._num_cond + self._num_slots + 1, self._num_cond + self._most_good + 1)

    def kept(self, frame_idx: int, seen: Seen | None, chosen: int) -> Self:
        if seen is None:
            raise ValueError("this policy has to see what is kept")
        sure = 2 / (1 + math.exp(-seen.score)) - 1 if seen.score > 0 else 0.0
        is_good = sure * max(seen.ious_m) > self.options.memory_iou
        return replace(
            self,
            good=(*self.good, frame_idx) if is_good else self.good,
            tracked=(*self.tracked, frame_idx),
        )

    def read(self, frame_idx: int) -> Read:
        if not self.cond:
            raise InputError(f"no prompt to track from at {frame_idx = }; add one first")
        selected = self._closest(frame_idx)
        spatial = [(t, 0) for t in selected] + self._tracked_slots(frame_idx, frozenset())
        pointers = [(t, frame_idx - t) for t in readable_ptrs(selected, frame_idx, self.limits)]
        newest_first = self._frames(frame_idx)[::-1]
        ages = range(1, min(self._max_age, len(newest_first) - 1) + 1)
        pointers += [(newest_first[age - 1], age) for age in ages]
        return Read(tuple(spatial), tuple(pointers))

    def forget(self, next_frame: int) -> Self:
        past = [t for t in self.cond if t < next_frame]
        dropped = set(past[: -self._num_cond])
        return replace(
            self,
            cond=tuple(t for t in self.cond if t not in dropped),
            tracked=tuple(t for t in self.tracked if t == next_frame - 1),
            good=self.good[-self._most_good :],
            next_frame=next_frame,
        )

    def holds(self) -> Holds:
        kept = frozenset(self.cond) | frozenset(self.tracked)
        return Holds(
            spatial=kept | frozenset(self.good[-self._num_slots :]),
            pointers=kept | frozenset(self.good),
        )

    def dump(self) -> Json:
        return {**Sam2Policy.dump(self), "good": list(self.good)}

    @classmethod
    def _fields(cls, state: Json) -> dict[str, Any]:
        return {**Sam2Policy._fields(state), "good": tuple(map(int, state["good"]))}

    def _closest(self, frame_idx: int) -> list[int]:
        """The conditioning frames that a step reads, ascending."""
        before = [t for t in self.cond if t < frame_idx]
        after = [t for t in self.cond if t >= frame_idx]
        by_distance = sorted(self.cond, key=lambda t: (abs(t - frame_idx), t))
        wanted = dict.fromkeys([*before[-1:], *after[:1], *by_distance])
        return sorted(list(wanted)[: self._num_cond])

    def _frames(self, frame_idx: int) -> list[int]:
        """The list that a step looks at, ascending."""
        good = self.good[-self._most_good :]
        return [*good, *({frame_idx - 1} & set(self.tracked) - set(good))]

    def _tracked_slots(self, frame_idx: int, recent: Set[int]) -> list[tuple[int, int]]:
        return ranked(self._frames(frame_idx)[-self._num_slots :], self.limits)

    @property
    def _most_good(self) -> int:
        return max(self._max_age, self._num_slots)

    @property
    def _num_cond(self) -> int:
        return min(self.options.cond_frames, self.limits.max_cond_frames)
