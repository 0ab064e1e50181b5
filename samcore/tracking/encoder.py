"""Run the image encoder on frames in batches whose shape never depends on where chunks were cut."""

from collections.abc import Iterable, Iterator, Sequence
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
class _NumberedFrame:
    frame_idx: int
    image_rgb_hwc_u8: NDArray[np.uint8]


def numbered(
    frames: Iterable[FrameLike | NDArray[np.uint8]], next_frame: int
) -> Iterator[FrameLike]:
    """Frames with their numbers, checked to come from `next_frame` on without a gap.

    Raises:
        InputError: A frame is missing.
    """
    for wanted, frame in enumerate(frames, start=next_frame):
        if isinstance(frame, np.ndarray):
            frame = _NumberedFrame(wanted, frame)
        if frame.frame_idx != wanted:
            raise InputError(
                f"frames must come in order without gaps: wanted frame {wanted}, got "
                f"{frame.frame_idx}"
            )
        yield frame


class FrameEncoder:
    """Encodes frame `i` always at place `i mod batch_size` of a batch of `batch_size`.

    A kernel may give other last bits for another batch shape or place. With `batch_size=4`, chunks
    that begin at frames 0 and 6 encode the same batches; places that a chunk lacks stay empty:

        chunk [0, 7)   0123 456.
        chunk [6, 11)       ..67 89a.

    Where only every N-th frame is encoded, a batch has `batch_size / N` of these, at least one.
    """

    def __init__(
        self, model: TrackingModel, *, height: int, width: int, batch_size: int, every: int = 1
    ) -> None:
        self._model = model
        self._shape = (height, width, 3)
        self._batch_size = max(1, batch_size // every)
        self.every = every
        """Only frames whose number is a multiple of this are encoded."""

    def of_every(self, every: int) -> "FrameEncoder":
        """The encoder of every N-th frame of the same video; itself for 1."""
        if every == 1:
            return self
        height, width, _ = self._shape
        batch = self._batch_size
        return FrameEncoder(self._model, height=height, width=width, batch_size=batch, every=every)

    def batches(self, frames: Iterable[FrameLike]) -> Iterator[list[FrameLike]]:
        """Group frames, in ascending order, by the batch that they belong to.

        A batch is given as soon as its last frame is there: of a live stream the next one is not.
        """
        batch: list[FrameLike] = []
        for frame in frames:
            if batch and not self._is_one_batch(frame.frame_idx, batch[0].frame_idx):
                yield batch
                batch = []
            batch.append(frame)
            if not self._is_one_batch(frame.frame_idx, frame.frame_idx + 1):
                yield batch
                batch = []
        if batch:
            yield batch

    def anchor(self, frame_idx: int) -> int:
        """The frame whose features a frame is tracked by."""
        return frame_idx - frame_idx % self.every

    def encode(self, batch: Iterable[FrameLike]) -> dict[int, ImageFeatures]:
        """Features of those frames of a batch that are encoded, by frame number.

        Raises:
            InputError: A frame is not H x W x 3 of 8 bits, with the H and W of the video.
        """
        size = self._model.facts.image_size
        images = torch.zeros(self._batch_size, 3, size, size, device=self._model.device)
        places: dict[int, int] = {}
        for frame in batch:
            if frame.frame_idx != self.anchor(frame.frame_idx):
                continue
            image = frame.image_rgb_hwc_u8
            if image.shape != self._shape or image.dtype != np.uint8:
                raise InputError(
                    f"frame {frame.frame_idx} is {image.dtype} of shape {image.shape}; "
                    f"wanted uint8 of shape {self._shape}"
                )
            place = places[frame.frame_idx] = frame.frame_idx // self.every % self._batch_size
            # One by one: the resize's shape must not depend on the batch either.
            images[place] = self._model.preprocess(image[None])[0]
        features = self._model.encode_images(images)
        return {frame_idx: features[place] for frame_idx, place in places.items()}

    def _is_one_batch(self, one: int, other: int) -> bool:
        if self._batch_size == 1:
            # With features of a frame before there is nothing to wait for.
            return one == other
        length = self.every * self._batch_size
        return one // length == other // length


class FrameFeatures:
    """Features of the frames that are tracked, each batch encoded once something looks at it.

    Where only every N-th frame is encoded, the last one of these is kept, as a picture or as
    features: no more than a batch, whatever the video's length. With N = 3:

        frame        6  7  8  9 10 11
        features of  6  6  6  9  9  9
    """

    def __init__(self, encoder: FrameEncoder) -> None:
        """Nothing is known yet."""
        self._encoder = encoder
        self._frames: dict[int, FrameLike] = {}
        self._features: dict[int, ImageFeatures] = {}

    def first_needed(self, next_frame: int) -> int:
        """The frame to begin with, so that `next_frame` can be tracked."""
        anchor = self._encoder.anchor(next_frame)
        return next_frame if anchor in self._frames else anchor

    def batches(self, frames: Iterable[FrameLike]) -> Iterator[list[FrameLike]]:
        """As `FrameEncoder.batches`; `of` knows the frames of the batch that is given last."""
        try:
            for batch in self._encoder.batches(frames):
                self._take(batch)
                yield batch
        finally:
            if self._encoder.every == 1:
                self._frames, self._features = {}, {}

    def of(self, frame_idx: int) -> ImageFeatures:
        """The features that a frame is tracked by.

        Raises:
            InputError: A frame has another size than the video.
        """
        anchor = self._encoder.anchor(frame_idx)
        if anchor not in self._features:
            lacking = [f for i, f in self._frames.items() if i not in self._features]
            self._features |= self._encoder.encode(lacking)
        return self._features[anchor]

    def _take(self, batch: Sequence[FrameLike]) -> None:
        """Know the frames of a batch that are encoded, and of those before only what it needs."""
        found = {f.frame_idx: f for f in batch if f.frame_idx == self._encoder.anchor(f.frame_idx)}
        first = self._encoder.anchor(batch[0].frame_idx)
        is_before = first not in found and first in self._frames
        self._features = {i: f for i, f in self._features.items() if is_before and i == first}
        self._frames = {first: self._frames[first], **found} if is_before else found
