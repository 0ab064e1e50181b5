"""What some detectors can do besides."""

from __future__ import annotations  # torch takes a second to import; only types need it here

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from samcore.detectors.detector import Detection, Detector, DetectorFiles

if TYPE_CHECKING:
    from samcore.models.family import ImageFeatures
    from samcore.models.registry import ModelSpec
    from samcore.prompts.automatic import AutomaticPrompts


@runtime_checkable
class LooksForText(Detector, Protocol):
    """A detector that takes text. One network serves any texts."""

    def looking_for(self, texts: Sequence[str]) -> Detector:
        """The same network, looking for other texts; a detection's label is the text that gave it.

        Raises:
            InputError: It cannot look for these.
        """


class FeatureDetector(Detector, Protocol):
    """One that can take what the tracking model's image encoder gave, so that a frame is encoded
    once for both."""

    def detect_features(
        self,
        features: Sequence[ImageFeatures],
        *,
        picture_hw: tuple[int, int],
        first_frame: int = 0,
    ) -> list[list[Detection]]:
        """Look at frames that are encoded; what is found is what `detect` finds on the pictures.

        Args:
            features: Of one frame or more, encoded after this detector was made, in whatever
                batches: what is found on one does not depend on the others.
            picture_hw: Height and width of the pictures.
            first_frame: The number of the first one in the video, for errors.

        Returns:
            The detections of each frame, in any order.
        """


class ModelPart(DetectorFiles, Protocol):
    """The files of a detector that is a part of the model that tracks."""

    def check_model(self, model: ModelSpec, options: AutomaticPrompts) -> str:
        """Hold the run's model against what is asked; its files are here.

        Returns:
            All that answers depend on besides the model's fingerprint and `options`.

        Raises:
            SegmentationError: It does not do; one line says why, and what to do.
        """
