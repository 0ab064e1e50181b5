"""Segment single pictures with the image half of any tracking model, many at once."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samcore.detectors.detector import Detector
from samcore.images.everything import EverythingOptions
from samcore.images.result import PictureMasks
from samcore.machine.rung import Rung
from samcore.models.family import TrackingModel
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.prompt import Prompt

Candidates = Literal["best", "all", "single"]
"""Which masks there are for a prompt: the best one, where the model decides for how many clicks
three compete; all three; or the one that the model makes for prompts that say enough."""
Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


def picture_rung(model: TrackingModel) -> Rung:
    """How many pictures and prompts this model takes at once, by its input and what is free now.

    `OomLadder` steps down from it: `encode_batch` is pictures, `object_batch` prompts.
    """
    raise NotImplementedError


class ImageSegmenter:
    """Segments pictures: N go through the image encoder at once, and the prompts of all of them
    through the mask decoder at once.

    Results are those of one picture at a time, but for rounding. Nothing is kept between calls.
    What runs out of memory is raised as it is; the caller makes another segmenter with a smaller
    rung, which costs nothing.
    """

    def __init__(self, model: TrackingModel, *, rung: Rung | None = None) -> None:
        """Make a segmenter.

        Args:
            model: Of any family; runs on its device.
            rung: How many pictures (`encode_batch`) and prompts (`object_batch`) are worked on at
                once; None is `picture_rung(model)`.
        """
        raise NotImplementedError

    @property
    def rung(self) -> Rung:
        """How much is done at once. Give as many pictures as `rung.encode_batch`, or a multiple of
        that, in a call."""
        raise NotImplementedError

    def segment(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        prompts: Sequence[Sequence[Prompt]],
        *,
        candidates: Candidates = "best",
        mask_threshold: float = 0.0,
        min_region_area: int = 0,
        keep_logits: bool = False,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment what prompts say.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            prompts: For each picture its prompts, each for one object: a box, points, a box with
                points, a mask, a mask with points, or (`PicturePrompt`) an earlier answer with a
                box or points. None at all gives no masks.
            candidates: Which masks are given for each prompt.
            mask_threshold: Logits above this are inside.
            min_region_area: As in `EverythingOptions`.
            keep_logits: Whether masks have `logits_hw`, to be corrected later.
            on_progress: Told how many pictures are done.

        Returns:
            The masks of each picture; of each prompt one, or with `all` three.

        Raises:
            InputError: A picture or prompt cannot be used; the line names it.
            ModelError: The model gives no numbers.
        """
        raise NotImplementedError

    def everything(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        options: EverythingOptions | None = None,
        *,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment everything that the model has a good mask for.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            options: How; None is as the sam2 package has it.
            on_progress: Told how many points are done, of those of all pictures.

        Returns:
            The masks of each picture, best first by predicted IoU, those of smaller crops before.

        Raises:
            InputError: A picture cannot be used.
            ModelError: The model gives no numbers.
        """
        raise NotImplementedError

    def detected(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        detector: Detector,
        options: AutomaticPrompts,
        *,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment what a detector finds: masks are taken as they are, boxes go to the decoder.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            detector: From `make_detector(options, model, batch=...)`.
            options: Which of its detections count, and how many there may be on a picture.
            on_progress: Told how many pictures are done.

        Returns:
            The masks of each picture, best first, with the detector's scores and labels.

        Raises:
            InputError: A picture cannot be used, or a text is longer than the detector takes.
            ModelError: The model gives no numbers.
        """
        raise NotImplementedError

    def by_text(
        self,
        pictures_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        texts: Sequence[Sequence[str]],
        detector: Detector,
        options: AutomaticPrompts,
        *,
        on_progress: Progress | None = None,
    ) -> list[PictureMasks]:
        """Segment what texts say.

        Args:
            pictures_rgb_hwc_u8: N pictures, each H x W x 3, of any sizes.
            texts: For each picture what to look for on it, one concept or several.
            detector: One that takes text, from `make_detector`; see `LooksForText`.
            options: As for `detected`; its own `text` does not count.
            on_progress: Told how many pictures are done.

        Returns:
            The masks of each picture, best first; `label` is the concept that gave one.

        Raises:
            InputError: A picture or text cannot be used, or the detector takes none.
            ModelError: The model gives no numbers.
        """
        raise NotImplementedError
