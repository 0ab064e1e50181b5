"""Run the image encoder on pictures of any sizes, all at once."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from samcore.models.family import ImageFeatures, TrackingModel


def encode_pictures(
    model: TrackingModel, images_rgb_hwc_u8: Sequence[NDArray[np.uint8]]
) -> list[ImageFeatures]:
    """Features of each picture, in order.

    Pictures are uploaded as bytes, and resized one by one: they may differ in size. Runs within
    `model.running()`.
    """
    pixels = [
        model.preprocess(np.ascontiguousarray(image_hwc)[None]).contiguous()
        for image_hwc in images_rgb_hwc_u8
    ]
    return model.encode_images(pixels[0] if len(pixels) == 1 else torch.cat(pixels))
