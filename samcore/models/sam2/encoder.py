"""The image encoder of the `sam2` package without its wasted work, over the same weights.

The package pads a layer's tokens to whole windows and projects the padding, too. A padded token is
zero, so its projection is the bias. Here real tokens are projected, and the padding is filled with
the bias. The position embedding depends on the size alone; the package resizes it for every frame.

The neck projects each level to 256 channels, and the mask decoder projects the two fine ones again,
to 32 and 64. Nothing stands between the two projections there, so one product does both:

    Ws (Wl x + bl) + bs  =  (Ws Wl) x + (Ws bl + bs)

The package also repeats the position encoding of every level for every frame; only the coarsest
one is ever read.

Tokens stand in other rows of a matrix product, and two products are one, so that last bits differ
from the package's: features with a deviation of 0.7 by 2e-6.

It is for CPUs. A GPU at batch one waits for launches, and this has more of them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleBlock, do_pool
from sam2.modeling.backbones.image_encoder import FpnNeck
from sam2.modeling.backbones.utils import window_partition, window_unpartition
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn

from samcore.machine.device import Compute


class ImageEncoder:
    """Runs the image encoder of a network, whose weights stay where they are."""

    def __init__(self, net: SAM2Base, *, compute: Compute, plain: bool) -> None:
        """Choose the way.

        Args:
            net: The network.
            compute: Device and precision.
            plain: Whether to go the package's way in any case.
        """
        self._net = net
        trunk = net.image_encoder.trunk
        self._is_lean = not plain and compute.device.type == "cpu" and type(trunk) is Hiera
        self._folds_neck = self._is_lean and _can_fold_neck(net)
        self._embedding: tuple[object, Tensor] | None = None

    def __call__(self, images_n3hw: Tensor) -> dict[str, Any]:
        """As `SAM2Base.forward_image`."""
        net, encoder = self._net, self._net.image_encoder
        if not self._is_lean:
            plain: dict[str, Any] = net.forward_image(images_n3hw)
            return plain
        levels = self._trunk(images_n3hw)
        if self._folds_neck:
            features, pos = self._folded_neck(levels)
        else:
            features, pos = encoder.neck(levels)
        if encoder.scalp > 0:
            features, pos = features[: -encoder.scalp], pos[: -encoder.scalp]
        if net.use_high_res_features_in_sam and not self._folds_neck:
            features[0] = net.sam_mask_decoder.conv_s0(features[0])
            features[1] = net.sam_mask_decoder.conv_s1(features[1])
        return {
            "vision_features": features[-1],
            "vision_pos_enc": pos,
            "backbone_fpn": features,
        }

    def _folded_neck(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """As `FpnNeck.forward` and the decoder's two projections after it.

        Returns:
            Features of each level, finest first, and position encodings of their sizes: that of the
            coarsest level that is used, and zeros for the others, which nobody reads.
        """
        encoder, decoder = self._net.image_encoder, self._net.sam_mask_decoder
        neck, last = encoder.neck, len(levels) - 1
        features = [
            _one_product(levels[i], neck.convs[last - i].conv, second)
            for i, second in enumerate((decoder.conv_s0, decoder.conv_s1))
        ]
        coarse: list[Tensor] = []
        for i in range(last, 1, -1):
            lateral = neck.convs[last - i](levels[i])
            if i in neck.fpn_top_down_levels and coarse:
                above = F.interpolate(coarse[0].float(), scale_factor=2.0, mode="nearest")
                lateral = lateral + above
            coarse.insert(0, lateral)
        features += coarse
        used = last - encoder.scalp
        zero = levels[0].new_zeros(1, 1, 1, 1)
        pos = [zero.expand(len(level), 1, *level.shape[2:]) for level in levels]
        pos[used] = neck.position_encoding(features[used]).to(features[used].dtype)
        return features, pos

    def _trunk(self, images_n3hw: Tensor) -> list[Tensor]:
        """As `Hiera.forward`."""
        trunk = self._net.image_encoder.trunk
        x_nhwc = trunk.patch_embed(images_n3hw)
        x_nhwc = x_nhwc + self._position_embedding(x_nhwc)
        outputs = []
        for i, block in enumerate(trunk.blocks):
            x_nhwc = _run_block(block, x_nhwc)
            is_last = i == trunk.stage_ends[-1]
            if is_last or (i in trunk.stage_ends and trunk.return_interm_layers):
                outputs.append(x_nhwc.permute(0, 3, 1, 2))
        return outputs

    def _position_embedding(self, like_nhwc: Tensor) -> Tensor:
        trunk = self._net.image_encoder.trunk
        # The weights may have been changed or moved since; autocast changes the arithmetic.
        key = (
            like_nhwc.shape[1:3],
            trunk.pos_embed.device,
            trunk.pos_embed._version,
            trunk.pos_embed_window._version,
            torch.is_autocast_enabled(like_nhwc.device.type),
        )
        if self._embedding is None or self._embedding[0] != key:
            self._embedding = (key, trunk._get_pos_embed(like_nhwc.shape[1:3]))
        return self._embedding[1]


def _run_block(block: MultiScaleBlock, x_nhwc: Tensor) -> Tensor:
    """As `MultiScaleBlock.forward` in evaluation."""
    window = block.window_size
    height, width = x_nhwc.shape[1:3]
    if window == 0 or (height % window == 0 and width % window == 0):
        result: Tensor = block(x_nhwc)
        return result
    shortcut = x_nhwc
    x_nhwc = block.norm1(x_nhwc)
    if block.dim != block.dim_out:
        shortcut = do_pool(block.proj(x_nhwc), block.pool)
    x_nhwc = shortcut + _attend_in_windows(block, x_nhwc, shortcut.shape[1:3])
    result = x_nhwc + block.mlp(block.norm2(x_nhwc))
    return result


def _attend_in_windows(block: MultiScaleBlock, x_nhwc: Tensor, out_hw: torch.Size) -> Tensor:
    attention, window = block.attn, block.window_size
    batch, height, width, _ = x_nhwc.shape
    qkv_nhwc = attention.qkv(x_nhwc)
    padded = qkv_nhwc.new_empty(
        batch, height + -height % window, width + -width % window, qkv_nhwc.shape[-1]
    )
    padded[:, height:] = attention.qkv.bias
    padded[:, :height, width:] = attention.qkv.bias
    padded[:, :height, :width] = qkv_nhwc
    windows, _ = window_partition(padded, window)
    count = windows.shape[0]
    windows = windows.reshape(count, window * window, 3, attention.num_heads, -1)
    q, k, v = torch.unbind(windows, 2)
    if attention.q_pool:
        q = do_pool(q.reshape(count, window, window, -1), attention.q_pool)
        window = q.shape[1]
        q = q.reshape(count, window * window, attention.num_heads, -1)
    attended = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    )
    attended = attended.transpose(1, 2).reshape(count, window, window, -1)
    out_height, out_width = out_hw
    padded_hw = (out_height + -out_height % window, out_width + -out_width % window)
    real_nhwc = window_unpartition(attended, window, padded_hw, (out_height, out_width))
    result: Tensor = attention.proj(real_nhwc)
    return result


def _one_product(x_nchw: Tensor, first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    """Two projections of every pixel, one after the other, as one."""
    if first.bias is None or second.bias is None:
        raise RuntimeError("`_can_fold_neck` lets none pass that has no bias")
    weight, onto = first.weight.flatten(1), second.weight.flatten(1)
    # Made for every frame: it costs a thousandth of one, and weights may change in between.
    bias = torch.addmv(second.bias, onto, first.bias)
    return F.conv2d(x_nchw, (onto @ weight)[:, :, None, None], bias)


def _can_fold_neck(net: SAM2Base) -> bool:
    """Whether the two fine levels are projected twice with nothing in between."""
    neck = net.image_encoder.neck
    return (
        type(neck) is FpnNeck
        and bool(net.use_high_res_features_in_sam)
        and len(neck.convs) - net.image_encoder.scalp > 2
        and min(neck.fpn_top_down_levels, default=2) > 1
        and neck.fpn_interp_model == "nearest"
        and neck.fuse_type == "sum"
        and all(conv.conv.kernel_size == (1, 1) for conv in neck.convs)
        and all(conv.conv.bias is not None for conv in neck.convs)
    )
