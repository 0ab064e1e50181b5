"""Ground truth, one frame at a time, whatever it is kept in."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from samcore.masks.rle import Rle

TruthKind = Literal["davis", "mots-png", "mots-txt", "coco-video"]
"""DAVIS's PNGs with a palette; MOTS's PNGs of 16 bits, or its text; YouTube-VIS's JSON."""


@dataclass(frozen=True, slots=True)
class TruthFrame:
    """What is true of one annotated frame."""

    frame: int
    """Position in the video, from 0."""
    masks: Mapping[int, Rle]
    """The objects that can be seen, by the ground truth's number; none of them is empty."""
    void: tuple[Rle, ...]
    """Regions that are not to be judged."""


class GroundTruth(ABC):
    """The annotated frames of one video."""

    kind: TruthKind
    """What it was read from."""
    height: int
    """Rows of its masks."""
    width: int
    """Columns of its masks."""

    @abstractmethod
    def frames(self) -> Iterator[TruthFrame]:
        """The annotated frames in ascending order, each read when it is asked for.

        Frames without an object are among them, where the format can say that of a frame. Each
        call begins again.

        Raises:
            InputError: A file is damaged, or of another size.
        """
