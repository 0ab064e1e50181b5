"""SAM 2's weights in the layout of the sam2 package and in that of transformers, both ways.

Longtake reads each with the family that it belongs to. This is for weights that are to be used
elsewhere, and for the tests, which hold both adapters to the same masks.
"""

import itertools
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from samcore.errors import ModelError

_TRUNK, _BACKBONE = "image_encoder.trunk", "vision_encoder.backbone"
_THEIR_PROMPTS, _PROMPTS = "sam_prompt_encoder", "prompt_encoder"
_THEIR_DECODER, _DECODER = "sam_mask_decoder", "mask_decoder"

_HEADS = (
    (f"{_THEIR_DECODER}.iou_prediction_head", f"{_DECODER}.iou_prediction_head"),
    (f"{_THEIR_DECODER}.pred_obj_score_head", f"{_DECODER}.pred_obj_score_head"),
    (f"{_THEIR_DECODER}.output_hypernetworks_mlps.#", f"{_DECODER}.output_hypernetworks_mlps.#"),
    ("obj_ptr_proj", "object_pointer_proj"),
)
"""Perceptrons of three layers."""

_MASK_LAYERS = 4
"""Steps in which the memory encoder makes a mask smaller, by 2 each."""

# The name in the sam2 package, the name in transformers; `#` is a number, `*` what follows. The
# first line that fits is taken.
_RULES: tuple[tuple[str, str], ...] = (
    (f"{_TRUNK}.patch_embed.proj.*", f"{_BACKBONE}.patch_embed.projection.*"),
    (f"{_TRUNK}.blocks.#.norm#.*", f"{_BACKBONE}.blocks.#.layer_norm#.*"),
    (f"{_TRUNK}.blocks.#.mlp.layers.0.*", f"{_BACKBONE}.blocks.#.mlp.proj_in.*"),
    (f"{_TRUNK}.blocks.#.mlp.layers.1.*", f"{_BACKBONE}.blocks.#.mlp.proj_out.*"),
    (f"{_TRUNK}.*", f"{_BACKBONE}.*"),
    ("image_encoder.neck.convs.#.conv.*", "vision_encoder.neck.convs.#.*"),
    (f"{_THEIR_PROMPTS}.mask_downscaling.0.*", f"{_PROMPTS}.mask_embed.conv1.*"),
    (f"{_THEIR_PROMPTS}.mask_downscaling.1.*", f"{_PROMPTS}.mask_embed.layer_norm1.*"),
    (f"{_THEIR_PROMPTS}.mask_downscaling.3.*", f"{_PROMPTS}.mask_embed.conv2.*"),
    (f"{_THEIR_PROMPTS}.mask_downscaling.4.*", f"{_PROMPTS}.mask_embed.layer_norm2.*"),
    (f"{_THEIR_PROMPTS}.mask_downscaling.6.*", f"{_PROMPTS}.mask_embed.conv3.*"),
    (f"{_THEIR_PROMPTS}.*", f"{_PROMPTS}.*"),
    *(
        rule
        for theirs, ours in _HEADS
        for rule in (
            (f"{theirs}.layers.0.*", f"{ours}.proj_in.*"),
            (f"{theirs}.layers.1.*", f"{ours}.layers.0.*"),
            (f"{theirs}.layers.2.*", f"{ours}.proj_out.*"),
        )
    ),
    (f"{_THEIR_DECODER}.output_upscaling.0.*", f"{_DECODER}.upscale_conv1.*"),
    (f"{_THEIR_DECODER}.output_upscaling.1.*", f"{_DECODER}.upscale_layer_norm.*"),
    (f"{_THEIR_DECODER}.output_upscaling.3.*", f"{_DECODER}.upscale_conv2.*"),
    (
        f"{_THEIR_DECODER}.transformer.norm_final_attn.*",
        f"{_DECODER}.transformer.layer_norm_final_attn.*",
    ),
    (
        f"{_THEIR_DECODER}.transformer.final_attn_token_to_image.out_proj.*",
        f"{_DECODER}.transformer.final_attn_token_to_image.o_proj.*",
    ),
    *(
        (
            f"{_THEIR_DECODER}.transformer.layers.#.{theirs}.*",
            f"{_DECODER}.transformer.layers.#.{ours}.*",
        )
        for theirs, ours in (
            ("mlp.layers.0", "mlp.proj_in"),
            ("mlp.layers.1", "mlp.proj_out"),
            ("norm#", "layer_norm#"),
            ("self_attn.out_proj", "self_attn.o_proj"),
            ("cross_attn_token_to_image.out_proj", "cross_attn_token_to_image.o_proj"),
            ("cross_attn_image_to_token.out_proj", "cross_attn_image_to_token.o_proj"),
        )
    ),
    (f"{_THEIR_DECODER}.*", f"{_DECODER}.*"),
    ("memory_attention.norm.*", "memory_attention.layer_norm.*"),
    ("memory_attention.layers.#.norm#.*", "memory_attention.layers.#.layer_norm#.*"),
    (
        "memory_attention.layers.#.self_attn.out_proj.*",
        "memory_attention.layers.#.self_attn.o_proj.*",
    ),
    (
        "memory_attention.layers.#.cross_attn_image.out_proj.*",
        "memory_attention.layers.#.cross_attn_image.o_proj.*",
    ),
    *(
        rule
        for layer in range(_MASK_LAYERS)
        for rule in (
            (
                f"memory_encoder.mask_downsampler.encoder.{3 * layer}.*",
                f"memory_encoder.mask_downsampler.layers.{layer}.conv.*",
            ),
            (
                f"memory_encoder.mask_downsampler.encoder.{3 * layer + 1}.*",
                f"memory_encoder.mask_downsampler.layers.{layer}.layer_norm.*",
            ),
        )
    ),
    (
        f"memory_encoder.mask_downsampler.encoder.{3 * _MASK_LAYERS}.*",
        "memory_encoder.mask_downsampler.final_conv.*",
    ),
    *(
        (f"memory_encoder.fuser.layers.#.{theirs}", f"memory_encoder.memory_fuser.layers.#.{ours}")
        for theirs, ours in (
            ("dwconv.*", "depthwise_conv.*"),
            ("pwconv#.*", "pointwise_conv#.*"),
            ("norm.*", "layer_norm.*"),
            ("gamma", "scale"),
        )
    ),
    ("memory_encoder.out_proj.*", "memory_encoder.projection.*"),
    ("memory_encoder.pix_feat_proj.*", "memory_encoder.feature_projection.*"),
    ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    ("no_mem_embed", "no_memory_embedding"),
    ("no_mem_pos_enc", "no_memory_positional_encoding"),
    ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ("no_obj_ptr", "no_object_pointer"),
    ("obj_ptr_tpos_proj.*", "temporal_positional_encoding_projection_layer.*"),
    ("mask_downsample.*", "mask_downsample.*"),
    ("memory_attention.*", "memory_attention.*"),
)

