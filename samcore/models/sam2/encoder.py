"""The image encoder of the `sam2` package without its wasted work, over the same weights.

The package pads a layer's tokens to whole windows and projects the padding, too. A padded token is
zero, so its projection is the bias. Here real tokens are projected, and the padding is filled with
the bias. The position embedding depends on the size alone; the package resizes it for every frame.

Bits are the package's where no layer is padded: nano at 128 px, SAM 2.1 tiny at multiples of 224.
Elsewhere a token stands in another row of a matrix product, whose last bits depend on that:
features with a deviation of 0.7 differ by 2e-6.

It is for CPUs. A GPU at batch one waits for launches, and this has more of them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleBlock, do_pool
from sam2.modeling.backbones.utils import window_partition, window_unpartition
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

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
        self._embedding: tuple[object, Tensor] | None = None

    def __call__(self, images_n3hw: Tensor) -> dict[str, Any]:
        """As `SAM2Base.forward_image`."""
        net, encoder = self._net, self._net.image_encoder
        if not self._is_lean:
            plain: dict[str, Any] = net.forward_image(images_n3hw)
            return plain
        features, pos = encoder.neck(self._trunk(images_n3hw))
        if encoder.scalp > 0:
            features, pos = features[: -encoder.scalp], pos[: -encoder.scalp]
        if net.use_high_res_features_in_sam:
            features[0] = net.sam_mask_decoder.conv_s0(features[0])
            features[1] = net.sam_mask_decoder.conv_s1(features[1])
        return {
            "vision_features": features[-1],
            "vision_pos_enc": pos,
            "backbone_fpn": features,
        }

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
