"""What the tracker gives for one frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class FrameMasks:
    """The masks of all live objects on one frame, in the order of their ids."""

    frame_idx: int
    """Position in the source video, from 0."""
    obj_ids: tuple[int, ...]
    """The N objects that have begun and were not removed, ascending."""
    masks_nhw: NDArray[np.bool_]
    """N x H x W at the size of the video as displayed. All False where an object is absent."""
    object_scores_n: NDArray[np.float32]
    """Logit that the object is in the frame at all; above 0 is present."""
    predicted_ious_n: NDArray[np.float32]
    """The model's guess of each mask's quality, in [0, 1]; 1 where a mask was given."""
    prompted_n: NDArray[np.bool_]
    """True where the mask comes from a prompt on this very frame."""
    retired: tuple[int, ...] = ()
    """Objects that were absent for so long that they are only looked for from time to time. They
    are absent here and in none of the arrays; ascending."""
    given_up: tuple[int, ...] = ()
    """Objects that retired and are not looked for any more; likewise."""

    @classmethod
    def of_none(cls, frame_idx: int, *, height: int, width: int) -> "FrameMasks":
        """A frame before any object has begun."""
        none = np.empty(0, dtype=np.float32)
        masks_nhw = np.empty((0, height, width), dtype=np.bool_)
        return cls(frame_idx, (), masks_nhw, none, none, np.empty(0, dtype=np.bool_))
