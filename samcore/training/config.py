"""What a training run is: one file, checked before anything starts."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from samcore.errors import InputError

PromptKind = Literal["box", "point", "mask", "clicks", "correction"]

VIDEO_FRAMES = 600
"""Length of the scenes that clips are cut from."""

Share = Annotated[float, Field(ge=0, le=1)]
Ramp = Annotated[tuple[Share, Share], Field(description="value at the start and at the end")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mix(_Strict):
    """Shares of the difficulties in what is drawn; they need not add up to 1."""

    easy: float = Field(1.0, ge=0)
    medium: float = Field(0.0, ge=0)
    hard: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _has_something(self) -> "Mix":
        if not self.easy + self.medium + self.hard > 0:
            raise ValueError("all difficulties have share 0: give one of them more")
        return self


class Phase(_Strict):
    """A stretch of training with one shape of batch."""

    name: str
    """For the log."""
    steps: int = Field(ge=1)
    """Optimiser steps."""
    image_size: int = Field(128, ge=64, multiple_of=32)
    """Side of the model's input in pixels."""
    scenes: int = Field(ge=1)
    """Clips in a batch."""
    objects: int = Field(ge=1)
    """Objects that are tracked in each clip."""
    frames: int = Field(ge=1)
    """Frames of a clip; the first one is prompted."""
    lr: tuple[float, float]
    """Learning rate at the start and at the end, with a half cosine between."""
    warmup: int = Field(0, ge=0)
    """Steps over which the learning rate rises from 0."""
    mix: Mix
    """What the clips are drawn from."""
    sparse: Share = 0.3
    """Share of clips whose frames lie far apart at random, up to 24 frames as far as the scene is
    long enough; the others have even steps."""
    max_stride: int = Field(3, ge=1)
    """Most video frames between two frames of an evenly stepped clip."""
    seek_absence: Share = 0.0
    """Share of clips chosen for an object that vanishes in them."""
    seek_return: Share = 0.0
    """Share of clips chosen for an object that vanishes in them and comes back."""
    given_memory: Ramp = (0.0, 0.0)
    """Share of memories that are made from the true mask in place of the predicted one."""
    given_presence: Ramp = (1.0, 0.0)
    """Share of memories that are told the true presence in place of the predicted one."""
    balance: Ramp = (0.0, 0.0)
    """How far the mask loss weighs object and background alike: 1 is wholly, 0 counts pixels."""
    prompts: dict[PromptKind, Annotated[float, Field(ge=0)]] = {
        "box": 0.4,
        "point": 0.3,
        "mask": 0.3,
    }
    """Shares of the kinds of prompt; one kind a batch."""
    reprompt: Share = 0.0
    """Share of batches in which a later frame is prompted again."""


class LossWeights(_Strict):
    """Factors of the parts of the loss."""

    mask: float = 1.0
    """Cross-entropy of the mask's pixels."""
    dice: float = 1.0
    iou: float = 0.5
    """Error of the predicted IoU."""
    presence: float = 0.5
    """Cross-entropy of the object score."""


class TrainConfig(_Strict):
    """A whole training run."""

    seed: int = Field(ge=0)
    """Of the first weights and of all that is drawn."""
    model_config_file: Path
    """The model, relative to this file."""
    phases: tuple[Phase, ...] = Field(min_length=1)
    """One after the other."""
    loss: LossWeights = LossWeights()
    loss_stride: Literal[1, 2, 4] = 2
    """Masks are compared at the model's input size divided by this."""
    weight_decay: float = Field(0.02, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = Field(1.0, gt=0)
    """Greatest norm of the gradient."""
    ema: float = Field(0.998, ge=0, lt=1)
    """Decay of the running mean of the weights, which is what is validated and shipped."""
    workers: int = Field(1, ge=0)
    """Processes that paint clips; 0 paints them in the training process."""
    checkpoint_seconds: float = Field(180, gt=0)
    """Time between checkpoints."""
    log_every: int = Field(20, ge=1)
    """Steps between lines of the log."""
    validate_every: int = Field(500, ge=1)
    """Steps between validations."""
    validation_scenes: int = Field(2, ge=1)
    """Scenes of each kind in a validation."""
    validation_frames: int = Field(60, ge=2)
    """Frames of a validation scene."""

    @model_validator(mode="after")
    def _points_need_frames(self) -> "TrainConfig":
        for phase in self.phases:
            if not any(phase.prompts.values()):
                raise ValueError(f"phase {phase.name}: all kinds of prompt have share 0")
            if phase.seek_absence + phase.seek_return > 1:
                raise ValueError(f"phase {phase.name}: seek_absence and seek_return exceed 1")
            if (phase.frames - 1) * phase.max_stride >= VIDEO_FRAMES:
                most = (VIDEO_FRAMES - 1) // phase.max_stride + 1
                raise ValueError(
                    f"phase {phase.name}: clips are cut from {VIDEO_FRAMES} frames, which "
                    f"{phase.frames} frames in steps of max_stride {phase.max_stride} exceed: "
                    f"{most} frames would do"
                )
        return self

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def at(self, step: int) -> tuple[Phase, int]:
        """The phase that a step lies in, and how many of the phase's steps come before it."""
        for phase in self.phases:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        return self.phases[-1], self.phases[-1].steps


def load_config(path: Path) -> TrainConfig:
    """Read and check a training configuration; paths in it are made absolute.

    Raises:
        InputError: The file is missing, is no YAML, or has a wrong field.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = TrainConfig.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise InputError(f"cannot read the training configuration {path}: {told}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: {field}: {first['msg']}") from error
    model_file = (path.parent / config.model_config_file).resolve()
    return config.model_copy(update={"model_config_file": model_file})
