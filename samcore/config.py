"""Everything that can change a mask, in one place."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

RETIRE_AFTER = 60
"""`TrackSettings.retire_after` where detectors look throughout the video, and nothing else is said:
new objects come all the time, and neither memory nor the time of a frame may grow with them."""


class RetirementRules(BaseModel):
    """When an object retires, what is kept of it, and when it counts as found again.

    All of this is in the key of a run with retirement, and in the tracker's state.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    after: int
    """Tracked frames in a row with an empty mask, after which an object retires."""
    look_every: int = 10
    """Frames from one look for the retired to the next: multiples of this number in the video."""
    archive_size: int = 64
    """Retired objects that are remembered; those with a prompt ahead do not count."""
    views: int = 2
    """Good views that are kept of an object, the newest ones, beside its first prompted frame and
    its last one that shows it."""
    view_every: int = 8
    """A good view is on a multiple of this frame number."""
    view_iou: float = 0.7
    """A good view has a mask with this predicted IoU or more."""
    found_score: float = 0.0
    """An object is found again if its object score (a logit) is above this,"""
    found_iou: float = 0.6
    """if its mask has this predicted IoU or more and is not empty,"""
    found_overlap: float = 0.5
    """and if that mask has at most this IoU with any other object's. Of two retired objects with
    one mask the one with the higher score returns, of equal ones that with the lower id."""


class TrackSettings(BaseModel):
    """Settings that reach the pixels. Two runs with equal settings give equal masks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device: str = Field(default="auto", title="Device", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """auto, cpu, cuda, cuda:1 or mps; auto takes CUDA, else MPS, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", title="Precision"
    )
    """Arithmetic of the model. auto: bfloat16 where CUDA hardware has it, float16 on older cards;
    on a CPU bfloat16 where it has units for that (AMX, AVX512-BF16) and the model is large enough
    to gain; float32 elsewhere. A run that was begun in one goes on in it on any machine."""
    encode_batch: int = Field(default=0, title="Frames encoded at once", ge=0, le=256)
    """Frames that the image encoder takes at once; 0 chooses by device. Batches are aligned to
    absolute frame numbers, so that results do not depend on where chunks begin."""
    object_batch: int = Field(default=0, title="Objects at once", ge=0, le=4096)
    """Objects with the same memory layout that run as one batch; 0 chooses by device and by the
    size of the model's input."""
    max_cond_frames: int = Field(default=16, title="Prompted frames", ge=2, le=1024)
    """Conditioning frames that one object may attend to: the first one and the closest ones.
    Up to this many prompted frames an object's masks are exactly the upstream predictor's."""
    stretch: bool = Field(default=False, title="Stretch")
    """Of a folder's PNG or TIFF files with 16 bits, use the bits that are in use: data of 12 bits
    is nearly black otherwise. One measure for all frames, taken from all of them."""
    memory_policy: str = Field(default="sam2", title="Memory policy", max_length=64)
    """What is remembered of an object and what is read at the next frame: one of `longtake
    policies`."""
    memory_policy_options: dict[str, bool | int | float | str] = Field(
        default_factory=dict, title="Options of the memory policy", max_length=64
    )
    """Some of the policy's constants by name, in place of its defaults; `longtake policies` lists
    them."""
    retire_after: int | None = Field(default=None, title="Retire objects", ge=1)
    """Frames in a row on which an object is absent, after which it retires: it is not tracked any
    more, only looked for, and returns under its old id. A frame's cost then follows the objects
    that are there. The default is never; with detect_every it is 60."""
    look_for_every: int | None = Field(default=None, title="Look for retired objects", ge=1)
    """Frames from one look for retired objects to the next: multiples of this number in the video.
    The default is 10."""
    archive_size: int | None = Field(default=None, title="Retired objects", ge=1)
    """Retired objects that are remembered. Beyond that the one that retired first is given up for
    good, and the result says so. The default is 64."""
    encode_every: int = Field(default=1, title="Encode every N-th frame", ge=1, le=64)
    """Approximate above 1: the image encoder sees only frames whose number is a multiple of this,
    and the frames in between are tracked by the features of the last one of these. Faster, and
    worse the faster things move. Prompted frames are always encoded. The default is exact."""
    memory_pool: int = Field(default=1, title="Pool memory", ge=1, le=2)
    """Approximate at 2: what is remembered of a frame is averaged over squares of 2 x 2 before it
    is attended to, a quarter of the work there. The default is exact. For models of the sam2
    package."""
    fill_hole_area: int = Field(default=0, title="Fill holes", ge=0)
    """Fill background specks of at most this many pixels of the low-resolution mask; 0 is off.
    An output step: memory is made from the unfilled mask."""

    @model_validator(mode="after")
    def _retires_or_does_not(self) -> Self:
        for name in ("look_for_every", "archive_size"):
            if getattr(self, name) is not None and self.retire_after is None:
                raise ValueError(
                    f"{name} needs retire_after, which says when an object retires: give both"
                )
        return self

    @property
    def approximations(self) -> dict[str, int]:
        """The options in use that trade masks for speed; empty for exact tracking."""
        given = {"encode_every": self.encode_every, "memory_pool": self.memory_pool}
        return {name: value for name, value in given.items() if value != 1}

    @property
    def retirement(self) -> RetirementRules | None:
        """The rules by which objects retire; None if they do not."""
        if self.retire_after is None:
            return None
        given = {"look_every": self.look_for_every, "archive_size": self.archive_size}
        chosen = {name: value for name, value in given.items() if value is not None}
        return RetirementRules(after=self.retire_after, **chosen)
