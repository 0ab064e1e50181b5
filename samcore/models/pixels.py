"""Prepare pictures for an image encoder, in one way for every family."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcore.machine.transfer import send

Rgb = tuple[float, float, float]
"""A number for red, green and blue each, of pictures from 0 to 1."""


def normalise(
    images_rgb_nhwc_u8: NDArray[np.uint8],
    *,
    image_size: int,
    mean_1c11: Tensor,
    std_1c11: Tensor,
    plain: bool = False,
) -> Tensor:
    """Resize frames to a square and normalise them.

    Bilinear with antialiasing on floats, as the sam2 package's image predictor does it. (The video
    predictors' loaders resize to 8-bit values with whatever PIL, decord or torchvision does.)

    Args:
        images_rgb_nhwc_u8: N x H x W x 3, RGB.
        image_size: Side of the square in pixels.
        mean_1c11: Mean of each channel, for values from 0 to 1; on the device that computes.
        std_1c11: Their standard deviation.
        plain: Whether to take one step after the other, on pixels as they lie. By default planes
            are resized, which are faster to read, and everything else is one multiplication and
            addition; values differ by 1e-6.

    Returns:
        N x 3 x image_size x image_size, float32, on that device.
    """
    images = send(torch.from_numpy(np.ascontiguousarray(images_rgb_nhwc_u8)), mean_1c11.device)
    images = images.permute(0, 3, 1, 2)
    if plain:
        normalised: Tensor = (_resized(images.float() / 255.0, image_size) - mean_1c11) / std_1c11
        return normalised
    planes = images.to(torch.float32, memory_format=torch.contiguous_format)
    return torch.addcmul(
        -mean_1c11 / std_1c11, _resized(planes, image_size), 1 / (255.0 * std_1c11)
    )


def _resized(images_nchw: Tensor, image_size: int) -> Tensor:
    size = (image_size, image_size)
    if images_nchw.shape[-2:] == size:
        return images_nchw
    return F.interpolate(images_nchw, size=size, mode="bilinear", antialias=True)


def mask_at_input_size(
    mask_hw: NDArray[np.bool_], *, image_size: int, device: torch.device
) -> Tensor:
    """A given mask at the size of the model's input, 1 x 1 x image_size x image_size, float32.

    Follows `SAM2VideoPredictor.add_new_mask` (sam2 1.1.0).
    """
    mask = send(torch.from_numpy(np.ascontiguousarray(mask_hw)), device).float()[None, None]
    size = (image_size, image_size)
    if mask.shape[-2:] != size:
        mask = F.interpolate(mask, size=size, mode="bilinear", antialias=True)
        mask = (mask >= 0.5).float()
    return mask
