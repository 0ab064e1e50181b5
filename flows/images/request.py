"""What a person asks for of pictures."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from samcore.detectors.detector import DETECTORS, DetectorEntry, find_detector
from samcore.errors import InputError, ModelError
from samcore.images.everything import EverythingOptions
from samcore.models.known import KNOWN_MODELS
from samcore.models.transformers.folder import read_folder
from samcore.models.transformers.names import PREFIX, parse_name
from samcore.picture_runs.formats import PICTURE_FORMATS
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.form import Prompts, name_tabs
from tasks.request.places import check_destination, destination_place, validation_line
from tasks.request.shared_fields import as_for_videos
from tasks.settings import load_settings
from tasks.store.locations import S3Location, parse_location

_FormatName = Annotated[str, Field(json_schema_extra={"enum": list(PICTURE_FORMATS.names)})]
_TEXT_DETECTOR = "transformers:IDEA-Research/grounding-dino-tiny"
_SAM3 = "sam3"
_DEVICES = re.compile(r"^(auto|(cpu|mps|cuda(:\d+)?)(,(cpu|mps|cuda(:\d+)?))*)$")


def _shape_form(schema: dict[str, Any]) -> None:
    prompts = schema["properties"]["prompts"]
    prompts.pop("default")
    prompts["anyOf"][-1]["title"] = "none"
    for name in ("everything", "detector"):
        schema["properties"][name]["anyOf"][-1]["title"] = "off"
    name_tabs(schema)


class ImagesRequest(BaseModel):
    """What to segment on which pictures, and where the masks go."""

    # The order of the fields is that of the form: as a person thinks, the rarely needed last.
    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra=_shape_form, hide_input_in_errors=True
    )

    pictures: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1,
        title="Pictures",
        description="Picture files, folders, patterns such as shots/**/*.png, tables (.csv, .tsv, "
        ".jsonl with path, text, prompts, labels), or s3:// addresses of these.",
    )
    prompts: Prompts = Field(
        default=None,
        title="Objects",
        description="Objects with a box, points or a mask each, the same on all pictures; or a "
        "JSON file of them, as a path or s3://bucket/key. What a table says of a picture goes "
        "before this.",
    )
    detector: AutomaticPrompts | None = Field(
        default=None,
        title="Find objects",
        description="What a detector finds, with texts what these say; for pictures without "
        "prompts.",
    )
    everything: EverythingOptions | None = Field(
        default=None,
        title="Everything",
        description="All that the model has a good mask for; for pictures with neither prompts "
        "nor a detector.",
    )
    destination: str = Field(
        min_length=1,
        title="Destination",
        description="Folder for the masks, made if need be; or s3://bucket/prefix.",
    )
    credentials: str | None = as_for_videos("credentials")
    force: bool = as_for_videos("force")
    model: str | None = as_for_videos("model")
    image_size: int | None = as_for_videos("image_size")
    plain_engine: bool = as_for_videos("plain_engine")
    checkpoint: str | None = as_for_videos("checkpoint")
    config: str | None = as_for_videos("config")
    device: str = Field(
        default="auto",
        json_schema_extra={"pattern": _DEVICES.pattern},
        title="Device",
        description="auto, cpu, cuda, cuda:1 or mps; or several of one kind, such as "
        "cuda:0,cuda:1, which share the work, a process each. auto takes all CUDA GPUs that are "
        "like the first one, else MPS, else the CPU.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        title="Precision",
        description="Arithmetic of the model; auto is the fastest that the device has units for.",
    )
    overlay: bool = Field(
        default=True,
        title="Overlays",
        description="Also write each picture with its masks drawn in, into overlays.",
    )
    formats: tuple[_FormatName, ...] = Field(
        default=(),
        title="Exports",
        description="Also write the masks in these formats, into exports in the destination.",
    )
    shard_pictures: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        title="Pictures of a shard",
        description="After each shard there is a place to go on from. The default goes by device "
        "and image size: some minutes of work.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=1_000,
        title="Workers",
        description="Runs of the deployment that share the shards, this one included; each takes a "
        "worker of the work pool. Only for runs of a deployment.",
    )
    work_dir: str | None = as_for_videos("work_dir")
    any_mask_path: bool = as_for_videos("any_mask_path")

    @field_validator("destination")
    @classmethod
    def _can_be_written(cls, destination: str) -> str:
        return check_destination(destination)

    @field_validator("device")
    @classmethod
    def _are_devices(cls, device: str) -> str:
        if not _DEVICES.match(device):
            raise ValueError(
                "wanted auto, cpu, cuda, cuda:1 or mps, or several separated by commas, such as "
                f"cuda:0,cuda:1; got {device!r}"
            )
        return device

    @field_validator("formats")
    @classmethod
    def _are_known(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(PICTURE_FORMATS.get(name).name for name in formats))

    @field_validator("detector")
    @classmethod
    def _looks_at_pictures(cls, given: AutomaticPrompts | None) -> AutomaticPrompts | None:
        if given is None:
            return None
        if not _takes_pictures(find_detector(given.detector)[0]):
            able = ", ".join(one.form for one in DETECTORS if _takes_pictures(one))
            raise ValueError(
                f"{given.detector} looks at the frames of a video; wanted one of {able}"
            )
        for name in ("more_detectors", "detect_every", "frame"):
            if getattr(given, name) not in (None, ()):
                raise ValueError(f"{name} is for videos: leave it out")
        return given

    @field_validator("work_dir", "checkpoint")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        if value is not None and not isinstance(parse_location(value), Path):
            raise ValueError(f"wanted a path on this machine, got {parse_location(value)}")
        return value

    @property
    def destination_place(self) -> Path | S3Location:
        """Where the result goes; a path is absolute."""
        return destination_place(self.destination)

    @property
    def name(self) -> str:
        """The pictures as runs and tasks name them."""
        first = self.pictures[0].rstrip("/").rpartition("/")[2] or self.pictures[0]
        more = len(self.pictures) - 1
        return f"{first} and {more} more" if more else first

    @property
    def work_path(self) -> Path:
        """Where work in progress lies on this machine."""
        if self.work_dir is not None:
            return Path(self.work_dir).expanduser().absolute()
        place = self.destination_place
        return place / ".longtake" if isinstance(place, Path) else load_settings().cache_dir


def _takes_pictures(detector: DetectorEntry) -> bool:
    """Whether it looks at a picture by itself, which is no frame of a video."""
    return not detector.by_number and detector.lookback == 0 and detector.block == 1


def default_text_detector(model: str | None) -> str:
    """What looks for texts where no detector is named: SAM 3's own where that is the model, else a
    network of the hub, whose boxes go to the model.

    Args:
        model: As a request names it.
    """
    return _SAM3 if model is not None and _may_take_text(model) else _TEXT_DETECTOR


def _may_take_text(model: str) -> bool:
    """Whether a model finds texts, as far as that is known without a network."""
    if not model.startswith(PREFIX):
        return any(one.name == model and one.takes_text for one in KNOWN_MODELS)
    try:
        place = parse_name(model)
        if isinstance(place, Path):
            return read_folder(place, name=model).has_detector
        return _SAM3 in place.repo
    except ModelError:
        return False  # which is said where the model is looked up


def validate_images(**values: object) -> ImagesRequest:
    """Build a request; what is wrong with its values is said in one line.

    Raises:
        InputError: Names the field, what it got and what is wanted.
    """
    try:
        return ImagesRequest.model_validate(values)
    except ValidationError as error:
        raise InputError(validation_line(error)) from error
