"""What is known about a video, as a record that can be kept beside its masks."""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema


def _to_fraction(value: object) -> Fraction:
    wanted = f"wanted a fraction such as '1/15360', got {value!r}"
    # a float is no exact ratio, whatever it looks like
    if not isinstance(value, Fraction | int | str):
        raise ValueError(wanted)
    try:
        return Fraction(value)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(wanted) from error


def _from_fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


LOW_BITS = 14
"""Pictures of 16 bits of which at most this many are in use are darker than a quarter."""

# pydantic learnt Fraction only in 2.10, and writes whole numbers without a denominator.
Ratio = Annotated[
    Fraction,
    PlainValidator(_to_fraction),
    PlainSerializer(_from_fraction, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+/\d+$", "examples": ["1/15360"]}),
]
"""An exact ratio; in JSON a string such as "30000/1001"."""


class VideoInfo(BaseModel):
    """One video: what a full decode found, and beside it what the file's header claims."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """The file or folder, as it was asked for."""
    kind: Literal["video", "images"]
    """A video file, or a folder with one image per frame."""
    width: int = Field(gt=0)
    """Pixels across as displayed, that is after rotation."""
    height: int = Field(gt=0)
    """Pixels down as displayed, that is after rotation."""
    num_frames: int = Field(gt=0)
    """Frames that a full decode gives."""
    time_base: Ratio
    """Seconds per unit of a pts."""
    avg_rate: Ratio
    """Frames per second: the exact rate where it is constant, else the mean."""
    start_pts: int
    """The first frame's time stamp, which need not be 0."""
    duration_s: float
    """Seconds from the first frame to the end of the last one, by the time stamps found."""
    codec: str
    """ffmpeg's name of the decoder; `jpeg` or `png` for a folder."""
    container: str
    """ffmpeg's name of the container; `folder` for a folder."""
    header_num_frames: int | None
    """How many frames the header claims; None if it does not say or ffprobe is not there."""
    header_duration_s: float | None
    """How many seconds the header claims; None if it does not say."""
    rotation_deg: int
    """Degrees clockwise that the stored picture was turned to be displayed."""
    variable_rate: bool
    """True if the frames are not evenly spaced in time."""
    size_bytes: int
    """Size of the file; of all images together for a folder."""
    digest: str = Field(pattern=r"^(sha256|etag):[0-9a-f]{64}$")
    """SHA-256 of the file; for a folder, of the images' names and contents. Of a file in a store
    that does not know its SHA-256: `etag`, and a digest of what the store has in its place."""
    damaged: str | None
    """What ffmpeg complained of during the full decode; None if it had nothing to say."""
    left_out: str | None = None
    """What a folder holds beside its frames; None if nothing."""
    used_bits: int | None = None
    """Of a folder's pictures with 16 bits a channel, how many bits their brightest value needs;
    None where there are no 16."""

    @property
    def is_nearly_black(self) -> bool:
        """Whether pictures of 16 bits use so few of them that little is to be seen in 8."""
        return self.used_bits is not None and self.used_bits <= LOW_BITS
