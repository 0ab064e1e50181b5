"""What a person says about an object on a picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samcore.prompts.prompt import Prompt


@dataclass(frozen=True, slots=True, eq=False)
class PicturePrompt(Prompt):
    """A prompt of an object on a single picture, which may correct an earlier answer.

    `ImageSegmenter` takes plain prompts, too; a picture is frame 0.
    """

    frame_idx: int = 0
    """Always 0."""
    prior_logits_hw: NDArray[np.float32] | None = None
    """`PictureMask.logits_hw` of an earlier answer for the same picture, which the clicks or the
    box correct; not beside a mask."""
