"""What every detector gives, whatever it is made of, and the list of them.

A detector gets pictures and says where objects are, as masks or boxes with scores. Which of them
become objects of a run is decided in `samcore/prompts/automatic.py`, in one way for all detectors.
"""

from __future__ import annotations  # torch takes a second to import; only types need it here

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from samcore.registry import Entry, Registry

if TYPE_CHECKING:
    from samcore.models.family import TrackingModel
    from samcore.prompts.automatic import AutomaticPrompts


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One object on one picture; it has a mask or a box."""

    score: float
    """How sure the detector is, about 0 to 1; comparable within a picture."""
    picture_hw: tuple[int, int]
    """Height and width of the picture."""
    mask_hw: NDArray[np.bool_] | None = None
    """Where the object is. It may be smaller than the picture, and is enlarged when it is used."""
    box_xyxy_px: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom in pixels of the picture; not beside a mask."""
    label: str | None = None
    """What the object is, if the detector says that. A run does not use it yet."""

    def __post_init__(self) -> None:
        if (self.mask_hw is None) == (self.box_xyxy_px is None):
            raise ValueError("a detection has a mask or a box, and not both")

    def enlarged(self) -> NDArray[np.bool_] | None:
        """The mask at the size of the picture, H x W; None if there is a box."""
        if self.mask_hw is None:
            return None
        if self.mask_hw.shape == self.picture_hw:
            return np.ascontiguousarray(self.mask_hw)
        import cv2  # late: a request is checked without it

        height, width = self.picture_hw
        # Linear between the pixels: no staircase along the edge.
        large = cv2.resize(
            self.mask_hw.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
        )
        return np.asarray(large >= 0.5)

    def region(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask, or the inside of the box, on a grid of this size laid over the picture."""
        if self.mask_hw is not None:
            if self.mask_hw.shape == size_hw:
                return self.mask_hw
            import cv2

            small_hw = self.mask_hw.astype(np.uint8)
            grid_hw = cv2.resize(small_hw, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
            return np.asarray(grid_hw > 0)
        left, top, right, bottom = self.box_xyxy_px or (0.0, 0.0, 0.0, 0.0)
        down, across = size_hw[0] / self.picture_hw[0], size_hw[1] / self.picture_hw[1]
        inside_hw = np.zeros(size_hw, bool)
        rows = slice(max(0, round(top * down)), max(0, round(bottom * down)))
        inside_hw[rows, max(0, round(left * across)) : max(0, round(right * across))] = True
        return inside_hw


class Detector(Protocol):
    """Finds objects on single pictures.

    Equal pictures give equal detections on the same machine, whatever was looked at before: a run
    that is started again must find the same objects. What runs out of memory is raised as it is,
    and the caller makes a new detector with a smaller batch.
    """

    def detect(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        first_frame: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Detection]]:
        """Look at pictures.

        Args:
            images_rgb_hwc_u8: Consecutive frames, each H x W x 3.
            first_frame: The number of the first one, for an error.
            on_progress: Called with how much of the work is done, and how much there is.

        Returns:
            The detections of each picture, in any order.
        """


class MakesDetector(Protocol):
    """The home of an entry: a class, or a function that makes a detector."""

    def __call__(
        self, model: TrackingModel, options: AutomaticPrompts, *, batch: int
    ) -> Detector: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorEntry(Entry):
    """A detector. Its home makes one from a model, options and a batch: see `MakesDetector`."""

    batch: int = 1
    """How much of its work it does at once where memory allows that; halved where it does not."""
    unit: str = "pictures"
    """What its progress counts."""
    version: str = "1"
    """All that its answers depend on besides the model and the options, such as a library's version
    and a digest of its weights: what was found is kept under this, and not looked for again."""


DETECTORS = Registry(
    "detector",
    "longtake.detectors",
    DetectorEntry,
    [
        DetectorEntry(
            name="masks",
            about="whatever the tracking model has a sharp mask for, by a grid of clicks",
            home="samcore.detectors.masks:MaskGrid",
            batch=64,
            unit="points",
        ),
    ],
)
"""The detectors, by name."""


def make_detector(options: AutomaticPrompts, model: TrackingModel, *, batch: int) -> Detector:
    """The detector that is asked for.

    Args:
        options: Name it, and say what it is to find.
        model: The run's own, on its device.
        batch: How much it does at once, `DetectorEntry.batch` or less.

    Raises:
        InputError: There is no such detector; the message lists the known ones.
    """
    home: MakesDetector = DETECTORS.get(options.detector).load()
    return home(model, options, batch=batch)
