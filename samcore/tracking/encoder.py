"""Run the image encoder on frames in batches whose shape never depends on where chunks were cut."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.models.family import ImageFeatures, TrackingModel


class FrameLike(Protocol):
    """A frame that knows its number; `samcore.video.Frame` is one."""

    @property
    def frame_idx(self) -> int:
        """Position in the source video, from 0."""

    @property
    def image_rgb_hwc_u8(self) -> NDArray[np.uint8]:
        """H x W x 3."""


@dataclass(frozen=True, slots=True, eq=False)
class NumberedFrame:
    """A plain array that was given its number."""

    frame_idx: int
    image_rgb_hwc_u8: NDArray[np.uint8]


class FrameEncoder:
    """Encodes frame `i` always at place `i mod batch_size` of a batch of `batch_size`.

    A kernel may give other last bits for another batch shape or place. With `batch_size=4`, chunks
    that begin at frames 0 and 6 encode the same batches; places that a chunk lacks stay empty:

        chunk [0, 7)   0123 456.
        chunk [6, 11)       ..67 89a.
    """

    def __init__(self, model: TrackingModel, *, height: int, width: int, batch_size: int) -> None:
        self._model = model
        self._shape = (height, width, 3)
        self._batch_size = batch_size

    def batches(self, frames: Iterable[FrameLike]) -> Iterator[list[FrameLike]]:
        """Group frames, in ascending order, by the batch that they belong to.

        A batch is given as soon as its last frame is there: of a live stream the next one is not.
        """
        batch: list[FrameLike] = []
        for frame in frames:
            if batch and frame.frame_idx // self._batch_size != self._number(batch):
                yield batch
                batch = []
            batch.append(frame)
            if (frame.frame_idx + 1) % self._batch_size == 0:
                yield batch
                batch = []
        if batch:
            yield batch

    def _number(self, batch: list[FrameLike]) -> int:
        return batch[0].frame_idx // self._batch_size

    def encode(self, batch: Sequence[FrameLike]) -> Mapping[int, ImageFeatures]:
        """Features of a batch's frames, by frame number.

        Raises:
            InputError: A frame is not H x W x 3 of 8 bits, with the H and W of the video.
        """
        size = self._model.facts.image_size
        images = torch.zeros(self._batch_size, 3, size, size, device=self._model.device)
        for frame in batch:
            image = frame.image_rgb_hwc_u8
            if image.shape != self._shape or image.dtype != np.uint8:
                raise InputError(
                    f"frame {frame.frame_idx} is {image.dtype} of shape {image.shape}; "
                    f"wanted uint8 of shape {self._shape}"
                )
            # One by one: the resize's shape must not depend on the batch either.
            images[frame.frame_idx % self._batch_size] = self._model.preprocess(image[None])[0]
        features = self._model.encode_images(images)
        return {f.frame_idx: features[f.frame_idx % self._batch_size] for f in batch}
