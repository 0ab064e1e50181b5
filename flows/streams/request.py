"""What a person asks of a stream."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.form import Prompts
from samcore.streams.durations import parse_duration
from samcore.tracking.memory.policy import policy_options
from samcore.video.live_source import LiveSource, parse_live_source
from tasks.request.form_fields import HubName, ModelName, shape_form
from tasks.request.places import check_destination, destination_place, validation_line
from tasks.request.shared_fields import as_for_videos
from tasks.settings import load_settings
from tasks.store.locations import S3Location, parse_location

_Duration = Annotated[str, Field(json_schema_extra={"pattern": r"^[0-9]{1,9}(s|m|h|d)$"})]
_NO_LOGIN = "^(?![A-Za-z]+://[^/?]*@)"
"""For the form's schema: Prefect's server refuses an address with a password before it keeps it."""


class WatchRequest(BaseModel):
    """Which stream to watch, what to track in it, and where results go."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra=shape_form, hide_input_in_errors=True
    )

    source: str = Field(
        min_length=1,
        title="Stream",
        json_schema_extra={"pattern": _NO_LOGIN},
        description="rtsp://…, http(s)://….m3u8 (HLS), a device such as /dev/video0; or -: y4m "
        "or, with a size and a rate, raw RGB frames on standard input.",
    )
    prompts: Prompts = Field(
        default=None,
        title="What to track",
        description="Objects with a box, points or a mask each on frame 0, the first one that is "
        "tracked; or a JSON file of them, as a path or s3://bucket/key.",
    )
    automatic: AutomaticPrompts | None = Field(
        default=None,
        title="Find objects",
        description="Track what detectors find, now and whenever something enters; beside prompts, "
        "too.",
    )
    destination: str = Field(
        min_length=1,
        title="Destination",
        description="Folder for the results, made if need be; or s3://bucket/prefix. Each is in a "
        "folder or prefix of its own, named for its beginning, UTC.",
    )
    credentials: str | None = as_for_videos("credentials")
    force: bool = Field(
        default=False,
        title="Begin anew",
        description="Begin anew where another request has left its work; results that are "
        "published stay.",
    )
    roll: _Duration = Field(
        default="1h",
        title="Length of a result",
        description="How much goes into one result, such as 10m, 1h or 1d; cut by the clock, UTC.",
    )
    chunk: _Duration = Field(
        default="30s",
        title="Length of a chunk",
        description="After each chunk there is a place to go on from: a kill costs one at most.",
    )
    drop: Literal["oldest", "newest", "never"] | None = Field(
        default=None,
        title="Frames to drop",
        description="When tracking is too slow: let go of the oldest of the frames that wait, or "
        "of the newest; or never, which only standard input can wait for. The default is oldest; "
        "never for standard input.",
    )
    waiting: int = Field(
        default=8,
        ge=1,
        le=1000,
        title="Frames that wait",
        description="How many frames may wait to be tracked: more bridge a longer pause, and come "
        "later.",
    )
    stall: _Duration = Field(
        default="15s",
        title="Longest silence",
        description="Without a frame for so long, the source is connected to anew.",
    )
    size: str | None = Field(
        default=None,
        title="Size",
        description="WIDTHxHEIGHT of raw frames on standard input, or what a device is asked for.",
    )
    rate: str | None = Field(
        default=None, title="Rate", description="Frames a second of these, such as 25 or 29.97."
    )
    model: ModelName | HubName | None = as_for_videos("model")
    image_size: int | None = as_for_videos("image_size")
    plain_engine: bool = as_for_videos("plain_engine")
    compile: bool = as_for_videos("compile")
    checkpoint: str | None = as_for_videos("checkpoint")
    config: str | None = as_for_videos("config")
    settings: TrackSettings = as_for_videos("settings")
    work_dir: str | None = as_for_videos("work_dir")
    any_mask_path: bool = as_for_videos("any_mask_path")

    @field_validator("destination")
    @classmethod
    def _can_be_written(cls, destination: str) -> str:
        return check_destination(destination)

    @field_validator("roll", "chunk", "stall")
    @classmethod
    def _is_duration(cls, text: str) -> str:
        parse_duration(text)
        return text

    @field_validator("settings")
    @classmethod
    def _goes_frame_by_frame(cls, settings: TrackSettings) -> TrackSettings:
        policy_options(settings.memory_policy, settings.memory_policy_options)
        for name in ("encode_every", "stretch"):
            if getattr(settings, name) != TrackSettings.model_fields[name].default:
                raise ValueError(f"{name} is for videos: leave it out")
        return settings

    @field_validator("work_dir", "checkpoint")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        if value is not None and not isinstance(parse_location(value), Path):
            raise ValueError(f"wanted a path on this machine, got {parse_location(value)}")
        return value

    @model_validator(mode="after")
    def _can_be_watched(self) -> "WatchRequest":
        source = self.live_source
        if self.prompts is None and self.automatic is None:
            raise ValueError(
                "nothing to track: wanted prompts on the first frame, or detectors that find "
                "objects; got none of them"
            )
        if self.automatic is not None and not isinstance(self.automatic.detect_every, int):
            raise ValueError(
                "detectors look at every N-th frame of a stream, whose cuts nobody knows "
                f"beforehand: wanted detect_every N, got {self.automatic.detect_every}"
            )
        if self.drop == "never" and source.is_live:
            raise ValueError(
                f"drop: {source.shown} does not wait: wanted oldest or newest, got never"
            )
        return self

    @property
    def live_source(self) -> LiveSource:
        """Where frames come from."""
        return parse_live_source(self.source, size=self.size, rate=self.rate)

    @property
    def destination_place(self) -> Path | S3Location:
        """Where results go; a path is absolute."""
        return destination_place(self.destination)

    @property
    def work_path(self) -> Path:
        """Where work in progress lies on this machine."""
        if self.work_dir is not None:
            return Path(self.work_dir).expanduser().absolute()
        place = self.destination_place
        return place / ".longtake" if isinstance(place, Path) else load_settings().cache_dir

    @property
    def name(self) -> str:
        """The stream as runs name it."""
        return self.live_source.shown


def validate_watch(**values: object) -> WatchRequest:
    """Build a request; what is wrong with its values is said in one line.

    Raises:
        InputError: Names the field, what it got and what is wanted.
    """
    try:
        return WatchRequest.model_validate(values)
    except ValidationError as error:
        raise InputError(validation_line(error)) from error
