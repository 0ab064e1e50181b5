"""The memory attention of the package `transformers` with less arithmetic, over the same weights.

As `samcore/models/sam2/attention.py`, for SAM 2 and SAM 3's tracker, whose layers are the same.
EdgeTAM's have other keys, and so few memory tokens that there is little to gain.
"""

from typing import Any

import torch
from torch import Tensor

from samcore.machine.device import Compute
from samcore.models.attention import attend, folding_pays, project_folded, rotate

_FOLDED = {"Sam2VideoMemoryAttention", "Sam3TrackerVideoMemoryAttention"}


def can_fold(attention: Any, compute: Compute) -> bool:
    """Whether `fused_tokens` takes this module, and is faster."""
    return (
        folding_pays(compute)
        and type(attention).__name__ in _FOLDED
        and all(
            layer.cross_attn_image.num_attention_heads == 1
            and layer.cross_attn_image.kv_in_dim < layer.cross_attn_image.internal_dim
            for layer in attention.layers
        )
    )


def fused_tokens(
    attention: Any,
    tokens_n1c: Tensor,
    pos_n1c: Tensor,
    memory_lbm: Tensor,
    memory_pos_lbm: Tensor,
    *,
    num_ptr_tokens: int,
) -> Tensor:
    """Fuse a frame's N tokens with the L memory tokens of each of B objects: N x B x C.

    Args:
        attention: A `Sam2VideoMemoryAttention`, or one of SAM 3's tracker.
        tokens_n1c: The frame's features, the same for all objects.
        pos_n1c: Their position encoding.
        memory_lbm: Memory tokens, those of pointers last.
        memory_pos_lbm: Their encoding of place and time.
        num_ptr_tokens: How many of them are of pointers, which have no place.
    """
    seen_1nc = (tokens_n1c + 0.1 * pos_n1c).transpose(0, 1)
    memory_blm = memory_lbm.transpose(0, 1).contiguous()
    placed_blm = memory_blm + memory_pos_lbm.transpose(0, 1)
    places = attention.rotary_emb(seen_1nc, attention.position_ids)
    turns_nc = torch.complex(*(angles_1nc[0, :, ::2].contiguous() for angles_1nc in places))
    first = attention.layers[0]
    seen_1nc = _look_at_itself(first, seen_1nc, places)
    first_q_nc = _queries(first, seen_1nc, turns_nc)
    fused = []
    for memory_lm, placed_lm in zip(memory_blm, placed_blm, strict=True):
        out_1nc = seen_1nc
        for layer in attention.layers:
            q_nc = first_q_nc
            if layer is not first:
                out_1nc = _look_at_itself(layer, out_1nc, places)
                q_nc = _queries(layer, out_1nc, turns_nc)
            cross = layer.cross_attn_image
            k_lc = cross.k_proj(placed_lm)
            rotate(k_lc[: len(k_lc) - num_ptr_tokens], turns_nc)
            found_nm = attend(q_nc, k_lc, memory_lm)
            out_1nc = out_1nc + project_folded(found_nm, cross.v_proj, cross.o_proj)
            hidden = layer.activation(layer.linear1(layer.layer_norm3(out_1nc)))
            out_1nc = out_1nc + layer.linear2(hidden)
        fused.append(attention.layer_norm(out_1nc))
    return torch.cat(fused).transpose(0, 1)


def _look_at_itself(layer: Any, out_1nc: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
    """The self-attention of a layer."""
    normed = layer.layer_norm1(out_1nc)[:, None]
    seen, _ = layer.self_attn(query=normed, key=normed, value=normed, position_embeddings=places)
    result: Tensor = out_1nc + seen[:, 0]
    return result


def _queries(layer: Any, out_1nc: Tensor, turns_nc: Tensor) -> Tensor:
    """What a frame's tokens ask the memory for, rotated by their places, N x C."""
    q_nc: Tensor = layer.cross_attn_image.q_proj(layer.layer_norm2(out_1nc))[0]
    rotate(q_nc, turns_nc)
    return q_nc
