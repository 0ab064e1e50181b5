"""What a person asks for."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.tracking.prompt_file import PromptFile

Handoff = Literal["memory", "mask"]


class SegmentRequest(BaseModel):
    """Which objects to track in which video, how, and where the masks go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        min_length=1,
        description="Video file (mp4, mov, mkv, webm, avi) or folder of JPEG or PNG frames.",
    )
    prompts: PromptFile | str = Field(
        description="The objects and their boxes, points or masks; or the path of a JSON file."
    )
    destination: str = Field(min_length=1, description="Folder for the masks; made if need be.")
    model: str | None = Field(
        default=None, description="A name that `longtake models` lists; empty is sam2.1-tiny."
    )
    checkpoint: str | None = Field(
        default=None, description="Weights file in place of the model's own."
    )
    config: str | None = Field(
        default=None,
        description="The checkpoint's configuration, e.g. configs/sam2.1/sam2.1_hiera_t.yaml.",
    )
    image_size: int | None = Field(
        default=None, description="Side of the model's square input in pixels; empty is its own."
    )
    settings: TrackSettings = Field(
        default_factory=TrackSettings, description="Device, precision, batches and bounds."
    )
    chunk_frames: int = Field(default=240, ge=1, description="Frames of one chunk.")
    overlap: int = Field(
        default=8, ge=0, description="Frames that two chunks share, to check one by the other."
    )
    handoff: Handoff = Field(
        default="memory",
        description="What a chunk gets from the one before: all of the tracker's memory (exact), "
        "or the last masks only (cheap and inexact; objects absent at the seam are lost).",
    )
    start: int = Field(default=0, ge=0, description="First frame to track.")
    stop: int | None = Field(default=None, ge=1, description="One past the last; empty is the end.")
    work_dir: str | None = Field(
        default=None, description="Folder for work in progress; empty is .longtake in destination."
    )
    overlay: bool = Field(default=False, description="Also write a video with the masks drawn in.")
    min_agreement: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least mean IoU of two chunks over shared frames; empty is 0.99 for the "
        "memory hand-off and 0.5 for the mask one.",
    )
    on_disagreement: Literal["warn", "fail"] = Field(
        default="warn", description="What to do when chunks agree less than that."
    )
    force: bool = Field(
        default=False, description="Replace the result of another request in destination."
    )
    any_mask_path: bool = Field(
        default=False,
        description="Let mask files of prompts lie anywhere, not only beside the prompts.",
    )

    @field_validator("source", "destination", "work_dir", "checkpoint")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            scheme = value.partition("://")[0]
            raise ValueError(
                f"{scheme}:// addresses are not supported yet: give a path on this machine, "
                f"got {value!r}"
            )
        return value

    @property
    def video_name(self) -> str:
        """The video as runs and tasks name it."""
        return Path(self.source).name or self.source

    @property
    def destination_dir(self) -> Path:
        """Where the result goes."""
        return Path(self.destination).expanduser().absolute()

    @property
    def work_path(self) -> Path:
        """Where work in progress lies."""
        if self.work_dir is None:
            return self.destination_dir / ".longtake"
        return Path(self.work_dir).expanduser().absolute()

    @property
    def least_agreement(self) -> float:
        """`min_agreement`, or what suits the hand-off."""
        if self.min_agreement is not None:
            return self.min_agreement
        return 0.99 if self.handoff == "memory" else 0.5


def check_frames(request: SegmentRequest, num_frames: int) -> tuple[int, int]:
    """The frames [start, stop) to track in a video of `num_frames`.

    Raises:
        InputError: They are not in the video.
    """
    stop = num_frames if request.stop is None else request.stop
    if not request.start < stop <= num_frames:
        raise InputError(
            f"frames [{request.start}, {stop}) are not in the video: wanted "
            f"0 <= start < stop <= {num_frames}"
        )
    return request.start, stop


def validate_request(**values: object) -> SegmentRequest:
    """Build a request; what is wrong with its values is said in one line.

    Raises:
        InputError: Names the field, what it got and what is wanted.
    """
    try:
        return SegmentRequest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        got = "" if "got" in message else f", got {first['input']!r}"
        raise InputError(f"{field}: {message}{got}") from error
