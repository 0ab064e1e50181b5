"""What is known about a video, as a record that can be kept beside its masks."""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

MAX_PLACES = 100
"""Most changes of size or restarts of the clock that are listed."""
_SHOWN_PLACES = 8


def _listed(places: list[str], count: int) -> str:
    """Join the first few, and say how many more there are."""
    shown = places[:_SHOWN_PLACES]
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return ", ".join(shown) + more


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


class SizeChange(BaseModel):
    """A frame from which on the pictures have another size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame: int = Field(ge=0)
    """The first frame of this size."""
    width: int = Field(gt=0)
    """Pixels across as displayed, that is after rotation."""
    height: int = Field(gt=0)
    """Pixels down."""


class VideoPart(BaseModel):
    """One file of a recording that lies in several."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """The file, as it was asked for."""
    digest: str
    """As `VideoInfo.digest`."""
    size_bytes: int
    """Size of the file."""
    frame: int = Field(ge=0)
    """The whole recording's number of its first frame."""
    num_frames: int = Field(gt=0)
    """Frames that a full decode of it gives."""
    start_pts: int
    """When its first frame is shown, in units of the whole recording's time base."""


class VideoInfo(BaseModel):
    """One video: what a full decode found, and beside it what the file's header claims."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """The file or folder, as it was asked for."""
    kind: Literal["video", "images", "stream"]
    """A video file, a folder with one image per frame, or a part of a stream without an end."""
    width: int = Field(gt=0)
    """Pixels across as displayed, that is after rotation; of the largest size if it changes."""
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

    size_changes: tuple[SizeChange, ...] = Field(default=(), max_length=MAX_PLACES + 1)
    """Which sizes the pictures have, from frame 0 on; empty if they have one. All are given at
    `width` and `height`: smaller ones are scaled, and bars fill what another shape leaves."""
    num_size_changes: int = Field(default=0, ge=0)
    """How often the size changes, also where that is more than `size_changes` lists."""
    clock_restarts: tuple[int, ...] = Field(default=(), max_length=MAX_PLACES)
    """Frames at which the recording's clock starts again; times go on from the frame before."""
    parts: tuple[VideoPart, ...] = ()
    """The files of a recording that lies in several, in order; empty for one file. `source` is then
    the first of them."""
    pixel_format: str | None = None
    """ffmpeg's name of how the first frame's pixels lie in memory, such as `yuv420p`; None for a
    folder of images, and where an earlier version has scanned the file."""
    num_clock_restarts: int = Field(default=0, ge=0)
    """How often it does, also where that is more than `clock_restarts` lists."""

    @property
    def is_nearly_black(self) -> bool:
        """Whether pictures of 16 bits use so few of them that little is to be seen in 8."""
        return self.used_bits is not None and self.used_bits <= LOW_BITS

    @property
    def reading(self) -> str | None:
        """Names the way in which changes of size and clock are dealt with; None without any."""
        if not self.size_changes and not self.clock_restarts:
            return None
        return f"{self.width} x {self.height}, {self.num_clock_restarts} restarts"

    @property
    def parts_line(self) -> str | None:
        """Where the files of a recording begin, for people; None of one file."""
        if not self.parts:
            return None
        begins = [f"{part.source} from frame {part.frame}" for part in self.parts]
        return f"one recording in {len(begins)} files: {_listed(begins, len(begins))}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line for each of these that a person should know of."""
        lines = []
        if self.size_changes:
            sizes = [f"{it.width} x {it.height} from frame {it.frame}" for it in self.size_changes]
            lines.append(
                f"the picture's size changes: {_listed(sizes, self.num_size_changes + 1)}; all "
                f"pictures, prompts and masks are at {self.width} x {self.height}, smaller "
                "pictures are scaled, with bars where their shape differs"
            )
        if self.clock_restarts:
            frames = [str(frame) for frame in self.clock_restarts]
            at = _listed(frames, self.num_clock_restarts)
            lines.append(
                f"the recording's clock starts again at frame {at}; "
                "times go on from the frame before"
            )
        return tuple(lines)
