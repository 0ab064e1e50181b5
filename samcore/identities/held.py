"""Rows that are not final yet: a frame's masks as run lengths, until its young tracks are old."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from samcore.identities.config import AssociationConfig
from samcore.identities.ledger import Ledger
from samcore.masks.frame_masks import FrameMasks

if TYPE_CHECKING:
    from samcore.masks.rle import Rle

_PIECE = 1000
"""Characters of one text in a state's file."""


class HeldRow(BaseModel):
    """One object on one frame."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    obj_id: int
    counts: tuple[str, ...]
    """COCO compressed run lengths, in pieces of 1,000 characters."""
    score: float
    predicted_iou: float
    prompted: bool

    def rle(self, height: int, width: int) -> "Rle":
        """The mask, compressed. Its run lengths are not checked."""
        from samcore.masks.rle import Rle  # late: a state's header is read without it

        return Rle(height, width, "".join(self.counts).encode("ascii"))


class HeldFrame(BaseModel):
    """All objects of one frame, by ascending id; a `FrameMasks` without its pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    frame_idx: int = Field(ge=0)
    rows: tuple[HeldRow, ...] = ()
    retired: tuple[int, ...] = ()
    given_up: tuple[int, ...] = ()

    @classmethod
    def of(cls, masks: FrameMasks) -> "HeldFrame":
        """The frame, compressed."""
        from samcore.masks.rle import encode_masks

        rows = []
        for place, rle in enumerate(encode_masks(masks.masks_nhw)):
            text = rle.counts.decode("ascii")
            rows.append(
                HeldRow(
                    obj_id=masks.obj_ids[place],
                    counts=tuple(text[i : i + _PIECE] for i in range(0, len(text), _PIECE)),
                    score=float(masks.object_scores_n[place]),
                    predicted_iou=float(masks.predicted_ious_n[place]),
                    prompted=bool(masks.prompted_n[place]),
                )
            )
        return cls(
            frame_idx=masks.frame_idx,
            rows=tuple(rows),
            retired=masks.retired,
            given_up=masks.given_up,
        )

    def without(self, obj_ids: Collection[int]) -> "HeldFrame":
        """The frame as if these objects had never been."""
        if not obj_ids:
            return self
        return HeldFrame(
            frame_idx=self.frame_idx,
            rows=tuple(row for row in self.rows if row.obj_id not in obj_ids),
            retired=tuple(obj_id for obj_id in self.retired if obj_id not in obj_ids),
            given_up=tuple(obj_id for obj_id in self.given_up if obj_id not in obj_ids),
        )

    def masks(self, *, height: int, width: int) -> FrameMasks:
        """The frame as it was.

        Raises:
            ValueError: The run lengths are damaged.
        """
        from samcore.masks.rle import decode_masks

        if not self.rows:
            nothing = FrameMasks.of_none(self.frame_idx, height=height, width=width)
            masks_nhw = nothing.masks_nhw
        else:
            masks_nhw = decode_masks([row.rle(height, width) for row in self.rows])
        return FrameMasks(
            frame_idx=self.frame_idx,
            obj_ids=tuple(row.obj_id for row in self.rows),
            masks_nhw=masks_nhw,
            object_scores_n=np.array([row.score for row in self.rows], np.float32),
            predicted_ious_n=np.array([row.predicted_iou for row in self.rows], np.float32),
            prompted_n=np.array([row.prompted for row in self.rows], np.bool_),
            retired=self.retired,
            given_up=self.given_up,
        )


def not_confirmed(held: HeldFrame, ledger: Ledger, config: AssociationConfig) -> set[int]:
    """The objects of a frame that are not shown on it, now that it is final."""
    if not config.confirm_frames:
        return set()
    tracks = {track.obj_id: track for track in ledger.tracks if not track.vouched}
    back = (config.confirm_frames - 1) * config.detect_every
    hidden = set()
    for row in held.rows:
        track = tracks.get(row.obj_id)
        if track is not None and (
            track.confirmed_at is None or held.frame_idx < track.confirmed_at - back
        ):
            hidden.add(row.obj_id)
    return hidden


class Identities(BaseModel):
    """What a state has of all this: the constants, the ledger, and the rows that are held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: AssociationConfig
    ledger: Ledger = Ledger()
    held: tuple[HeldFrame, ...] = ()