_THEIR_POINT = f"{_THEIR_PROMPTS}.point_embeddings.{{}}.weight"
_POINTS = f"{_PROMPTS}.point_embed.weight"
_THEIR_GAUSSIAN = f"{_THEIR_PROMPTS}.pe_layer.positional_encoding_gaussian_matrix"
_GAUSSIANS = (
    f"{_PROMPTS}.shared_embedding.positional_embedding",
    "shared_image_embedding.positional_embedding",
)


def to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the sam2 package as `Sam2VideoModel` has them.

    Raises:
        ModelError: A name is none of SAM 2's.
    """
    points = [name for name in map(_THEIR_POINT.format, range(4)) if name in weights]
    found = {
        _renamed(name, _RULES): tensor
        for name, tensor in weights.items()
        if name not in points and name != _THEIR_GAUSSIAN
    }
    if points:
        found[_POINTS] = torch.cat([weights[name] for name in points])
    if _THEIR_GAUSSIAN in weights:
        found.update(dict.fromkeys(_GAUSSIANS, weights[_THEIR_GAUSSIAN]))
    return found


def to_sam2(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `Sam2VideoModel` as the sam2 package has them.

    Raises:
        ModelError: A name is none of SAM 2's.
    """
    backwards = tuple((ours, theirs) for theirs, ours in _RULES)
    found = {
        _renamed(name, backwards): tensor
        for name, tensor in weights.items()
        if name != _POINTS and name not in _GAUSSIANS
    }
    for index, row in enumerate(weights.get(_POINTS, ())):
        found[_THEIR_POINT.format(index)] = row[None]
    if _GAUSSIANS[0] in weights:
        found[_THEIR_GAUSSIAN] = weights[_GAUSSIANS[0]]
    return found


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for source, target in rules:
        pattern = re.escape(source).replace(r"\#", "#").replace("#", r"(\d+)")
        found = re.fullmatch(pattern.replace(r"\*", "(.+)"), name)
        if found is not None:
            parts = found.groups()
            return "".join(
                itertools.chain(
                    *itertools.zip_longest(re.split(r"[#*]", target), parts, fillvalue="")
                )
            )
    raise ModelError(f"{name} is no name of SAM 2's weights, so they cannot be converted")
