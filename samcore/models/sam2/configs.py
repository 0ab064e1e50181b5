"""Model configurations: where they are, and which input sizes they allow.

Imports neither torch nor sam2: only the files of that package are looked at.
"""

import difflib
import importlib.util
import math
from pathlib import Path
from typing import Any

from samcore.errors import InputError, ModelError

_MIN_IMAGE_SIZE = 64
_DEFAULT_IMAGE_SIZE = 1024
_DEFAULT_MASKMEM = 7
_DEFAULT_WINDOW = 8
"""First entry of Hiera's default `window_spec`."""


def find_config(config: str) -> str:
    """Say where a configuration is: the sam2 package's name for it, or a file's absolute path.

    The package's names come first, so that they mean the same in every folder.

    Raises:
        ModelError: It is neither.
    """
    names = _package_configs()
    if config in names:
        return config
    path = Path(config).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return str(path.resolve())
    close = difflib.get_close_matches(config, names, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ModelError(
        f"no model configuration {config!r}: wanted a .yaml file or one of {', '.join(names)}{hint}"
    )


def config_file(config: str) -> Path:
    """The file behind what `find_config` gave."""
    path = Path(config)
    return path if path.is_absolute() else _package_dir() / config


def config_default_size(config: str) -> int:
    """Side of the input that a configuration asks for, in pixels.

    Raises:
        ModelError: The file cannot be read as a configuration.
    """
    size = _model_section(config).get("image_size", _DEFAULT_IMAGE_SIZE)
    if not isinstance(size, int):
        raise ModelError(f"{config}: image_size must be a number of pixels, got {size!r}")
    return size


def config_num_maskmem(config: str) -> int:
    """Spatial memories of a step that a configuration asks for.

    Raises:
        ModelError: The file cannot be read as a configuration.
    """
    found = _model_section(config).get("num_maskmem", _DEFAULT_MASKMEM)
    if not isinstance(found, int):
        raise ModelError(f"{config}: num_maskmem must be a number of memories, got {found!r}")
    return found


def check_image_size(config: str, image_size: int) -> None:
    """Refuse an input size that the architecture cannot take.

    The image encoder halves its input five times, and its position embedding is tiled by the first
    stage's window at a quarter of the input's size: with the published windows of 8 that is again
    a multiple of 32. Other sizes fail in the tiling (tried with all four sizes of SAM 2; 32 itself
    runs, but its deepest features are a single pixel).

    Raises:
        InputError: The size does not fit.
        ModelError: The file cannot be read as a configuration.
    """
    step = 32
    if Path(config).is_absolute():
        step = math.lcm(step, 4 * _first_window(config))
    if image_size >= _MIN_IMAGE_SIZE and image_size % step == 0:
        return
    below = max(image_size // step * step, math.ceil(_MIN_IMAGE_SIZE / step) * step)
    raise InputError(
        f"image size must be a multiple of {step} and at least {_MIN_IMAGE_SIZE}, "
        f"got {image_size}; {below} would do"
    )


def _package_dir() -> Path:
    # Finding the package does not run it: importing sam2 would import torch.
    spec = importlib.util.find_spec("sam2")
    if spec is None or spec.origin is None:
        raise ModelError("the sam2 package is not installed: run the set-up again")
    return Path(spec.origin).parent


def _package_configs() -> list[str]:
    root = _package_dir()
    # The training configurations have no model to build at their top level.
    found = (path.relative_to(root).as_posix() for path in root.glob("configs/sam2*/*.yaml"))
    return sorted(name for name in found if "training" not in name)


def _first_window(config: str) -> int:
    trunk = _model_section(config)
    for name in ("image_encoder", "trunk"):
        trunk = trunk.get(name, {})
        if not isinstance(trunk, dict):
            raise ModelError(f"{config}: {name} must be a section of its own, got {trunk!r}")
    window_spec = trunk.get("window_spec", [_DEFAULT_WINDOW])
    try:
        return max(1, int(window_spec[0]))
    except (TypeError, ValueError, IndexError) as error:
        raise ModelError(f"{config}: window_spec must be a list of numbers") from error


def _model_section(config: str) -> dict[str, Any]:
    # Only a configuration of the user's own is read here; a known model needs no YAML library.
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        loaded = OmegaConf.to_container(OmegaConf.load(config_file(config)), resolve=True)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        told = str(error).splitlines()[0]
        raise ModelError(f"cannot read the model configuration {config}: {told}") from error
    model = loaded.get("model") if isinstance(loaded, dict) else None
    if not isinstance(model, dict):
        raise ModelError(f"{config} is no SAM 2 configuration: it has no section 'model'")
    return model
