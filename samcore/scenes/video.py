"""What every kind of synthetic video gives: pictures and exact masks at any frame, in any order."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class SceneFrame:
    """One frame and the whole truth about it."""

    frame_idx: int
    """Position in the video, from 0."""
    image_rgb_hwc_u8: NDArray[np.uint8]
    """The picture, H x W x 3."""
    masks_nhw: NDArray[np.bool_]
    """The pixels of each object that can be seen, N x H x W; no pixel belongs to two objects."""
    present_n: NDArray[np.bool_]
    """Whether any pixel of the object can be seen."""


def box_of(mask_hw: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The tightest box around a mask: left, top, right, bottom in pixels, right and bottom past
    the last pixel.

    Raises:
        InputError: The mask is empty.
    """
    xs = np.flatnonzero(mask_hw.any(axis=0))
    ys = np.flatnonzero(mask_hw.any(axis=1))
    if not len(xs):
        raise InputError("an empty mask has no box; ask for one on a frame that shows the object")
    return float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)


class SyntheticVideo(ABC):
    """A video that is drawn from a seed, and whose truth is known.

    A frame is a function of the seed and its number alone, whatever was asked for before; nothing
    is kept between frames. The same seed shows the same scene at any size of the same aspect.
    """

    def __init__(
        self, seed: int, *, num_frames: int, height: int, width: int, num_objects: int
    ) -> None:
        """Keep the measures of the video.

        Raises:
            InputError: A size or count is below its least value.
        """
        if min(height, width) < 16 or num_frames < 1 or seed < 0 or not 0 < num_objects <= 200:
            raise InputError(
                "a scene needs at least 16 x 16 pixels, 1 frame, 1 to 200 objects and a seed of "
                f"at least 0, got {height = }, {width = }, {num_frames = }, {num_objects = }, "
                f"{seed = }"
            )
        self.seed = seed
        self.num_frames = num_frames
        self.height = height
        self.width = width
        self.obj_ids = tuple(range(1, num_objects + 1))

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[SceneFrame]:
        for frame_idx in range(self.num_frames):
            yield self.frame(frame_idx)

    @abstractmethod
    def frame(self, frame_idx: int) -> SceneFrame:
        """Paint one frame.

        Raises:
            InputError: The video has no such frame.
        """

    @abstractmethod
    def masks_nhw(self, frame_idx: int) -> NDArray[np.bool_]:
        """The visible pixels of each object as `frame` gives them, without painting the picture."""

    @abstractmethod
    def _whole_area(self, frame_idx: int, obj_id: int) -> float:
        """Pixels that the object would cover if nothing hid or cut it."""

    def first_visible(self, obj_id: int) -> int:
        """The first frame that shows more than half of the object, where a prompt is fair; if
        there is none, the first one that shows any of it.

        Raises:
            InputError: The scene has no such object, or it never comes into the picture.
        """
        if obj_id not in self.obj_ids:
            raise InputError(f"no object {obj_id}; the scene has objects {self.obj_ids}")
        glimpse: int | None = None
        for frame_idx in range(self.num_frames):
            seen = int(self.masks_nhw(frame_idx)[obj_id - 1].sum())
            if seen > self._whole_area(frame_idx, obj_id) / 2:
                return frame_idx
            if seen and glimpse is None:
                glimpse = frame_idx
        if glimpse is None:
            raise InputError(
                f"object {obj_id} is never seen in {self.num_frames} frames; ask for more frames"
            )
        return glimpse

    def _check(self, frame_idx: int) -> None:
        if not 0 <= frame_idx < self.num_frames:
            raise InputError(
                f"no frame {frame_idx}; the scene has frames 0 to {self.num_frames - 1}"
            )
