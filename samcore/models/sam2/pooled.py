"""Memory attention over pooled memories: approximate, a quarter of the keys.

A spatial memory's tokens are averaged over squares of 2 x 2, with their positions. One key then
stands for four, so log 4 is added to its logit: four equal keys have the weight that they had.

    softmax over (k1 k2 k3 k4 ...)     e^q.k1 + e^q.k2 + e^q.k3 + e^q.k4 + ...
    softmax over (mean ...)            4 e^(q.mean) = e^(q.mean + log 4)

Pointers are not pooled. The rest follows `MemoryAttention.forward` and `RoPEAttention.forward` of
sam2 1.1.0.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from samcore.models.family import ImageFeatures


def pool_tokens(tokens_nbc: Tensor, pool: int) -> Tensor:
    """Average the tokens of a square map over squares of `pool` x `pool`."""
    num_tokens, batch, channels = tokens_nbc.shape
    side = math.isqrt(num_tokens)
    map_bchw = tokens_nbc.permute(1, 2, 0).reshape(batch, channels, side, side)
    return F.avg_pool2d(map_bchw, pool).flatten(2).permute(2, 0, 1)


def attend_pooled(
    net: SAM2Base,
    features: ImageFeatures,
    memory_nbc: Tensor,
    pos_nbc: Tensor,
    *,
    num_ptr_tokens: int,
    pool: int,
) -> Tensor:
    """What `net.memory_attention` gives, of pooled memories: (H/16 * W/16) x B x C.

    Args:
        net: The network.
        features: Of the frame.
        memory_nbc: Tokens of the spatial memories, pooled, and of the pointers behind them.
        pos_nbc: Their positions.
        num_ptr_tokens: How many of them are of pointers.
        pool: Side of the squares.
    """
    attention = net.memory_attention
    batch = memory_nbc.shape[1]
    output = features.tokens_n1c.expand(-1, batch, -1)
    query_pos = features.pos_n1c.expand(-1, batch, -1)
    if attention.pos_enc_at_input:
        output = output + 0.1 * query_pos
    order = (0, 1) if attention.batch_first else (0, 0)
    tensors = (output, query_pos, memory_nbc, pos_nbc)
    output, query_pos, memory, pos = (tensor.transpose(*order) for tensor in tensors)
    for layer in attention.layers:
        output = layer._forward_sa(output, query_pos)
        queries = layer.norm2(output)
        output = output + _cross_attention(
            layer.cross_attn_image,
            queries + query_pos if layer.pos_enc_at_cross_attn_queries else queries,
            memory + pos if layer.pos_enc_at_cross_attn_keys else memory,
            memory,
            num_ptr_tokens=num_ptr_tokens,
            pool=pool,
        )
        hidden = layer.activation(layer.linear1(layer.norm3(output)))
        output = output + layer.linear2(hidden)
    result: Tensor = attention.norm(output).transpose(*order)
    return result


def _cross_attention(
    layer: Any, q: Tensor, k: Tensor, v: Tensor, *, num_ptr_tokens: int, pool: int
) -> Tensor:
    """`RoPEAttention.forward` with keys that stand for squares; all B x N x C."""
    q, k, v = (
        layer._separate_heads(project(tokens), layer.num_heads)
        for project, tokens in ((layer.q_proj, q), (layer.k_proj, k), (layer.v_proj, v))
    )
    num_spatial = k.shape[-2] - num_ptr_tokens
    cis_nd = _rotations(layer, q.shape[-2], q.device)
    keys_nd = _pooled_rotations(cis_nd, pool)
    keys_nd = keys_nd.repeat(num_spatial // keys_nd.shape[0], 1)
    k = torch.cat([_rotate(k[:, :, :num_spatial], keys_nd), k[:, :, num_spatial:]], dim=2)
    bias_n = torch.zeros(k.shape[-2], dtype=q.dtype, device=q.device)
    bias_n[:num_spatial] = math.log(pool * pool)
    mask = bias_n.expand(1, 1, q.shape[-2], -1)
    out = F.scaled_dot_product_attention(_rotate(q, cis_nd), k, v, attn_mask=mask)
    result: Tensor = layer.out_proj(layer._recombine_heads(out))
    return result


def _rotations(layer: Any, num_tokens: int, device: torch.device) -> Tensor:
    """The rotation of each place of a square map, complex, N x D/2."""
    if layer.freqs_cis.shape[0] != num_tokens:
        side = math.isqrt(num_tokens)
        layer.freqs_cis = layer.compute_cis(end_x=side, end_y=side)
    layer.freqs_cis = layer.freqs_cis.to(device)
    found: Tensor = layer.freqs_cis
    return found


def _pooled_rotations(cis_nd: Tensor, pool: int) -> Tensor:
    """The rotation of each square's middle.

    The angle is linear in the place: that of the square's first token, and of `(pool - 1) / 2`
    tokens further right and down. No angle of one token is above 1, so the root is the right one.
    """
    side = math.isqrt(cis_nd.shape[0])
    cis_hwd = cis_nd.reshape(side, side, -1)
    first = cis_hwd[::pool, ::pool].flatten(0, 1)
    return first * cis_hwd[1, 1].pow((pool - 1) / 2)


def _rotate(x_bhnd: Tensor, cis_nd: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x_bhnd.float().reshape(*x_bhnd.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * cis_nd).flatten(3).type_as(x_bhnd)
