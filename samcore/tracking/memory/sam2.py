"""SAM 2's own memory: prompted frames, the last six masks, the last fifteen pointers."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from typing_extensions import Self

from samcore.errors import InputError
from samcore.tracking.memory.policy import (
    Bound,
    Holds,
    Json,
    MemoryLimits,
    Need,
    PolicyOptions,
    Read,
    Seen,
)


@dataclass(frozen=True, slots=True)
class Sam2Policy:
    """What SAM 2's own video predictor reads, and no more than that is held.

    Whatever the length of the video it holds at most

    - `horizon` tracked frames (15 for SAM 2), of which the last `num_maskmem - 1` (6) with spatial
      memory, the others with a pointer only;
    - of the conditioning frames that lie back: the first one, the last `max_cond_frames`, and any
      within the horizon;
    - the conditioning frames that lie ahead (encoded in the prompt pass, one a prompted frame).

    The first conditioning frame is never dropped: it is the only one a person vouched for. What is
    dropped can never be read again, so this gives exactly what an unbounded memory would, as long
    as an object has at most `max_cond_frames` conditioning frames. Beyond that the first and the
    closest are read (SAM 2's own limit, `max_cond_frames_in_attn`, does not favour the first).

    How memory is read, at frame 20 with a conditioning frame at 2 (`num_maskmem=7`,
    `max_obj_ptrs=16`); s is a spatial memory, p a pointer:

        frame    2 ... 5 6 7 ... 13 14 15 16 17 18 19  20
        spatial  s                   s  s  s  s  s  s   ?
        pointer  p     p p p ...  p  p  p  p  p  p  p   ?

    Follows `SAM2Base._prepare_memory_conditioned_features` (sam2 1.1.0).
    """

    Options: ClassVar = PolicyOptions

    limits: MemoryLimits
    options: PolicyOptions
    cond: tuple[int, ...] = ()
    """Conditioning frames held, ascending."""
    tracked: tuple[int, ...] = ()
    """Tracked frames held, ascending."""
    next_frame: int = 0
    """The frame that comes next; what is held follows from it."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    @property
    def present_above(self) -> float:
        return 0.0

    @classmethod
    def new(cls, limits: MemoryLimits, options: Any) -> Self:
        options.slots(limits)
        return cls(limits, options)

    def prompted(self, frame_idx: int, seen: Seen | None) -> Self:
        return replace(self, cond=tuple(sorted({*self.cond, frame_idx})))

    def kept(self, frame_idx: int, seen: Seen | None, chosen: int) -> Self:
        return replace(self, tracked=(*self.tracked, frame_idx))

    def choose(self, frame_idx: int, seen: Seen) -> int:
        """The mask with the highest predicted IoU; of equal ones the first."""
        return seen.ious_m.index(max(seen.ious_m))

    def read(self, frame_idx: int) -> Read:
        limits = self.limits
        selected = select_cond(self.cond, frame_idx, limits.max_cond_frames)
        # A conditioning frame that was not selected still counts as a tracked one where it is
        # recent enough.
        recent = set(self.tracked) | (set(self.cond) - set(selected))
        spatial = [(t, 0) for t in selected]
        spatial += self._tracked_slots(frame_idx, recent)
        pointers = readable_ptrs(selected, frame_idx, limits)
        pointers += [
            frame_idx - age for age in range(1, self._max_age + 1) if frame_idx - age in recent
        ]
        return Read(tuple(spatial), tuple((t, frame_idx - t) for t in pointers))

    def forget(self, next_frame: int) -> Self:
        past = [t for t in self.cond if t < next_frame]
        dropped = {
            t
            for t in past[1 : -self.limits.max_cond_frames]
            if not self._reads_tracked(t, next_frame)
        }
        return replace(
            self,
            cond=tuple(t for t in self.cond if t not in dropped),
            tracked=tuple(t for t in self.tracked if self._reads_tracked(t, next_frame)),
            next_frame=next_frame,
        )

    def holds(self) -> Holds:
        tracked = {t for t in self.tracked if self._reads_spatial(t, self.next_frame)}
        return Holds(
            spatial=frozenset(self.cond) | tracked,
            pointers=frozenset(self.cond) | frozenset(self.tracked),
        )

    @property
    def bound(self) -> Bound:
        cond = 1 + max(self.limits.max_cond_frames, self._num_tracked)
        return Bound(cond + self._num_slots, cond + self._num_tracked)

    def _tracked_slots(self, frame_idx: int, recent: Set[int]) -> list[tuple[int, int]]:
        """The tracked frames whose spatial memory a step reads, oldest first, with positions."""
        most = self.limits.num_maskmem
        return [
            (frame_idx - age, most - age)
            for age in range(self._num_slots, 0, -1)
            if frame_idx - age in recent
        ]

    def _reads_spatial(self, tracked: int, next_frame: int) -> bool:
        """Whether a step at `next_frame` or later can read this tracked frame's spatial memory."""
        return next_frame - tracked <= self._num_slots

    def _reads_tracked(self, tracked: int, next_frame: int) -> bool:
        """Whether a step at `next_frame` or later can read anything of this tracked frame."""
        return next_frame - tracked <= self._max_age or self._reads_spatial(tracked, next_frame)

    @property
    def _num_slots(self) -> int:
        """Tracked frames whose spatial memory a step reads."""
        return self.options.slots(self.limits) - 1

    @property
    def _max_age(self) -> int:
        """Pointers of tracked frames are read up to this age."""
        return self.limits.max_obj_ptrs - 1

    @property
    def _num_tracked(self) -> int:
        """Tracked frames of which anything is held."""
        return max(self._max_age, self._num_slots)

    def dump(self) -> Json:
        return {
            "cond": list(self.cond),
            "tracked": list(self.tracked),
            "next_frame": self.next_frame,
        }

    @classmethod
    def load(cls, limits: MemoryLimits, options: Any, state: Json) -> Self:
        return cls(limits, options, **cls._fields(state))

    @classmethod
    def _fields(cls, state: Json) -> dict[str, Any]:
        """The fields that a state gives."""
        return {
            "cond": tuple(map(int, state["cond"])),
            "tracked": tuple(map(int, state["tracked"])),
            "next_frame": int(state["next_frame"]),
        }


def select_cond(cond: Sequence[int], frame_idx: int, most: int) -> list[int]:
    """Of the conditioning frames the first, the closest before and after, others by distance.

    Args:
        cond: All of them, ascending.
        frame_idx: The frame to track.
        most: How many are selected.

    Raises:
        InputError: There is none.
    """
    if not cond:
        raise InputError(f"no prompt to track from at {frame_idx = }; add one first")
    if len(cond) <= most:
        return list(cond)
    before = [t for t in cond if t < frame_idx]
    after = [t for t in cond if t >= frame_idx]
    by_distance = sorted(cond, key=lambda t: (abs(t - frame_idx), t))
    wanted = dict.fromkeys([cond[0], *before[-1:], *after[:1], *by_distance])
    return sorted(list(wanted)[:most])


def readable_ptrs(selected: Iterable[int], frame_idx: int, limits: MemoryLimits) -> list[int]:
    """The conditioning frames whose pointer is read at a frame, of those that were selected."""
    if limits.max_obj_ptrs <= 1:
        return []
    return [t for t in selected if t <= frame_idx or limits.future_ptrs]


def ranked(frames: Sequence[int], limits: MemoryLimits) -> list[tuple[int, int]]:
    """Tracked frames, oldest first, each with the position of its rank: the newest is as 1 old."""
    return [(t, limits.num_maskmem - len(frames) + i) for i, t in enumerate(frames)]
