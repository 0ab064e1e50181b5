"""Everything that can change a mask, in one place."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrackSettings(BaseModel):
    """Settings that reach the pixels. Two runs with equal settings give equal masks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device: str = Field(default="auto", title="Device", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """auto, cpu, cuda, cuda:1 or mps; auto takes CUDA, else MPS, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", title="Precision"
    )
    """Arithmetic of the model. auto: bfloat16 where CUDA hardware has it, float16 on older cards,
    float32 elsewhere."""
    encode_batch: int = Field(default=0, title="Frames encoded at once", ge=0, le=256)
    """Frames that the image encoder takes at once; 0 chooses by device. Batches are aligned to
    absolute frame numbers, so that results do not depend on where chunks begin."""
    object_batch: int = Field(default=0, title="Objects at once", ge=0, le=4096)
    """Objects with the same memory layout that run as one batch; 0 chooses by device."""
    max_cond_frames: int = Field(default=16, title="Prompted frames", ge=2, le=1024)
    """Conditioning frames that one object may attend to: the first one and the closest ones.
    Up to this many prompted frames an object's masks are exactly the upstream predictor's."""
    stretch: bool = Field(default=False, title="Stretch")
    """Of a folder's PNG files with 16 bits, use the bits that are in use: data of 12 bits is nearly
    black otherwise. One measure for all frames, taken from all of them."""
    memory_policy: str = Field(default="sam2", title="Memory policy", max_length=64)
    """What is remembered of an object and what is read at the next frame: one of `longtake
    policies`."""
    memory_policy_options: dict[str, bool | int | float | str] = Field(
        default_factory=dict, title="Options of the memory policy", max_length=64
    )
    """Some of the policy's constants by name, in place of its defaults; `longtake policies` lists
    them."""
    fill_hole_area: int = Field(default=0, title="Fill holes", ge=0)
    """Fill background specks of at most this many pixels of the low-resolution mask; 0 is off.
    An output step: memory is made from the unfilled mask."""
