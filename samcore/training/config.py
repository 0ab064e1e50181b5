"""What a training run is: one file, checked before anything starts."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from samcore.errors import InputError
from samcore.scenes.kinds import SCENE_KINDS, check_kinds

PromptKind = Literal["box", "point", "mask", "clicks", "correction"]

VIDEO_FRAMES = 600
"""Length of the scenes that clips are cut from."""

Share = Annotated[float, Field(ge=0, le=1)]
Ramp = Annotated[tuple[Share, Share], Field(description="value at the start and at the end")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _check_mix(mix: dict[str, float]) -> dict[str, float]:
    try:
        kinds = check_kinds(mix)
    except InputError as error:
        raise ValueError(str(error)) from error
    for kind in kinds:
        if mix[kind.name] and not kind.trained_on:
            raise ValueError(f"{kind.name} is kept for measuring: leave it out of the training")
    if not any(mix.values()):
        raise ValueError("all kinds of scenes have share 0: give one of them more")
    return mix


Mix = Annotated[dict[str, Annotated[float, Field(ge=0)]], AfterValidator(_check_mix)]


def _check_scenes_of(name: str) -> str:
    kind, _, count = name.partition(" ")
    if kind not in SCENE_KINDS or not count.isdecimal() or int(count) < 1:
        raise ValueError(
            f"{name!r} is no kind of scene and number of objects, such as 'easy 2'; the kinds are "
            + ", ".join(SCENE_KINDS)
        )
    return name


ScenesOf = Annotated[str, AfterValidator(_check_scenes_of)]


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
    batches: int = Field(1, ge=1)
    """Batches whose gradients a step averages; processes under `torchrun` share them out."""
    objects: int = Field(ge=1)
    """Objects that are tracked in each clip."""
    frames: int = Field(ge=1)
    """Frames of a clip; the first one is prompted."""
    lr: tuple[float, float]
    """Learning rate at the start and at the end, with a half cosine between."""
    warmup: int = Field(0, ge=0)
    """Steps over which the learning rate rises from 0."""
    mix: Mix
    """Shares of the kinds of scenes that clips are drawn from; they need not add up to 1."""
    singles: Share = 0.0
    """Share of steps whose batch is of single pictures, which teach what a prompt means."""
    single_scenes: int = Field(8, ge=1)
    """Pictures in such a batch."""
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
    validation: tuple[ScenesOf, ...] = ("easy 1", "easy 2", "easy 3", "medium 2", "hard 2")
    """Kinds of scenes and numbers of objects that are validated on."""
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
        """The phase that a step lies in, and how many of the phase's steps come before it.

        The phase has the shape of the step's own batch: a step on single pictures has one frame.
        """
        inside = step
        for phase in self.phases:
            if inside < phase.steps:
                break
            inside -= phase.steps
        else:
            phase, inside = self.phases[-1], self.phases[-1].steps
        if phase.singles and np.random.default_rng([self.seed, step, 2]).uniform() < phase.singles:
            phase = phase.model_copy(update={"frames": 1, "scenes": phase.single_scenes})
        return phase, inside

    def first_step(self, phase_name: str) -> int:
        """The first step of a phase.

        Raises:
            InputError: There is no phase of this name.
        """
        step = 0
        for phase in self.phases:
            if phase.name == phase_name:
                return step
            step += phase.steps
        names = ", ".join(phase.name for phase in self.phases)
        raise InputError(f"no phase {phase_name!r}; the recipe has {names}")


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
