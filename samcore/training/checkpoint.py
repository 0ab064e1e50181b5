"""A training run on disk: what it goes on from, and what it ships."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from samcore.disk.atomic import atomic
from samcore.errors import InputError, StateError

CHECKPOINT_NAME = "checkpoint.pt"
WEIGHTS_NAME = "nano.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Everything that the next step depends on. Batches and draws follow from the step itself."""

    step: int
    """The next step."""
    net: dict[str, Tensor]
    mean: dict[str, Tensor]
    """The running mean of the weights."""
    optimizer: dict[str, Any]
    seconds: float
    """Time spent in training so far."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the last one; a killed process leaves one of the two.

    Raises:
        StorageError: It cannot be written.
    """
    content = io.BytesIO()
    torch.save({name: getattr(checkpoint, name) for name in Checkpoint.__slots__}, content)
    write_file(folder / CHECKPOINT_NAME, content.getvalue())


def load_checkpoint(folder: Path, *, device: torch.device) -> Checkpoint | None:
    """The last checkpoint of a run, or None if it has none yet.

    Raises:
        StateError: The file is damaged.
    """
    path = folder / CHECKPOINT_NAME
    if not path.exists():
        return None
    try:
        return Checkpoint(**torch.load(path, map_location=device, weights_only=True))
    except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        told = " ".join(str(error).split())[:200]
        raise StateError(
            f"cannot go on from {path}: {told}; delete the file to train from the start"
        ) from error


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as fp16 safetensors, what the model ships as.

    Raises:
        StorageError: They cannot be written.
    """
    halves = {name: w.detach().cpu().half().contiguous() for name, w in weights.items()}
    write_file(path, save(halves, metadata={"format": "pt"}))


def load_weights(path: Path, *, device: torch.device) -> dict[str, Tensor]:
    """Weights as `save_weights` writes them, in float32.

    Raises:
        InputError: The file is missing or holds no weights.
    """
    try:
        halves = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(f"cannot read weights from {path}: {told}") from error
    return {name: weight.to(device).float() for name, weight in halves.items()}


def write_file(path: Path, content: bytes) -> None:
    """Write a whole file or none.

    Raises:
        StorageError: It cannot be written.
    """
    with atomic(path) as file:
        file.write(content)
