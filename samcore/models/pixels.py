"""Prepare pictures for an image encoder, in one way for every family."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Rgb = tuple[float, float, float]
"""A number for red, green and blue each, of pictures from 0 to 1."""


def normalise(
    images_rgb_nhwc_u8: NDArray[np.uint8], *, image_size: int, mean_1c11: Tensor, std_1c11: Tensor
) -> Tensor:
    """Resize frames to a square and normalise them.

    Bilinear with antialiasing on floats, as the sam2 package's image predictor does it. (The video
    predictors' loaders resize to 8-bit values with whatever PIL, decord or torchvision does.)

    Args:
        images_rgb_nhwc_u8: N x H x W x 3, RGB.
        image_size: Side of the square in pixels.
        mean_1c11: Mean of each channel, for values from 0 to 1; on the device that computes.
        std_1c11: Their standard deviation.

    Returns:
        N x 3 x image_size x image_size, float32, on that device.
    """
    images = torch.from_numpy(np.ascontiguousarray(images_rgb_nhwc_u8)).to(mean_1c11.device)
    images = images.permute(0, 3, 1, 2).float() / 255.0
    size = (image_size, image_size)
    if images.shape[-2:] != size:
        images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
    normalised: Tensor = (images - mean_1c11) / std_1c11
    return normalised


def mask_at_input_size(
    mask_hw: NDArray[np.bool_], *, image_size: int, device: torch.device
) -> Tensor:
    """A given mask at the size of the model's input, 1 x 1 x image_size x image_size, float32.

    Follows `SAM2VideoPredictor.add_new_mask` (sam2 1.1.0).
    """
    mask = torch.from_numpy(np.ascontiguousarray(mask_hw)).to(device).float()[None, None]
    size = (image_size, image_size)
    if mask.shape[-2:] != size:
        mask = F.interpolate(mask, size=size, mode="bilinear", antialias=True)
        mask = (mask >= 0.5).float()
    return mask
