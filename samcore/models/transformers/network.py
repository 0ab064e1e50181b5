"""Build a network of the package `transformers` from a folder."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers.utils import logging as their_logging

from samcore.errors import ModelError
from samcore.machine.device import Compute
from samcore.models.transformers.adapter import EdgeTamModel, TransformersModel
from samcore.models.transformers.folder import ModelFolder, weight_files

_CLASSES = {
    "sam2_video": "Sam2VideoModel",
    "sam3_tracker_video": "Sam3TrackerVideoModel",
    "edgetam_video": "EdgeTamVideoModel",
}


def build_model(
    folder: ModelFolder,
    *,
    image_size: int,
    fingerprint: str,
    compute: Compute,
    plain: bool = False,
) -> TransformersModel:
    """Build a model on its device.

    Raises:
        ModelError: The configuration or the weights cannot be used.
    """
    net = build_network(folder, image_size=image_size).to(compute.device)
    kind = EdgeTamModel if folder.model_type == "edgetam_video" else TransformersModel
    return kind(
        net,
        mean=folder.mean,
        std=folder.std,
        compute=compute,
        fingerprint=fingerprint,
        plain=plain,
        with_detector=folder.path if folder.has_detector else None,
    )


def build_network(folder: ModelFolder, *, image_size: int) -> Any:
    """Build the network on the CPU, in float32 and evaluation mode.

    Args:
        folder: Where configuration and weights are. Of a model with a detector the tracker is
            built, with the image encoder of both.
        image_size: Side of the model's square input in pixels.

    Raises:
        ModelError: The configuration or the weights cannot be used.
    """
    model_class = getattr(transformers, _CLASSES[folder.model_type])

    def sized_config() -> Any:
        config = _config(folder, model_class)
        _set_size(config, folder.model_type, image_size)
        return config

    return load_network(model_class, folder.path, sized_config, attn_implementation="sdpa")


def load_network(
    model_class: Any, path: Path, make_config: Callable[[], Any] | None = None, **options: Any
) -> Any:
    """Load a network on the CPU, in float32 and evaluation mode.

    Args:
        model_class: One of the package's.
        path: The folder of its configuration and weights.
        make_config: Gives the configuration, if the folder's own is not to be taken as it is.
        options: For the package's `from_pretrained`.

    Raises:
        ModelError: The configuration or the weights cannot be used.
    """
    weight_files(path)  # a folder without any gets its own line
    try:
        # What is left out of the weights would be random; the caller's generator must not notice.
        with quietly(), torch.random.fork_rng(devices=[]):
            if make_config is not None:
                options["config"] = make_config()
            net, info = model_class.from_pretrained(
                path,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, with their names
                dtype=torch.float32,
                **options,
            )
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(f"cannot load the model in {path}: {_line(error)}") from error
    except ImportError as error:
        raise ModelError(
            f"the model in {path} needs a package that is not installed: {_line(error)}; "
            "pip install 'longtake[transformers]'"
        ) from error
    missing = sorted(info["missing_keys"]) + sorted(key for key, *_ in info["mismatched_keys"])
    if missing:
        raise ModelError(
            f"the weights in {path} lack {len(missing)} of the network's parameters, or "
            f"have them in another size, such as {missing[0]}, which would be random; take the "
            "whole model, for SAM 3 that of facebook/sam3"
        )
    for name, parameter in net.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ModelError(
                f"the weights in {path} give no numbers: {name} holds NaN or infinity; the "
                "training of it failed, or a file is damaged: take another one"
            )
    return net.eval().requires_grad_(False)


def _config(folder: ModelFolder, model_class: Any) -> Any:
    if folder.has_detector:
        whole = transformers.Sam3VideoConfig.from_pretrained(folder.path, local_files_only=True)
        return whole.tracker_config
    return model_class.config_class.from_pretrained(folder.path, local_files_only=True)


def _set_size(config: Any, model_type: str, image_size: int) -> None:
    """Set a side of the input. Nothing derives the others but for SAM 3."""
    if model_type == "sam3_tracker_video":
        config.image_size = image_size
        return
    side = image_size // 16
    config.image_size = image_size
    config.prompt_encoder_config.image_size = image_size
    config.memory_attention_rope_feat_sizes = [side, side]
    config.vision_config.backbone_feature_sizes = [
        [4 * side, 4 * side],
        [2 * side, 2 * side],
        [side, side],
    ]
    if model_type == "sam2_video":
        config.vision_config.backbone_config.image_size = [image_size, image_size]


@contextmanager
def quietly() -> Iterator[None]:
    """No bars, no warnings: what matters of them is in the errors above."""
    verbosity, bars = their_logging.get_verbosity(), their_logging.is_progress_bar_enabled()
    their_logging.set_verbosity_error()
    their_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        their_logging.set_verbosity(verbosity)
        if bars:
            their_logging.enable_progress_bar()


def _line(error: BaseException) -> str:
    told = " ".join(str(error).split())
    return told if len(told) <= 240 else f"{told[:240]} ..."
