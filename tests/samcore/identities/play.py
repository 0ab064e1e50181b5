"""A play for association: rectangles on a small stage, and what a perfect tracker makes of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from samcore.identities.association import Decisions, TrackedMask, associate
from samcore.identities.config import AssociationConfig
from samcore.identities.ledger import Ledger
from samcore.identities.sightings import Sighting

SIDE = 48

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom."""


def mask_of(rect: Rect | None) -> NDArray[np.bool_]:
    """A rectangle on the stage; nothing for None."""
    mask_hw = np.zeros((SIDE, SIDE), np.bool_)
    if rect is not None:
        left, top, right, bottom = rect
        mask_hw[top:bottom, left:right] = True
    return mask_hw


def logits_of(rect: Rect | None, logit: float = 5.0) -> NDArray[np.float32]:
    """Logits of a rectangle."""
    return np.where(mask_of(rect), np.float32(logit), np.float32(-5.0)).astype(np.float32)


def seen(rect: Rect, score: float = 0.9, label: str | None = None) -> Sighting:
    """A sighting of a rectangle."""
    return Sighting(mask_of(rect), score, label)


class Play:
    """Frames one after the other, with the ledger that they leave."""

    def __init__(self, config: AssociationConfig | None = None, *, first_frame: int = 0) -> None:
        self.config = config or AssociationConfig()
        self.ledger = Ledger()
        self.next_frame = first_frame

    def frame(
        self,
        sightings: Sequence[Sighting] | None,
        masks: Mapping[int, Rect | None] | None = None,
        *,
        score: float = 5.0,
    ) -> Decisions:
        """Play one frame with these objects on it; an object is there with its rectangle."""
        tracks = [
            TrackedMask(obj_id, logits_of(rect), score if rect else -5.0)
            for obj_id, rect in (masks or {}).items()
        ]
        decisions = associate(self.ledger, self.config, self.next_frame, tracks, sightings)
        self.ledger = decisions.ledger
        self.next_frame += 1
        return decisions

    def frames(
        self,
        count: int,
        sightings: Sequence[Sighting] | None,
        masks: Mapping[int, Rect | None],
    ) -> list[Decisions]:
        """The same frame some times; who is removed is not there any more."""
        there, found = dict(masks), []
        for _ in range(count):
            found.append(self.frame(sightings, there))
            for obj_id in found[-1].removed:
                del there[obj_id]
        return found

    @property
    def ids(self) -> list[int]:
        """All tracks."""
        return [track.obj_id for track in self.ledger.tracks]
