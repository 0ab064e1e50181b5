"""One rung of the ladder of smaller batches (`samcore/run/oom_ladder.py`)."""

from pydantic import BaseModel, ConfigDict


class Rung(BaseModel):
    """How much is done at once. A step down the ladder of `OomLadder` changes one of these, or the
    first and the third one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encode_batch: int
    """Frames that the image encoder takes at once."""
    object_batch: int
    """Most objects that run as one batch."""
    detect_batch: int = 1
    """Most that a detector does at once of its work; it becomes smaller with `encode_batch`."""
    bank_on_cpu: bool = False
    """Whether memories are kept in main memory and not on the device."""
    image_size: int
    """Side of the model's input in pixels; only this one changes masks beyond their last bits."""
