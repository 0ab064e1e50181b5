"""What a benchmark says: measurements, what was left out, and what follows from them."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from samcore.errors import InputError

OBJECTS = (1, 2, 4, 8, 16)
"""Numbers of objects, by default."""
MOST_OBJECTS = 200
"""More the synthetic video does not have."""
SECONDS = 2.0
"""For one measurement, by default."""
FORMAT = 1
"""Of the JSON; goes up when a field changes its meaning."""

PREPROCESSING = "preprocessing"
ENCODER = "image encoder"
ATTENTION = "memory attention"
DECODER = "mask decoder"
MEMORY = "memory encoder"
RESIZING = "mask resizing"
RUN_LENGTHS = "run lengths"
DECODING = "video decoding"
WHOLE = "whole tracking"
IMAGES = "images"

PER_FRAME = (PREPROCESSING, ENCODER)
"""Stages that a frame goes through once, whatever it shows."""
PER_OBJECT = (ATTENTION, DECODER, MEMORY, RESIZING, RUN_LENGTHS)
"""Stages whose time goes with the number of objects."""
STAGES = (DECODING, *PER_FRAME, *PER_OBJECT, WHOLE, IMAGES)
"""All, in the order in which they are measured. `whole tracking` is a frame from its pixels to the
run lengths of all masks; `images` is preprocessing and image encoder in batches."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Machine(_Part):
    """Where it was measured."""

    cpu: str
    """The processor's name, as the system has it."""
    device: str
    """Where the models ran, such as `NVIDIA L4 (cuda:0)`."""
    cores: int
    """Those that this process may run on."""
    threads: int
    """Those that torch computes with."""
    ram_bytes: int
    """Main memory."""
    longtake: str
    """Longtake's version."""
    torch: str
    """torch's version."""


class Measured(_Part):
    """One stage for one number of objects or pictures."""

    stage: str
    """One of `STAGES`."""
    objects: int | None = None
    """Objects that are tracked; None for stages that they do not touch."""
    batch: int = 1
    """Frames or pictures that go through at once."""
    ms: float = Field(gt=0)
    """Milliseconds a frame or picture: the median of the runs, each of which has one or more."""
    least_ms: float = Field(gt=0)
    """The fastest run."""
    runs: int = Field(ge=1)
    """How often it was timed."""
    flops: int = Field(ge=0)
    """Floating-point operations of matrix products, convolutions and attention, a frame or picture;
    a multiplication and an addition are two. 0 where there are none."""
    of_limit: float | None = None
    """These operations in a second over those of the machine's fastest matrix product: 1 is the
    limit. None without operations, or if nothing may be concluded."""
    memories: int | None = None
    """Of whole tracking: spatial memories that each object had. Fewer than the model's number is
    less work than later frames make."""
    peak_rss_bytes: int
    """The most main memory that the process held meanwhile."""
    peak_vram_bytes: int | None
    """The most memory of tensors on CUDA devices; None without."""


class LeftOut(_Part):
    """A measurement that was not made."""

    stage: str
    """One of `STAGES`."""
    objects: int | None = None
    """As of `Measured`."""
    batch: int = 1
    """As of `Measured`."""
    reason: str
    """Why, for a person."""


class Setup(_Part):
    """One model at one size in one arithmetic, and what was measured of it."""

    model: str
    """Its name, as `--model` takes it."""
    image_size: int
    """Side of its square input in pixels."""
    dtype: str
    """Its arithmetic."""
    weights_bytes: int
    """Size of its weights; 0 if nobody knows."""
    num_maskmem: int
    """Spatial memories of an object once there have been enough frames."""
    encode_batch: int
    """Frames that tracking encodes at once by default."""
    matrix_flops_per_s: float | None = None
    """Operations a second of the fastest large matrix product in this arithmetic."""
    measured: tuple[Measured, ...] = ()
    """In the order of `STAGES`."""
    left_out: tuple[LeftOut, ...] = ()
    """What would have taken too long, or did not fit."""

    def find(
        self, stage: str, *, objects: int | None = None, batch: int | None = None
    ) -> Measured | None:
        """A measurement; None if it was not made."""
        for one in self.measured:
            if (one.stage, one.objects) == (stage, objects) and batch in (None, one.batch):
                return one
        return None


class Busyness(_Part):
    """What else the machine did while it was measured."""

    others_cores: float
    """Cores that other processes kept busy on average, of those that this one may run on."""
    cores: int
    """How many these are."""
    slowdown: float
    """How many times as long one and the same matrix product took at its slowest time."""
    reason: str
    """Why nothing may be concluded, for a person; empty on a quiet machine."""


class Choice(_Part):
    """What to take for a wanted number of frames a second."""

    objects: int
    """For so many objects."""
    wanted_fps: float
    """Frames a second that are wanted."""
    reached: bool
    """Whether any of the setups reaches that; else this is the fastest one."""
    fps: float
    """What it gives."""
    estimated: bool
    """Whether that is put together from stages: of whole tracking with another batch, or before
    the memory was full."""
    model: str
    """What to track with, and so are the next three."""
    image_size: int
    """Side of the model's input in pixels."""
    dtype: str
    """Its arithmetic."""
    encode_batch: int
    """Frames that are encoded at once (`TrackSettings.encode_batch`)."""


class BenchRecord(_Part):
    """All of a benchmark."""

    format: int = FORMAT
    """`FORMAT` of the version that wrote it."""
    machine: Machine
    """Where."""
    frame_width: int
    """Of the frames, in pixels."""
    frame_height: int
    """Of the frames, in pixels."""
    complete: bool
    """Whether all was measured; False if somebody stopped it."""
    busyness: Busyness
    """Whether the machine was quiet."""
    setups: tuple[Setup, ...]
    """What was measured of each."""
    choices: tuple[Choice, ...] = ()
    """For each number of objects, if a number of frames a second was wanted and the machine was
    quiet."""


def check_objects(objects: Iterable[int]) -> list[int]:
    """Numbers of objects to measure with, ascending.

    Raises:
        InputError: There is none, or one is out of its range.
    """
    counts = sorted(set(objects))
    if not counts or counts[0] < 1 or counts[-1] > MOST_OBJECTS:
        raise InputError(
            f"numbers of objects are from 1 to {MOST_OBJECTS}, got "
            f"{','.join(map(str, counts)) or 'none'}"
        )
    return counts
