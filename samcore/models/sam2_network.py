"""Build the `sam2` package's network from a configuration and a checkpoint."""

import pickle
from pathlib import Path
from typing import Any

import sam2
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from samcore.errors import ModelError

_PREDICTOR_FLAGS = {
    # What build_sam2_video_predictor sets when apply_postprocessing is True, its default. Hole
    # filling is not here: it is a step on Longtake's outputs.
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
    "binarize_mask_from_pts_for_mem_enc": True,
}
_RANDOM_PRESENT_LOGIT = 10.0


def config_path(config: str) -> Path:
    """The file behind a configuration: a file's path, or a name of the sam2 package's own.

    Raises:
        ModelError: It is neither.
    """
    for path in (Path(config), Path(sam2.__file__).parent / config):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    raise ModelError(
        f"no model configuration {config!r}: give a .yaml file or a name of the sam2 package's, "
        "such as configs/sam2.1/sam2.1_hiera_t.yaml"
    )


def build_network(
    config: str, checkpoint: Path | None, *, seed: int | None, image_size: int
) -> SAM2Base:
    """Build the network on the CPU, in float32 and evaluation mode.

    Args:
        config: A configuration file, or a name of the sam2 package's own.
        checkpoint: A `.pt` file as published (`{"model": weights}`), or `.safetensors`. None
            leaves the weights as `seed` made them.
        seed: Seed of random weights; with a checkpoint it has no effect.
        image_size: Side of the model's square input in pixels.

    Raises:
        ModelError: The configuration or the checkpoint cannot be used.
    """
    model_config = _load_config(config, image_size=image_size)
    # Building draws random numbers; the caller's generator must not notice.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if seed is None else seed)
        net = instantiate(model_config, _recursive_=True)
    if not isinstance(net, SAM2Base):
        raise ModelError(f"{config} builds a {type(net).__name__}; wanted a SAM 2 model")
    if checkpoint is not None:
        _load_weights(net, checkpoint, config=config)
    elif net.pred_obj_scores:
        _always_present(net)
    return net.eval().requires_grad_(False)


def _load_config(config: str, *, image_size: int) -> DictConfig:
    path = config_path(config)
    try:
        model = OmegaConf.select(OmegaConf.load(path), "model", throw_on_missing=True)
        _refuse_foreign_targets(OmegaConf.to_container(model, resolve=False), path)
        merged = OmegaConf.merge(model, _PREDICTOR_FLAGS, {"image_size": image_size})
        OmegaConf.resolve(merged)
    except (OmegaConfBaseException, KeyError, TypeError, OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the model configuration {path}: {error}") from error
    if not isinstance(merged, DictConfig):
        raise ModelError(f"cannot read the model configuration {path}: wanted a mapping 'model'")
    return merged


def _refuse_foreign_targets(node: Any, path: Path) -> None:
    """A configuration names the classes to call; only the sam2 package's may be."""
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and not str(target).startswith("sam2.modeling."):
            raise ModelError(
                f"{path} asks for {target!r}: a configuration may only name sam2.modeling's classes"
            )
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            _refuse_foreign_targets(child, path)


def _load_weights(net: SAM2Base, checkpoint: Path, *, config: str) -> None:
    weights = _read_weights(checkpoint)
    try:
        net.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        # The message lists every key; the first line or two say enough.
        told = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{checkpoint} does not fit the configuration {config}: {told}; give the configuration "
            "that the checkpoint was made with"
        ) from error


def _read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read tensors and nothing else: a checkpoint from anywhere must not be able to run code."""
    try:
        if checkpoint.suffix == ".safetensors":
            return load_file(checkpoint)
        # mmap: a checkpoint's bytes are paged in as they are copied, not held twice.
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        told = " ".join(str(error).split())[:200]
        raise ModelError(
            f"cannot read the checkpoint {checkpoint}: {told}; wanted a SAM 2 checkpoint (.pt with "
            "tensors only, or .safetensors)"
        ) from error
    weights = loaded.get("model", loaded) if isinstance(loaded, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ModelError(f"{checkpoint} holds no weights under 'model'; wanted a SAM 2 checkpoint")
    return weights


def _always_present(net: SAM2Base) -> None:
    """Make random weights say that objects are there: absent ones would all have empty masks."""
    head = net.sam_mask_decoder.pred_obj_score_head
    last = head.layers[-1] if hasattr(head, "layers") else head
    with torch.no_grad():
        last.bias.fill_(_RANDOM_PRESENT_LOGIT)
