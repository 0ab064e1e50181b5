"""What the adapters of all families share, whatever package their network is from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samcore.machine.device import Compute, repeatable_kernels
from samcore.models.family import ImageFeatures
from samcore.models.pixels import Rgb, normalise


class Adapter:
    """A network on one device, in inference mode, without any memory of its own.

    All methods take and give tensors on `compute.device`. Batch results do not depend on what else
    is in the batch, but their last bits may depend on the batch's shape.
    """

    def __init__(
        self,
        *,
        compute: Compute,
        image_size: int,
        feature_size: int,
        mean: Rgb,
        std: Rgb,
        plain: bool = False,
    ) -> None:
        """Keep what every family needs.

        Args:
            compute: Device and precision.
            image_size: Side of the square input in pixels.
            feature_size: Side of the top-level features.
            mean, std: Of the pictures that the network was trained with.
            plain: Whether to compute everything as the packages do, without Longtake's own faster
                ways, whose results differ by rounding.
        """
        self.compute = compute
        self.plain = plain
        self.image_size = image_size
        self.feature_size = feature_size
        stats = torch.tensor([mean, std], device=compute.device)
        self._mean_1c11, self._std_1c11 = stats[:, None, :, None, None]

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return self.compute.device

    @property
    def dtype_name(self) -> str:
        """Arithmetic of the model, such as `bfloat16`."""
        return self.compute.dtype_name

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Parts that run otherwise than asked: none."""
        return ()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inference mode, mixed precision as chosen, and kernels whose results repeat."""
        with torch.inference_mode(), repeatable_kernels(), self.compute.autocast():
            yield

    def preprocess(self, images_rgb_nhwc_u8: NDArray[np.uint8]) -> Tensor:
        """Resize and normalise N frames: N x 3 x image_size x image_size, float32."""
        return normalise(
            images_rgb_nhwc_u8,
            image_size=self.image_size,
            mean_1c11=self._mean_1c11,
            std_1c11=self._std_1c11,
            plain=self.plain,
        )

    def _features_of_each(
        self,
        levels_nbc: Sequence[Tensor],
        top_pos_nbc: Tensor,
        sizes_hw: Sequence[tuple[int, int]],
    ) -> list[ImageFeatures]:
        """The features of each frame of a batch, in order.

        Args:
            levels_nbc: From the finest level to the top one, each (H * W) x B x C.
            top_pos_nbc: Position encoding of the top level, the same for every frame.
            sizes_hw: H and W of each level.
        """
        maps = [
            level.permute(1, 2, 0).reshape(level.shape[1], level.shape[2], *size)
            for level, size in zip(levels_nbc[:-1], sizes_hw[:-1], strict=True)
        ]
        top_nbc = levels_nbc[-1]
        return [
            ImageFeatures(
                tokens_n1c=top_nbc[:, i : i + 1],
                pos_n1c=top_pos_nbc[:, :1],
                high_res_1chw=tuple(level_map[i : i + 1] for level_map in maps),
            )
            for i in range(top_nbc.shape[1])
        ]

    def _to_map(self, tokens_nbc: Tensor) -> Tensor:
        """Tokens as maps, B x C x feature_size x feature_size."""
        _, batch, channels = tokens_nbc.shape
        side = self.feature_size
        return tokens_nbc.permute(1, 2, 0).reshape(batch, channels, side, side)
