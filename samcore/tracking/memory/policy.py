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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from samcore.errors import InputError
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
    origin: int = 0
    """The number of the video's frame 0, from which multiples are counted: the last one where time
    runs backward."""

    @property
    def horizon(self) -> int:
        """A tracked frame that lies back further than this is never read by SAM 2's own rule."""
        return max(self.num_maskmem, self.max_obj_ptrs) - 1

    @classmethod
    def of(
        cls,
        facts: ModelFacts,
        *,
        max_cond_frames: int,
        num_frames: int | None,
        backward: bool = False,
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
            origin=(num_frames or 1) - 1 if backward else 0,
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
    boxes_m4: tuple[tuple[float, float, float, float], ...] | None = None
    """Edges of each mask as parts of the picture's sides, left, top, right, bottom; zeros for an
    empty mask. Not in pixels: the size of masks may change within a run. Needs `boxes`."""
    masks_mhw: NDArray[np.bool_] | None = None
    """Low-resolution masks. Needs `masks`."""


class PolicyOptions(BaseModel):
    """A policy's constants: none. A policy that has some names a subclass as its `Options`.

    Each has a default and a line that says what it does. All of them are in the key of a run and in
    the tracker's state.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def slots(self, limits: MemoryLimits) -> int:
        """Spatial memories of one step: a prompted frame and tracked ones.

        Raises:
            InputError: The model has no temporal positions for that many.
        """
        return limits.num_maskmem


class NumMaskmem(PolicyOptions):
    """The constants of a policy that can read fewer spatial memories than the model could."""

    num_maskmem: int = Field(default=0, ge=0, le=64)
    """Spatial memories of a step, 2 or more, a prompted frame's included; 0: as many as the model
    was trained with. Fewer are quicker to attend to, and hold less memory."""

    def slots(self, limits: MemoryLimits) -> int:
        if self.num_maskmem == 0:
            return limits.num_maskmem
        if not 2 <= self.num_maskmem <= limits.num_maskmem:
            raise InputError(
                f"num_maskmem: wanted 2 to {limits.num_maskmem}, which this model was trained "
                f"with, or 0 for that; got {self.num_maskmem}"
            )
        return self.num_maskmem


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that is held of an object whatever the video's length.

    Prompted frames that lie ahead are not counted: there are as many as there are prompts.
    """

    spatial: int
    """Spatial memories."""
    pointers: int
    """Pointers, those beside a spatial memory included."""


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
    any later step reads, and no more than `bound`; `load(dump())` goes on as if nothing had
    happened; `dump` stays within a few kilobytes whatever the video's length; the same calls give
    the same answers, also where `forget` was not called.
    """

    Options: ClassVar[type[PolicyOptions]]
    """Its constants."""

    @property
    def needs(self) -> frozenset[Need]:
        """What `prompted`, `choose` and `kept` want to see. Where it is empty they get None, the
        mask with the highest predicted IoU is taken, and nothing waits for the device."""

    @property
    def present_above(self) -> float:
        """An object whose score is not above this is absent."""

    @property
    def bound(self) -> Bound:
        """The most that `holds` names."""

    def prompted(self, frame_idx: int, seen: Seen | None) -> Self:
        """The policy once a prompted frame is in the store; the frame may lie ahead.

        Nothing is seen of a memory of another video (`warm_start`), which has a frame number before
        this video, nor of one of long ago that is put back into the store when the object returns
        that it shows; that one may also be a tracked frame. Neither says where the object is.
        """

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
    def new(cls, limits: MemoryLimits, options: Any) -> Self:
        """The policy of an object that has no memory yet.

        Args:
            limits: Of the model and the video.
            options: Of the class `Options`.

        Raises:
            InputError: The model cannot be used with these options.
        """

    @classmethod
    def load(cls, limits: MemoryLimits, options: Any, state: Json) -> Self:
        """The policy that `dump` was taken of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry(Entry):
    """A memory policy. Its home is a class that is a `MemoryPolicy`."""

    version: int = 1
    """Goes up when the same frames would give other masks or another state."""

    @property
    def title(self) -> str:
        """Name and version, as states have them."""
        return f"{self.name} {self.version}"


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
        PolicyEntry(
            name="sam2-stride",
            about="looks further back: the last frame, then every second one, or every STRIDE-th",
            home="samcore.tracking.memory.stride:StridePolicy",
        ),
        PolicyEntry(
            name="recent",
            about="a hard cut: prompted frames and the last few, as forks do; to compare with",
            home="samcore.tracking.memory.recent:RecentPolicy",
        ),
        PolicyEntry(
            name="samurai",
            about="SAMURAI: the mask that moves as expected, memories of good frames only",
            home="samcore.tracking.memory.samurai:SamuraiPolicy",
        ),
        PolicyEntry(
            name="dam",
            about="DAM4SAM: keeps the frames on which something else looked like the object",
            home="samcore.tracking.memory.dam:DamPolicy",
        ),
        PolicyEntry(
            name="sam3",
            about="SAM 3's: frames on which the object was seen well, pointers with them",
            home="samcore.tracking.memory.sam3:Sam3Policy",
        ),
    ],
)
"""The policies, by name."""


def check_policy_fits(name: str, values: Mapping[str, object], num_maskmem: int) -> None:
    """Hold a policy's constants against a model that is not built yet.

    Args:
        name: Of the policy.
        values: Some of its options.
        num_maskmem: `ModelFacts.num_maskmem`.

    Raises:
        InputError: The model cannot be used with them.
    """
    limits = MemoryLimits(num_maskmem=num_maskmem, max_obj_ptrs=1, max_cond_frames=1)
    policy_options(name, values).slots(limits)


def policy_options(name: str, values: Mapping[str, object]) -> PolicyOptions:
    """The constants of a policy, as given or else by default.

    Args:
        name: Of the policy.
        values: Some of its options.

    Raises:
        InputError: There is no such policy or option, or a value is out of range.
    """
    options: type[PolicyOptions] = POLICIES.get(name).load().Options
    try:
        return options.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "extra_forbidden":
            known = ", ".join(options.model_fields) or "it has none"
            raise InputError(
                f"unknown option of the memory policy {name}: got {first['loc'][0]}; known: {known}"
            ) from error
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"option {where} of the memory policy {name}: {first['msg'].lower()}, "
            f"got {first['input']!r}"
        ) from error
