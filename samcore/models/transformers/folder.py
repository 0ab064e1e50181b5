"""A model's folder, as the hub has it: what can be said of it without the package transformers.

config.json                                          which model it is, and its sizes
model.safetensors, or several and an index           its weights
preprocessor_config.json, processor_config.json      how pictures are prepared
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samcore.disk.digests import file_digest
from samcore.errors import InputError, ModelError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_PREPARATIONS = (
    "video_preprocessor_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_MIN_FEATURES = 4
"""Least side of the features: 64 pixels for SAM 2."""

_Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a folder says of its model."""

    path: Path
    """Absolute."""
    model_type: str
    """Of its network: `sam2_video`, `sam3_tracker_video` or `edgetam_video`."""
    has_detector: bool
    """The tracker is part of a `sam3_video`."""
    image_size: int
    """Side of the input that it is made for, in pixels."""
    size_step: int
    """Sides of inputs are multiples of this."""
    num_maskmem: int
    """Spatial memories of a step."""
    mean: _Rgb
    std: _Rgb
    """Of the pictures that it was trained with, red, green, blue from 0 to 1."""

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files of its weights.

        Raises:
            ModelError: There are none.
        """
        return weight_files(self.path)

    def digest(self, cache_dir: Path) -> str:
        """SHA-256 of the weights in hex; of several files, of theirs.

        Raises:
            ModelError: One cannot be read.
        """
        return weights_digest(self.weights, cache_dir)

    def check_image_size(self, image_size: int) -> None:
        """Refuse a side of the input that the network cannot take.

        Raises:
            InputError: It does not fit; the message says what would.
        """
        step = self.size_step
        least = math.ceil(_MIN_FEATURES * _stride(self.model_type, {}) / step) * step
        if image_size >= least and image_size % step == 0:
            return
        below = max(image_size // step * step, least)
        raise InputError(
            f"image size must be a multiple of {step} and at least {least}, got {image_size}; "
            f"{below} would do"
        )


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files of the weights in a folder; of several, their index first.

    Raises:
        ModelError: There are none.
    """
    if (path / WEIGHTS).is_file():
        return (path / WEIGHTS,)
    index = path / INDEX
    if index.is_file():
        parts = read_json(index).get("weight_map")
        if isinstance(parts, dict) and parts:
            return (
                index,
                *(path / name for name in sorted(set(map(str, parts.values())))),
            )
    others = [path.name for path in sorted(path.glob("*.bin"))]
    others += [path.name for path in sorted(path.glob("*.pt"))]
    found = f", only {', '.join(others)}, which may run code" if others else ""
    raise ModelError(f"{path} has no weights: wanted {WEIGHTS} (or {INDEX} and its parts){found}")


def weights_digest(files: tuple[Path, ...], cache_dir: Path) -> str:
    """SHA-256 of the weights in hex; of several files, of theirs.

    Raises:
        ModelError: One cannot be read.
    """
    if len(files) == 1:
        return file_digest(files[0], cache_dir=cache_dir)
    digests = {path.name: file_digest(path, cache_dir=cache_dir) for path in files}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def read_folder(path: Path, *, name: str) -> ModelFolder:
    """Look at a folder.

    Args:
        path: The folder.
        name: How the person named the model.

    Raises:
        ModelError: It is no folder of a model that can be used; the message says what is wanted.
    """
    if path.is_file():
        raise ModelError(
            f"{path} is a file; wanted a folder with {CONFIG} and {WEIGHTS}, as the hub has it "
            f"(a checkpoint of SAM 2 goes by --checkpoint; of SAM 3 take --model sam3 or a folder, "
            "not sam3.pt)"
        )
    if not path.is_dir():
        raise ModelError(f"no folder {path}; wanted one with {CONFIG} and {WEIGHTS}")
    if not (path / CONFIG).is_file():
        held = " (sam3.pt alone cannot be used)" if (path / "sam3.pt").is_file() else ""
        raise ModelError(
            f"{path} has no {CONFIG}{held}; wanted a folder with {CONFIG} and {WEIGHTS}, as the "
            "hub has it"
        )
    config = read_json(path / CONFIG)
    model_type = config.get("model_type")
    has_detector = model_type == "sam3_video"
    if has_detector:
        tracker = config.get("tracker_config")
        config = tracker if isinstance(tracker, dict) else {}
        model_type = "sam3_tracker_video"
    if model_type not in ("sam2_video", "sam3_tracker_video", "edgetam_video"):
        raise ModelError(
            f"{name} is a model of the type {model_type!r}, which cannot track; wanted sam2_video, "
            "sam3_video, sam3_tracker_video or edgetam_video, such as "
            "hf:facebook/sam2.1-hiera-tiny"
        )
    mean, std = _preparation(path) or (_HALF if model_type == "sam3_tracker_video" else _IMAGENET)
    try:
        size, step = _image_size(model_type, config), _size_step(model_type, config)
        num_maskmem = int(config.get("num_maskmem", 7))
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"cannot read {path / CONFIG}: {error}") from error
    return ModelFolder(path.resolve(), model_type, has_detector, size, step, num_maskmem, mean, std)


def config_digest(folder: ModelFolder) -> str:
    """SHA-256 of all that the folder says besides its weights, in hex."""
    said = {
        "config": hashlib.sha256((folder.path / CONFIG).read_bytes()).hexdigest(),
        "mean": folder.mean,
        "std": folder.std,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds.

    Raises:
        ModelError: It cannot be read, or holds no JSON object.
    """
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    if not isinstance(read, dict):
        raise ModelError(f"cannot read {path}: wanted a JSON object")
    return read


def _preparation(folder: Path) -> tuple[_Rgb, _Rgb] | None:
    """Mean and deviation of the pictures, from the first file that has them."""
    for name in _PREPARATIONS:
        if not (folder / name).is_file():
            continue
        read = read_json(folder / name)
        for section in (read, read.get("video_processor"), read.get("image_processor")):
            if not isinstance(section, dict):
                continue
            mean, std = _rgb(section.get("image_mean")), _rgb(section.get("image_std"))
            if mean is not None and std is not None and min(std) > 0:
                return mean, std
    return None


def _rgb(value: Any) -> _Rgb | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in value):
        return None
    return (float(value[0]), float(value[1]), float(value[2]))


def _image_size(model_type: str, config: dict[str, Any]) -> int:
    # A configuration leaves out what is as by default.
    size = config.get("image_size", 1008 if model_type == "sam3_tracker_video" else 1024)
    if isinstance(size, list):
        if len(set(size)) != 1:
            raise ValueError(f"image_size must be a square, got {size}")
        size = size[0]
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"image_size must be a number of pixels, got {size!r}")
    return size


def _stride(model_type: str, config: dict[str, Any]) -> int:
    """Pixels of the input in a feature's side."""
    if model_type != "sam3_tracker_video":
        return 16
    vision = config.get("vision_config") or {}
    return int((vision.get("backbone_config") or {}).get("patch_size", 14))


def _size_step(model_type: str, config: dict[str, Any]) -> int:
    if model_type == "edgetam_video":
        # The perceiver cuts the features into this many windows a side.
        return 16 * math.isqrt(int(config.get("perceiver_resampler_num_latents_2d", 256)))
    return 32 if model_type == "sam2_video" else _stride(model_type, config)
