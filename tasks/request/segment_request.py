"""What a person asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from samcore.chunks.handoff import HANDOFFS, find_handoff
from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.exports import check_formats
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.form import Prompts
from samcore.tracking.memory.policy import policy_options
from samcore.video import PICTURE_KINDS, VIDEO_FILES
from tasks.request.form_fields import (
    AskedDirection,
    FormatName,
    HandoffName,
    HubName,
    ModelName,
    shape_video_form,
)
from tasks.request.places import (
    absolute_place,
    check_destination,
    destination_place,
    validation_line,
)
from tasks.request.sharing_out import Overlap, Runner, Shards, check_sharing_out
from tasks.request.video_fields import VideoFields
from tasks.settings import load_settings
from tasks.store.locations import (
    ALLOWED_PATTERN,
    HttpsLocation,
    S3Location,
    parse_location,
    refuse_secret_query,
)


class SegmentRequest(VideoFields):
    """What to track in which video, and where the masks go."""

    # The order of the fields is that of the form: as a person thinks, the rarely needed last.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra=shape_video_form,
        # Prefect logs a refused request: an address in it may hold a secret.
        hide_input_in_errors=True,
    )

    source: str = Field(
        min_length=1,
        title="Video",
        json_schema_extra={"pattern": ALLOWED_PATTERN},
        description=f"Video file ({VIDEO_FILES}) as a path, s3://bucket/key or https:// "
        f"address; or the path of a folder of {PICTURE_KINDS} frames.",
    )
    prompts: Prompts = Field(
        default=None,
        title="What to track",
        description="Objects with a box, points or a mask each, typed in here; or a JSON file of "
        "prompts, as a path or s3://bucket/key; or none, if objects are to be found automatically.",
    )
    automatic: AutomaticPrompts | None = Field(
        default=None,
        title="Find objects automatically",
        description="Track what a detector finds on the first frame that shows any objects, or "
        "throughout the video; by default SAM 2's mask generator.",
    )
    warm_start: str | None = Field(
        default=None,
        min_length=1,
        title="Warm start",
        description="Begin with what objects looked like in another video: a file that `longtake "
        "memory` made, or the result that it made it in, as a path or s3:// address. All its "
        "objects are tracked from the first frame on; prompts for their numbers correct them.",
    )
    direction: AskedDirection = "forward"
    start: int = Field(
        default=0, ge=0, title="First frame", description="The first frame to track, from 0."
    )
    stop: int | None = Field(
        default=None,
        ge=1,
        title="Stop before frame",
        description="One past the last frame to track; the default is the video's end.",
    )
    destination: str = Field(
        min_length=1,
        title="Destination",
        description="Folder for the masks, made if need be; or s3://bucket/prefix.",
    )
    credentials: str | None = Field(
        default=None,
        title="Credentials",
        description="Name of the AwsCredentials block for buckets; the default is the worker's own "
        "AWS settings. Never put a key or password into this form.",
    )
    source_version: str | None = Field(
        default=None,
        min_length=1,
        title="Version of the video",
        description="The bucket's name for one version of the video; the default is the present "
        "one. A version that was replaced does not take the place of its successor's result.",
    )
    force: bool = Field(
        default=False,
        title="Replace",
        description="Replace the result of another request at the destination.",
    )
    model: ModelName | HubName | None = Field(
        default=None,
        title="Model",
        description="A name that `longtake models` lists; or hf:ORG/NAME on the Hugging Face hub, "
        "hf:FOLDER for a folder as it has them. Downloaded where need be. Left out: sam2.1-tiny, "
        "where it is on the machine already.",
    )
    image_size: int | None = Field(
        default=None,
        title="Image size",
        description="Side of the model's square input in pixels, a multiple of 32 for SAM 2: "
        "smaller is faster and coarser. The default is the model's own.",
    )
    plain_engine: bool = Field(
        default=False,
        title="Plain engine",
        description="Compute as the model's own package does, without Longtake's own ways: the "
        "same masks but for rounding. To compare with, and to go on with what a version without "
        "these ways has begun.",
    )
    compile: bool = Field(
        default=False,
        title="Compile",
        description="Compile parts of a model of the sam2 package by torch.compile: the same masks "
        "but for rounding, sooner on a GPU once that is done.",
    )
    allow_quality_loss: bool = Field(
        default=False,
        title="Allow quality loss",
        description="Go on with a smaller image size when nothing else fits into memory; masks "
        "are coarser from there on, and the result says so.",
    )
    checkpoint: str | None = Field(
        default=None,
        title="Checkpoint",
        description="Weights file in place of the model's own, with the configuration or the model "
        "that it fits.",
    )
    config: str | None = Field(
        default=None,
        title="Checkpoint's configuration",
        description="The checkpoint's configuration, such as configs/sam2.1/sam2.1_hiera_t.yaml.",
    )
    overlay: bool = Field(
        default=False,
        title="Overlay video",
        description="Also write overlay.mp4, a video with the masks drawn in.",
    )
    report: bool = Field(
        default=True,
        title="Report",
        description="Also write report.html, one page to judge the result by; it reads the video "
        "again.",
    )
    formats: tuple[FormatName, ...] = Field(
        default=(),
        title="Exports",
        description="Also write the masks in these formats, into exports in the destination "
        "(overlay: beside them).",
    )
    chunk_frames: int = Field(
        default=240,
        ge=1,
        title="Frames of a chunk",
        description="Frames of one chunk: after each there is a place to go on from. Masks do not "
        "depend on it.",
    )
    overlap: Overlap = None
    min_agreement: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Least agreement",
        description="Mean IoU that two chunks must reach on their shared frames; the default is "
        "0.99 for the memory hand-off and 0.5 for others.",
    )
    on_disagreement: Literal["warn", "fail"] = Field(
        default="warn", title="On disagreement", description="What to do when chunks agree less."
    )
    handoff: HandoffName = Field(
        default="memory",
        title="Hand-off",
        description="What a chunk gets from the one before: all of the tracker's memory (exact), "
        "or the last masks only (cheap and inexact; objects absent at the seam are lost), or "
        "nothing: with match each chunk finds its objects by itself, and identities are joined "
        "over the overlap (parallel and inexact).",
    )
    shards: Shards = None
    runner: Runner = "here"
    settings: TrackSettings = Field(
        default_factory=TrackSettings,
        title="Device and precision",
        description="Where the model runs, in which arithmetic, and how much at once.",
    )
    work_dir: str | None = Field(
        default=None,
        title="Folder for work in progress",
        description="Folder for work in progress. The default is .longtake in the destination; for "
        "a bucket, the cache.",
    )
    memory_log: str | None = Field(
        default=None,
        title="Memory log",
        description="CSV file on the machine that tracks, to which lines of memory use are added, "
        "for plots.",
    )
    keep_states: bool = Field(
        default=True,
        title="Keep states",
        description="Keep the tracker's states at chunk starts in the folder for work in progress, "
        "so that other prompts track again only what they touch; not for a bucket.",
    )
    any_mask_path: bool = Field(
        default=False,
        title="Masks from anywhere",
        description="Let mask files of prompts lie anywhere, not only beside the prompts.",
    )

    @field_validator("source")
    @classmethod
    def _can_be_read(cls, source: str) -> str:
        parse_location(source)
        refuse_secret_query(source)
        return source

    @field_validator("destination")
    @classmethod
    def _can_be_written(cls, destination: str) -> str:
        return check_destination(destination)

    @field_validator("formats")
    @classmethod
    def _are_known(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(item.name for item in check_formats(formats))

    @field_validator("handoff")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return HANDOFFS.get(name).name

    @field_validator("settings")
    @classmethod
    def _has_its_policy(cls, settings: TrackSettings) -> TrackSettings:
        policy_options(settings.memory_policy, settings.memory_policy_options)
        return settings

    @field_validator("work_dir", "checkpoint", "memory_log")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        if value is not None and not isinstance(parse_location(value), Path):
            raise ValueError(f"wanted a path on this machine, got {parse_location(value)}")
        return value

    @model_validator(mode="after")
    def _says_what_to_track(self) -> "SegmentRequest":
        if not self.names_objects and self.automatic is None:
            raise ValueError(
                "nothing to track: wanted prompts (objects with a box, points or a mask each, or a "
                "file of them), a warm start, or automatic; got none of them"
            )
        # Both are taken here: one of them may be a default, see `choose_prompts`.
        return self

    @model_validator(mode="after")
    def _can_look_throughout(self) -> "SegmentRequest":
        handoff = find_handoff(self.handoff)
        if self.looks_throughout and not (handoff.is_exact or handoff.is_parallel):
            raise ValueError(
                f"detect_every wants the hand-off memory, which carries what is found, or match; "
                f"got {self.handoff}"
            )
        if self.looks_throughout and self.settings.encode_every > 1:
            raise ValueError(
                "detect_every wants encode_every 1, as detections need their own frame's features; "
                f"got {self.settings.encode_every}"
            )
        return self

    @model_validator(mode="after")
    def _can_be_shared_out(self) -> "SegmentRequest":
        check_sharing_out(self)
        return self

    @property
    def takes_both(self) -> bool:
        """Whether prompts are tracked beside what `automatic` finds."""
        return self.looks_throughout or find_handoff(self.handoff).is_parallel

    @property
    def looks_throughout(self) -> bool:
        """Whether objects are looked for throughout the video; prompts are tracked beside them."""
        return self.automatic is not None and self.automatic.detect_every is not None

    @property
    def names_objects(self) -> bool:
        """Whether a person says what is tracked: by prompts, a warm start, or both."""
        return self.prompts is not None or self.warm_start is not None

    @property
    def source_place(self) -> Path | S3Location | HttpsLocation:
        """Where the video is; a path is absolute."""
        return absolute_place(parse_location(self.source))

    @property
    def destination_place(self) -> Path | S3Location:
        """Where the result goes; a path is absolute."""
        return destination_place(self.destination)

    @property
    def video_name(self) -> str:
        """The video as runs and tasks name it."""
        return parse_location(self.source).name or self.source

    @property
    def work_path(self) -> Path:
        """Where work in progress lies on this machine."""
        if self.work_dir is not None:
            return Path(self.work_dir).expanduser().absolute()
        place = self.destination_place
        return place / ".longtake" if isinstance(place, Path) else load_settings().cache_dir

    @property
    def wants_overlay(self) -> bool:
        """Whether to draw the masks into the video; that is one of the formats, too."""
        return self.overlay or "overlay" in self.formats

    @property
    def export_formats(self) -> tuple[str, ...]:
        """The formats that go into `exports`."""
        return tuple(name for name in self.formats if name != "overlay")

    @property
    def memory_log_path(self) -> Path | None:
        """Where lines of memory use go."""
        return None if self.memory_log is None else Path(self.memory_log).expanduser().absolute()

    @property
    def least_agreement(self) -> float:
        """`min_agreement`, or what suits the hand-off."""
        if self.min_agreement is not None:
            return self.min_agreement
        return find_handoff(self.handoff).min_agreement


def validate_request(**values: object) -> SegmentRequest:
    """Build a request; what is wrong with its values is said in one line.

    Raises:
        InputError: Names the field, what it got and what is wanted.
    """
    return choose_prompts(_validated(values))


def choose_prompts(request: SegmentRequest, default: object = None) -> SegmentRequest:
    """Keep what names objects, or `automatic`, where the other one is only a deployment's default.
    Both count where a person gives both and the run `takes_both`.

    Prefect's form fills in the deployment's own request. A person who types an object there sends
    the default `automatic` with it. Where both are defaults, the prompts count.

    Args:
        request: With prompts, with `automatic`, or with both.
        default: The deployment's own request, as the server has it; None if there is none.

    Raises:
        InputError: Neither of the two is a default, and `automatic` looks at one frame only.
    """
    if not request.names_objects or request.automatic is None:
        return request
    if request.automatic == _default(request, default, "automatic"):
        return request.model_copy(update={"automatic": None})
    if request.warm_start is not None and not request.takes_both:
        # What is found gets numbers from 1 on, which would be those of other objects.
        raise InputError("warm_start and automatic: wanted one of them, got both")
    if request.prompts == _default(request, default, "prompts"):
        return request.model_copy(update={"prompts": None})
    if request.takes_both:
        return request
    raise InputError("prompts and automatic: wanted one of them, got both")


def _default(request: SegmentRequest, default: object, name: str) -> object:
    """One field of a deployment's own request; None if it has none that can be read."""
    if not isinstance(default, Mapping) or default.get(name) is None:
        return None
    try:
        values = {"source": request.source, "destination": request.destination}
        return getattr(_validated({**values, name: default[name]}), name)
    except InputError:
        return None


def _validated(values: Mapping[str, object]) -> SegmentRequest:
    try:
        return SegmentRequest.model_validate(values)
    except ValidationError as error:
        raise InputError(validation_line(error)) from error
