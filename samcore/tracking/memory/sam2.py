"""SAM 2's own memory: prompted frames, the last six masks, the last fifteen pointers."""

from dataclasses import dataclass, replace

from samcore.errors import InputError
from samcore.tracking.memory.policy import Holds, Json, MemoryLimits, Need, Read, Seen


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

    limits: MemoryLimits
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
    def new(cls, limits: MemoryLimits) -> "Sam2Policy":
        return cls(limits)

    def prompted(self, frame_idx: int, seen: Seen | None) -> "Sam2Policy":
        return replace(self, cond=tuple(sorted({*self.cond, frame_idx})))

    def kept(self, frame_idx: int, seen: Seen | None, chosen: int) -> "Sam2Policy":
        return replace(self, tracked=(*self.tracked, frame_idx))

    def choose(self, frame_idx: int, seen: Seen) -> int:
        """The mask with the highest predicted IoU; of equal ones the first."""
        return seen.ious_m.index(max(seen.ious_m))

    def read(self, frame_idx: int) -> Read:
        if not self.cond:
            raise InputError(f"no prompt to track from at {frame_idx = }; add one first")
        limits = self.limits
        selected = self._select_cond(frame_idx)
        # A conditioning frame that was not selected still counts as a tracked one where it is
        # recent enough.
        recent = set(self.tracked) | (set(self.cond) - set(selected))
        spatial = [(t, 0) for t in selected]
        for age in range(limits.num_maskmem - 1, 0, -1):
            if frame_idx - age in recent:
                spatial.append((frame_idx - age, limits.num_maskmem - age))
        pointers = [t for t in selected if t <= frame_idx or limits.future_ptrs]
        if limits.max_obj_ptrs <= 1:
            pointers = []
        pointers += [
            frame_idx - age for age in range(1, limits.max_obj_ptrs) if frame_idx - age in recent
        ]
        return Read(tuple(spatial), tuple((t, frame_idx - t) for t in pointers))

    def forget(self, next_frame: int) -> "Sam2Policy":
        limits = self.limits
        past = [t for t in self.cond if t < next_frame]
        dropped = {t for t in past[1 : -limits.max_cond_frames] if next_frame - t > limits.horizon}
        return replace(
            self,
            cond=tuple(t for t in self.cond if t not in dropped),
            tracked=tuple(t for t in self.tracked if next_frame - t <= limits.horizon),
            next_frame=next_frame,
        )

    def holds(self) -> Holds:
        newest = self.next_frame - self.limits.num_maskmem
        return Holds(
            spatial=frozenset(self.cond) | {t for t in self.tracked if t > newest},
            pointers=frozenset(self.cond) | frozenset(self.tracked),
        )

    def dump(self) -> Json:
        return {
            "cond": list(self.cond),
            "tracked": list(self.tracked),
            "next_frame": self.next_frame,
        }

    @classmethod
    def load(cls, limits: MemoryLimits, state: Json) -> "Sam2Policy":
        return cls(
            limits,
            cond=tuple(map(int, state["cond"])),
            tracked=tuple(map(int, state["tracked"])),
            next_frame=int(state["next_frame"]),
        )

    def _select_cond(self, frame_idx: int) -> list[int]:
        """The first conditioning frame, the closest before and after, then others by distance."""
        frames = list(self.cond)
        limit = self.limits.max_cond_frames
        if len(frames) <= limit:
            return frames
        before = [t for t in frames if t < frame_idx]
        after = [t for t in frames if t >= frame_idx]
        by_distance = sorted(frames, key=lambda t: (abs(t - frame_idx), t))
        wanted = dict.fromkeys([frames[0], *before[-1:], *after[:1], *by_distance])
        return sorted(list(wanted)[:limit])
