"""Ways to give a tracker a prompt without making one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from samcore.prompts.prompt import Prompt


class TakesPrompts(ABC):
    """What whoever prompts by hand calls."""

    @abstractmethod
    def add_prompt(self, prompt: Prompt) -> None:
        """Take a prompt."""

    def add_box(
        self, obj_id: int, frame_idx: int, box_xyxy_px: tuple[float, float, float, float]
    ) -> None:
        """Prompt with a box: left, top, right, bottom in pixels of the video."""
        self.add_prompt(Prompt(obj_id, frame_idx, box_xyxy_px=box_xyxy_px))

    def add_points(
        self,
        obj_id: int,
        frame_idx: int,
        points_xy_px: Sequence[tuple[float, float]],
        labels: Sequence[int] | None = None,
    ) -> None:
        """Prompt with clicks; labels are 1 for the object (also when left out), 0 for not."""
        labels = [1] * len(points_xy_px) if labels is None else labels
        prompt = Prompt(
            obj_id, frame_idx, points_xy_px=tuple(points_xy_px), point_labels=tuple(labels)
        )
        self.add_prompt(prompt)

    def add_mask(self, obj_id: int, frame_idx: int, mask_hw: NDArray[np.bool_]) -> None:
        """Prompt with a mask at the video's size."""
        self.add_prompt(Prompt(obj_id, frame_idx, mask_hw=mask_hw.astype(np.bool_)))
