"""The memory attention of the `sam2` package with less arithmetic, over the same weights.

Values are folded (`samcore.models.attention`). The first layer's self-attention and queries see the
frame alone, so they are computed once for all objects. Keys are rotated where they lie, without
copies. Features of scale 4 differ from the package's by 1e-6 (`tests/bench/engine.py`).
"""

import math

import torch
import torch.nn.functional as F
from sam2.modeling.memory_attention import MemoryAttention as PackageAttention
from sam2.modeling.memory_attention import MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from samcore.machine.device import Compute
from samcore.models.attention import attend, folding_pays, project_folded, rotate


class MemoryAttention:
    """Runs the memory attention of a network, whose weights stay where they are."""

    def __init__(self, net: SAM2Base, *, compute: Compute, plain: bool) -> None:
        """Choose the way.

        Args:
            net: The network.
            compute: Device and precision.
            plain: Whether to go the package's way in any case.
        """
        self._net = net
        attention = net.memory_attention
        self._is_folded = (
            not plain
            and folding_pays(compute)
            and type(attention) is PackageAttention
            and attention.batch_first
            and all(_can_fold(layer) for layer in attention.layers)
        )

    def __call__(
        self,
        tokens_n1c: Tensor,
        pos_n1c: Tensor,
        memory_lbm: Tensor,
        memory_pos_lbm: Tensor,
        *,
        num_ptr_tokens: int,
    ) -> Tensor:
        """Fuse a frame's N tokens with the L memory tokens of each of B objects: N x B x C.

        Args:
            tokens_n1c: The frame's features, the same for all objects.
            pos_n1c: Their position encoding.
            memory_lbm: Memory tokens, those of pointers last.
            memory_pos_lbm: Their encoding of place and time.
            num_ptr_tokens: How many of them are of pointers, which have no place.
        """
        num_objects = memory_lbm.shape[1]
        if not self._is_folded:
            plain: Tensor = self._net.memory_attention(
                curr=[tokens_n1c.expand(-1, num_objects, -1)],
                curr_pos=[pos_n1c.expand(-1, num_objects, -1)],
                memory=memory_lbm,
                memory_pos=memory_pos_lbm,
                num_obj_ptr_tokens=num_ptr_tokens,
            )
            return plain
        return self._folded(tokens_n1c, pos_n1c, memory_lbm, memory_pos_lbm, num_ptr_tokens)

    def _folded(
        self,
        tokens_n1c: Tensor,
        pos_n1c: Tensor,
        memory_lbm: Tensor,
        memory_pos_lbm: Tensor,
        num_ptr_tokens: int,
    ) -> Tensor:
        attention = self._net.memory_attention
        pos_1nc = pos_n1c.transpose(0, 1)
        seen_1nc = tokens_n1c.transpose(0, 1)
        if attention.pos_enc_at_input:
            seen_1nc = seen_1nc + 0.1 * pos_1nc
        memory_blm = memory_lbm.transpose(0, 1).contiguous()
        placed_blm = memory_blm + memory_pos_lbm.transpose(0, 1)
        first = attention.layers[0]
        seen_1nc = first._forward_sa(seen_1nc, pos_1nc)
        first_q_nc = _queries(first, seen_1nc, pos_1nc)
        fused = []
        for memory_lm, placed_lm in zip(memory_blm, placed_blm, strict=True):
            out_1nc = seen_1nc
            for layer in attention.layers:
                q_nc = first_q_nc
                if layer is not first:
                    out_1nc = layer._forward_sa(out_1nc, pos_1nc)
                    q_nc = _queries(layer, out_1nc, pos_1nc)
                cross = layer.cross_attn_image
                k_lc = cross.k_proj(placed_lm if layer.pos_enc_at_cross_attn_keys else memory_lm)
                rotate(k_lc[: len(k_lc) - num_ptr_tokens], cross.freqs_cis)
                found_nm = attend(q_nc, k_lc, memory_lm)
                out_1nc = out_1nc + project_folded(found_nm, cross.v_proj, cross.out_proj)
                hidden = layer.linear1(layer.norm3(out_1nc))
                # In place: a new tensor of this size would cost page faults each time.
                hidden = hidden.relu_() if layer.activation is F.relu else layer.activation(hidden)
                out_1nc = out_1nc + layer.linear2(hidden)
            fused.append(attention.norm(out_1nc))
        return torch.cat(fused).transpose(0, 1)


def _queries(layer: MemoryAttentionLayer, out_1nc: Tensor, pos_1nc: Tensor) -> Tensor:
    """What a frame's tokens ask the memory for, rotated by their places, N x C."""
    cross = layer.cross_attn_image
    asking_1nc = layer.norm2(out_1nc)
    if layer.pos_enc_at_cross_attn_queries:
        asking_1nc = asking_1nc + pos_1nc
    num_places = asking_1nc.shape[1]
    # As `RoPEAttention.forward`: where there is a GPU the package makes the table there, and for
    # its own size of the input.
    cross.freqs_cis = cross.freqs_cis.to(asking_1nc.device)
    if cross.freqs_cis.shape[0] != num_places:
        side = math.sqrt(num_places)
        cross.freqs_cis = cross.compute_cis(end_x=side, end_y=side)
    q_nc: Tensor = cross.q_proj(asking_1nc)[0]
    rotate(q_nc, cross.freqs_cis)
    return q_nc


def _can_fold(layer: MemoryAttentionLayer) -> bool:
    """Whether folding saves arithmetic: one head, whose values are wider than memory tokens.

    SAM 2 and 2.1 are so; nano has four heads of 32, narrower than its tokens.
    """
    attention = layer.cross_attn_image
    return (
        type(layer) is MemoryAttentionLayer
        and type(attention) is RoPEAttention
        and attention.rope_k_repeat
        and attention.num_heads == 1
        and attention.kv_in_dim < attention.internal_dim
    )
