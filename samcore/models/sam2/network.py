"""Build the `sam2` package's network from a configuration and a checkpoint."""

import pickle
from pathlib import Path
from typing import Any, cast

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from yaml import YAMLError

from samcore.errors import ModelError
from samcore.models.sam2.configs import config_file, find_config
from samcore.models.transformers.names import OTHER_LAYOUT

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
_CLASSES = frozenset(
    f"sam2.modeling.{name}"
    for name in (
        "backbones.hieradet.Hiera",
        "backbones.image_encoder.FpnNeck",
        "backbones.image_encoder.ImageEncoder",
        "memory_attention.MemoryAttention",
        "memory_attention.MemoryAttentionLayer",
        "memory_encoder.CXBlock",
        "memory_encoder.Fuser",
        "memory_encoder.MaskDownSampler",
        "memory_encoder.MemoryEncoder",
        "position_encoding.PositionEmbeddingSine",
        "sam.transformer.RoPEAttention",
        "sam2_base.SAM2Base",
    )
)
"""All that the published configurations build. A configuration can name any callable; one from
anywhere must not be able to run code."""
_RANDOM_PRESENT_LOGIT = 10.0


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
        try:
            net = instantiate(model_config, _recursive_=True)
        except (HydraException, AssertionError, ValueError) as error:
            raise ModelError(f"{config} does not describe a SAM 2 model: {_line(error)}") from error
    if not isinstance(net, SAM2Base):
        raise ModelError(f"{config} builds a {type(net).__name__}; wanted a SAM 2 model")
    if checkpoint is not None:
        _load_weights(net, checkpoint, config=config)
    elif net.pred_obj_scores:
        _always_present(net)
    return net.eval().requires_grad_(False)


def _load_config(config: str, *, image_size: int) -> DictConfig:
    path = config_file(find_config(config))
    try:
        model = OmegaConf.select(OmegaConf.load(path), "model")
        if not isinstance(model, DictConfig):
            raise ModelError(f"the model configuration {path} has no section 'model'")
        _refuse_foreign_targets(OmegaConf.to_container(model, resolve=False), path)
        sized = {"image_size": image_size}
        merged = cast(DictConfig, OmegaConf.merge(model, _PREDICTOR_FLAGS, sized))
        OmegaConf.resolve(merged)
    except (OmegaConfBaseException, YAMLError, TypeError, OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the model configuration {path}: {_line(error)}") from error
    return merged


def _refuse_foreign_targets(node: Any, path: Path) -> None:
    if isinstance(node, dict):
        target = node.get("_target_")
        if target is not None and target not in _CLASSES:
            raise ModelError(
                f"{path} asks for {target!r}; a configuration may only name {sorted(_CLASSES)}"
            )
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            _refuse_foreign_targets(child, path)


def _load_weights(net: SAM2Base, checkpoint: Path, *, config: str) -> None:
    weights = _read_weights(checkpoint)
    if any(key.startswith(("detector.", "tracker.")) for key in weights):
        raise ModelError(f"{checkpoint} {OTHER_LAYOUT}")
    try:
        net.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"{checkpoint} does not fit the configuration {config}: {_line(error)}; give the one "
            "that the checkpoint was made with"
        ) from error
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise ModelError(
                f"{checkpoint} gives no numbers: {name} holds NaN or infinity; the training of it "
                "failed, or the file is damaged: take another checkpoint"
            )


def _read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read tensors and nothing else: a checkpoint from anywhere must not be able to run code."""
    try:
        if checkpoint.suffix == ".safetensors":
            return load_file(checkpoint)
        # mmap: a checkpoint's bytes are paged in as they are copied, not held twice.
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise ModelError(
            f"cannot read the checkpoint {checkpoint}: {_line(error)}; wanted a SAM 2 checkpoint "
            "(.pt with tensors only, or .safetensors)"
        ) from error
    weights = loaded.get("model", loaded) if isinstance(loaded, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ModelError(f"{checkpoint} holds no weights under 'model'; wanted a SAM 2 checkpoint")
    return weights


def _line(error: BaseException) -> str:
    """The beginning of a long message, on one line."""
    told = " ".join(str(error).split())
    return told if len(told) <= 240 else f"{told[:240]} ..."


def _always_present(net: SAM2Base) -> None:
    """Make random weights say that objects are there: absent ones would all have empty masks."""
    head = net.sam_mask_decoder.pred_obj_score_head
    last = head.layers[-1] if hasattr(head, "layers") else head
    with torch.no_grad():
        last.bias.fill_(_RANDOM_PRESENT_LOGIT)
