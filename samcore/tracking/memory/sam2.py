"""What the tracker remembers of an object, and what it drops."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from samcore.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class FrameMemory:
    """What one frame leaves behind for one object."""

    frame_idx: int
    """Position in the source video, from 0 (never the position in the chunk)."""
    maskmem_1chw: Tensor | None
    """Spatial memory, 1 x 64 x H/16 x W/16, bfloat16; None once only the pointer can be read."""
    obj_ptr_1c: Tensor
    """Object pointer, 1 x C."""


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """How much a bank holds and how far back it is read."""

    num_maskmem: int
    """Spatial memories of one step: a conditioning frame and `num_maskmem - 1` tracked ones."""
    max_obj_ptrs: int
    """Pointers reach back `max_obj_ptrs - 1` frames."""
    max_cond_frames: int
    """Conditioning frames attended to at a step."""
    future_ptrs: bool = False
    """Whether pointers of conditioning frames ahead are read."""

    @property
    def horizon(self) -> int:
        """A tracked frame that lies back further than this is never read again."""
        return max(self.num_maskmem, self.max_obj_ptrs) - 1


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """Which memories are read at a step. Objects with equal `shape` can run as one batch."""

    temporal_positions: tuple[int, ...]
    """For each spatial memory: 0 for a conditioning frame, else `num_maskmem` minus its age."""
    spatial_frames: tuple[int, ...]
    """The frames that these lie at."""
    ptr_frames: tuple[int, ...]
    """The frames whose pointers are read."""

    @property
    def shape(self) -> tuple[tuple[int, ...], int]:
        """What has to be equal in a batch: the slots in use, not the frames that fill them."""
        return self.temporal_positions, len(self.ptr_frames)


class MemoryBank:
    """All that the tracker may attend to for one object.

    Whatever the length of the video it holds at most

    - `horizon` tracked frames (15 for SAM 2), of which the last `num_maskmem - 1` (6) with spatial
      memory, the others with a pointer only;
    - of the conditioning frames that lie back: the first one, the last `max_cond_frames`, and any
      within the horizon;
    - the conditioning frames that lie ahead (encoded in the prompt pass, one a prompted frame).

    The first conditioning frame is never dropped: it is the only one a person vouched for. What is
    dropped can never be read again, so the bank gives exactly what an unbounded one would, as long
    as an object has at most `max_cond_frames` conditioning frames. Beyond that the first and the
    closest are read (SAM 2's own limit, `max_cond_frames_in_attn`, does not favour the first).

    How memory is read, at frame 20 with a conditioning frame at 2 (`num_maskmem=7`,
    `max_obj_ptrs=16`); s is a spatial memory, p a pointer:

        frame    2 ... 5 6 7 ... 13 14 15 16 17 18 19  20
        spatial  s                   s  s  s  s  s  s   ?
        pointer  p     p p p ...  p  p  p  p  p  p  p   ?

    Follows `SAM2Base._prepare_memory_conditioned_features` (sam2 1.1.0).
    """

    def __init__(self, limits: MemoryLimits) -> None:
        self.limits = limits
        self._cond: dict[int, FrameMemory] = {}
        self._tracked: dict[int, FrameMemory] = {}

    @property
    def cond(self) -> tuple[FrameMemory, ...]:
        """Conditioning frames held, by frame."""
        return tuple(self._cond[frame_idx] for frame_idx in sorted(self._cond))

    @property
    def tracked(self) -> tuple[FrameMemory, ...]:
        """Tracked frames held, by frame."""
        return tuple(self._tracked[frame_idx] for frame_idx in sorted(self._tracked))

    def __iter__(self) -> Iterator[FrameMemory]:
        yield from self.cond
        yield from self.tracked

    def is_cond(self, frame_idx: int) -> bool:
        """Whether this frame is a conditioning frame of the object."""
        return frame_idx in self._cond

    def add_cond(self, memory: FrameMemory) -> None:
        """Remember a prompted frame."""
        self._cond[memory.frame_idx] = memory

    def add_tracked(self, memory: FrameMemory) -> None:
        """Remember a frame that was tracked without a prompt."""
        self._tracked[memory.frame_idx] = memory

    def layout(self, frame_idx: int) -> MemoryLayout:
        """Which memories frame `frame_idx` attends to.

        Raises:
            InputError: The object has no conditioning frame.
        """
        if not self._cond:
            raise InputError(f"no prompt to track from at {frame_idx = }; add one first")
        limits = self.limits
        selected = self._select_cond(frame_idx)
        # A conditioning frame that was not selected still counts as a tracked one where it is
        # recent enough.
        recent = self._tracked.keys() | (self._cond.keys() - set(selected))
        positions = [0] * len(selected)
        spatial = list(selected)
        for age in range(limits.num_maskmem - 1, 0, -1):
            if frame_idx - age in recent:
                positions.append(limits.num_maskmem - age)
                spatial.append(frame_idx - age)
        ptrs = [t for t in selected if t <= frame_idx or limits.future_ptrs]
        if limits.max_obj_ptrs <= 1:
            ptrs = []
        ptrs += [frame_idx - a for a in range(1, limits.max_obj_ptrs) if frame_idx - a in recent]
        return MemoryLayout(tuple(positions), tuple(spatial), tuple(ptrs))

    def maskmem(self, frame_idx: int) -> Tensor:
        """The spatial memory of a frame in a layout, 1 x 64 x H/16 x W/16."""
        maskmem = self._at(frame_idx).maskmem_1chw
        if maskmem is None:
            raise LookupError(f"the spatial memory of {frame_idx = } was dropped")
        return maskmem

    def obj_ptr(self, frame_idx: int) -> Tensor:
        """The object pointer of a frame in a layout, 1 x C."""
        return self._at(frame_idx).obj_ptr_1c

    def forget_unreachable(self, next_frame: int) -> None:
        """Drop what no step at `next_frame` or later can read."""
        limits = self.limits
        for frame_idx in list(self._tracked):
            age = next_frame - frame_idx
            if age >= max(limits.max_obj_ptrs, limits.num_maskmem):
                del self._tracked[frame_idx]
            elif age >= limits.num_maskmem:
                memory = self._tracked[frame_idx]
                self._tracked[frame_idx] = replace(memory, maskmem_1chw=None)
        past = sorted(t for t in self._cond if t < next_frame)
        for frame_idx in past[1 : -limits.max_cond_frames]:
            if next_frame - frame_idx > limits.horizon:
                del self._cond[frame_idx]

    def _at(self, frame_idx: int) -> FrameMemory:
        return self._cond.get(frame_idx) or self._tracked[frame_idx]

    def _select_cond(self, frame_idx: int) -> list[int]:
        """The first conditioning frame, the closest before and after, then others by distance."""
        frames = sorted(self._cond)
        limit = self.limits.max_cond_frames
        if len(frames) <= limit:
            return frames
        before = [t for t in frames if t < frame_idx]
        after = [t for t in frames if t >= frame_idx]
        by_distance = sorted(frames, key=lambda t: (abs(t - frame_idx), t))
        wanted = dict.fromkeys([frames[0], *before[-1:], *after[:1], *by_distance])
        return sorted(list(wanted)[:limit])
