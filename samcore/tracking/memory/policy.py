"""What is remembered of an object is a policy's to say; what it says is kept in a store.

A policy is one object's plain numbers and pure rules over frame numbers. It never sees a memory's
tensors: those lie in a `MemoryStore`, by frame, and the policy says which of them a step reads and
which are held. A policy is a value: each method that changes it gives a new one, so a step that
failed for want of memory can be taken again.

A frame's way through a policy:

    read(t)        which memories frame t attends to          -> attention, decoder
    choose(t, .)   which of the decoder's masks is the object -> memory encoder
    kept(t, .)     the policy once frame t is in the store
    forget(t + 1)  the policy without what no later step can use
    holds()        what the store keeps; all else it drops
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from samcore.models.family import ModelFacts
from samcore.registry import Entry, Registry

Json = dict[str, Any]
"""What `json` can write: numbers, strings, lists and dictionaries of them."""

Need = Literal["scores", "boxes", "masks"]
"""What a policy wants to know of a frame's candidates, each with all before it."""


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """How much is read at a step and how far back. The same for a whole run."""

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
        """A tracked frame that lies back further than this is never read by SAM 2's own rule."""
        return max(self.num_maskmem, self.max_obj_ptrs) - 1

    @classmethod
    def of(
        cls, facts: ModelFacts, *, max_cond_frames: int, num_frames: int | None
    ) -> "MemoryLimits":
        """The limits of a model for one video, at most `max_cond_frames` conditioning frames."""
        if facts.max_cond_frames > 0:
            max_cond_frames = min(max_cond_frames, facts.max_cond_frames)
        return cls(
            num_maskmem=facts.num_maskmem,
            # The packages count pointers up to the video's length, if that is shorter.
            max_obj_ptrs=min(num_frames or facts.max_obj_ptrs, facts.max_obj_ptrs),
            max_cond_frames=max_cond_frames,
            future_ptrs=facts.future_ptrs,
        )


@dataclass(frozen=True, slots=True)
class Read:
    """Which memories a step attends to. Objects with equal `shape` can run as one batch."""

    spatial: tuple[tuple[int, int], ...]
    """Frame and temporal position of each: 0 for a conditioning frame, else `num_maskmem` minus
    its age, or minus its rank where a policy counts ranks."""
    pointers: tuple[tuple[int, int], ...]
    """Frame of each pointer, and the age that it is encoded with."""

    @property
    def shape(self) -> tuple[tuple[int, ...], int]:
        """What has to be equal in a batch: the slots in use, not the frames that fill them."""
        return tuple(position for _, position in self.spatial), len(self.pointers)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One object's candidates on one frame, on the host. Only what the policy needs is there."""

    ious_m: tuple[float, ...]
    """Predicted IoU of each of M candidates."""
    score: float
    """Object-score logit."""
    boxes_m4: tuple[tuple[int, int, int, int], ...] | None = None
    """Extent of each mask in pixels of the low-resolution mask, left, top, right, bottom, the last
    pixel included; zeros for an empty mask. Needs `boxes`."""
    masks_mhw: NDArray[np.bool_] | None = None
    """Low-resolution masks. Needs `masks`."""


@dataclass(frozen=True, slots=True)
class Holds:
    """Which frames' memories may still be read."""

    spatial: frozenset[int]
    """Frames whose spatial memory is held; their pointer is, too."""
    pointers: frozenset[int]
    """Frames whose pointer is held."""


class MemoryPolicy(Protocol):
    """The rules of one object's memory, and the numbers that these rules need.

    Laws, which a contract test holds for every entry of `POLICIES`: what `holds` names is all that
    any later step reads; `load(dump())` goes on as if nothing had happened; `dump` stays within a
    few kilobytes whatever the video's length; the same calls give the same answers.
    """

    @property
    def needs(self) -> frozenset[Need]:
        """What `prompted`, `choose` and `kept` want to see. Where it is empty they get None, the
        mask with the highest predicted IoU is taken, and nothing waits for the device."""

    @property
    def present_above(self) -> float:
        """An object whose score is not above this is absent."""

    def prompted(self, frame_idx: int, seen: Seen | None) -> Self:
        """The policy once a prompted frame is in the store; the frame may lie ahead."""

    def read(self, frame_idx: int) -> Read:
        """Which memories frame `frame_idx` attends to.

        Raises:
            InputError: The object has no conditioning frame.
        """

    def choose(self, frame_idx: int, seen: Seen) -> int:
        """Which candidate is the object. Asked only of a policy that needs something."""

    def kept(self, frame_idx: int, seen: Seen | None, chosen: int) -> Self:
        """The policy once a tracked frame is in the store."""

    def forget(self, next_frame: int) -> Self:
        """The policy without what no step at `next_frame` or later can use."""

    def holds(self) -> Holds:
        """The frames whose memories may still be read."""

    def dump(self) -> Json:
        """The numbers that `load` needs; floats come back exactly."""

    @classmethod
    def new(cls, limits: MemoryLimits) -> Self:
        """The policy of an object that has no memory yet."""

    @classmethod
    def load(cls, limits: MemoryLimits, state: Json) -> Self:
        """The policy that `dump` was taken of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry(Entry):
    """A memory policy. Its home is a class that is a `MemoryPolicy`."""

    version: int = 1
    """Goes up when the same frames would give other masks or another state."""


POLICIES = Registry(
    "memory policy",
    "longtake.policies",
    PolicyEntry,
    [
        PolicyEntry(
            name="sam2",
            about="SAM 2's own: prompted frames, the last 6 masks, the last 15 pointers",
            home="samcore.tracking.memory.sam2:Sam2Policy",
        ),
    ],
)
"""The policies, by name."""
