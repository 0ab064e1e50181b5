"""What a request says of its video beside where it begins: further files, and which frames."""

from fractions import Fraction
from pathlib import Path

from pydantic import BaseModel, Field, field_validator, model_validator

from tasks.request.places import absolute_place
from tasks.store.locations import (
    HttpsLocation,
    S3Location,
    parse_location,
    refuse_secret_query,
)


class VideoFields(BaseModel):
    """Fields of `SegmentRequest`."""

    further_parts: tuple[str, ...] = Field(
        default=(),
        title="Further files of the recording",
        description="Where a camera wrote one recording in several files: those that follow the "
        "video, in order, as paths, s3:// or https:// addresses. Together they are one video, "
        "whose frames and time stamps go on.",
    )
    every: int | None = Field(
        default=None,
        ge=1,
        title="Every N-th frame",
        description="Track and publish only every N-th frame, from the first one on, under its "
        "true number and time. Numbers of frames in other options, such as the frames of a chunk, "
        "then count frames that are tracked.",
    )
    fps: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        title="Frames a second",
        description="The same by time: the first frame at or after each tick of a clock with so "
        "many ticks a second, from the first frame on.",
    )

    @field_validator("further_parts")
    @classmethod
    def _can_be_read_too(cls, further_parts: tuple[str, ...]) -> tuple[str, ...]:
        for part in further_parts:
            parse_location(part)
            refuse_secret_query(part)
        return further_parts

    @model_validator(mode="after")
    def _chooses_in_one_way(self) -> "VideoFields":
        if self.every is not None and self.fps is not None:
            raise ValueError("every and fps: wanted one of them, got both")
        return self

    @property
    def further_places(self) -> tuple[Path | S3Location | HttpsLocation, ...]:
        """Where the further parts are; a path is absolute."""
        return tuple(absolute_place(parse_location(part)) for part in self.further_parts)

    @property
    def rate_wanted(self) -> Fraction | None:
        """`fps` as it was written."""
        return None if self.fps is None else Fraction(str(self.fps))
