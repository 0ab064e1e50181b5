"""All constants by which detections become objects, and objects keep their identity."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_HOT_START = 15
_LOOKS = 2
"""Detected frames after its first one that a young track has at least."""
_LONGEST_WAIT = 241
"""Frames of a hot start by default: each chunk is tracked so much further than to its end."""


class AssociationConfig(BaseModel):
    """When a detection is an object's, when it is a new object, and when an object was a mistake.

    The defaults are SAM 3's for video (`build_sam3_video_model` of facebookresearch/sam3 at commit
    99d02f2, `sam3_video_base.py`; the same in transformers 5.24, `modeling_sam3_video.py`), but for
    those that say that they are ours. Scores and overlaps are rounded to 1e-4 before they are
    compared, and ties follow fixed rules, so that a last bit decides nothing.

    All of this is in the tracker's state: a state goes on with the constants that it was made with.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    detect_every: int = Field(default=1, ge=1)
    """Detected frames are multiples of this number in the video."""
    max_objects: int = Field(default=100, ge=1, le=10_000)
    """Objects that are tracked at once, prompted ones included; of more new ones the best are
    taken. Ours: SAM 3 takes 10,000, for which no GPU has the memory."""

    min_score: float = Field(default=0.5, ge=0, le=1)
    """Detections whose score is not above this are left out."""
    nms_iou: float = Field(default=0.1, ge=0, le=1)
    """Of two detections of a label whose masks have a larger IoU the better one is kept."""
    nms_box_iou: float = Field(default=0.5, ge=0, le=1)
    """The same of two boxes, before they become masks. Ours, as torchvision's detectors have it:
    SAM 3 finds masks."""
    border: float = Field(default=0.0, ge=0, lt=0.5)
    """A detection whose box has its middle this near to the picture's border is left out, as a
    part of the picture's sides. 0.025 is SAM 3's; off there, too."""

    matched_iou: float = Field(default=0.5, gt=0, le=1)
    """A track is matched if a detection's mask has this IoU with its own, or more."""
    one_to_one: bool = True
    """A detection matches one track only, so that the sum of all IoUs is the largest (Hungarian).
    Ours: in SAM 3 it matches all tracks with that IoU."""
    met_iou: float = Field(default=0.1, gt=0, le=1)
    """A detection meets all tracks with which it has this IoU or more. One that meets none may be
    a new object."""
    birth_score: float = Field(default=0.7, ge=0, le=1)
    """The least score of a new object."""

    hot_start: int = Field(default=_HOT_START, ge=1, le=1000)
    """Frames during which a new object is young. Only then it can be removed, and so rows come
    `hot_start - 1` frames late. The default is SAM 3's 15, or `2 * detect_every + 1` where that is
    more: two looks after the first one, as many as it takes to remove a false alarm. Ours: SAM 3
    detects on every frame. Above 241 it is 1, and nothing is removed."""
    unmatched_frames: int = Field(default=8, ge=1)
    """A young track that was not matched on so many frames is removed, a false alarm. Of every
    N-th frame it takes an N-th of them, but two."""
    empty_is_unmatched: bool = True
    """A young track's frames with an empty mask count among these, too. Ours: it removes false
    alarms that the tracker loses at once, which are most of them, and with them objects that are
    hidden soon after they enter; these are found again as new ones."""
    shared_frames: int = Field(default=8, ge=1)
    """A young track that met a detection which an older track met, too, on so many frames is
    removed, a duplicate. Of every N-th frame likewise."""
    confirm_frames: int = Field(default=0, ge=0)
    """A track is shown from its birth on once it was matched on so many detected frames in a row,
    and not before; frames that are final by then stay without it. 0 is off; SAM 3 has 3, off."""

    keep_alive: int = Field(default=30, ge=1)
    """A track's credit: one less for each unmatched frame, one more where it meets a detection, up
    to this."""
    suppress_unmatched: bool = False
    """A track without credit is not shown. SAM 3 has this off beyond its hot start, where it does
    nothing."""

    overlap_iou: float = Field(default=0.7, gt=0, le=1)
    """Of two tracks with this IoU or more that one is blanked which was hidden later, if the other
    one was ever hidden."""
    exclusive_share: float = Field(default=0.3, ge=0, le=1)
    """A mask that keeps less than this share of its pixels, where each pixel goes to the track
    with the highest logit, goes into memory as an empty one."""
    clean_area: int = Field(default=16, ge=0)
    """Holes and specks up to this many pixels of a mask of 288 x 288 are closed and dropped; of
    other sizes in proportion. A speck is at most half of its mask."""

    reanchor_every: int = Field(default=16, ge=0)
    """On detected frames that are multiples of this number a sure detection becomes a conditioning
    frame of its track; 0 is never."""
    reanchor_score: float = Field(default=0.8, ge=0, le=1)
    """The least score of such a detection,"""
    reanchor_iou: float = Field(default=0.8, gt=0, le=1)
    """the least IoU with its track,"""
    reanchor_logit: float = 0.8
    """and what the track's object score must be above."""
    anchor: Literal["detection", "track"] = "detection"
    """Whose mask the conditioning frame has."""

    prompted_labels: dict[int, str] = Field(default_factory=dict)
    """Labels of objects that a person prompted. One without a label meets detections of all."""

    @model_validator(mode="before")
    @classmethod
    def _waits_for_looks(cls, given: Any) -> Any:
        """Make the hot start as long as the detector's looks are far apart, unless it is given."""
        if not isinstance(given, dict) or "hot_start" in given:
            return given
        every = given.get("detect_every", 1)
        if not isinstance(every, int):
            return given
        frames = max(_HOT_START, _LOOKS * every + 1)
        return {**given, "hot_start": frames if frames <= _LONGEST_WAIT else 1}

    @property
    def delay(self) -> int:
        """Frames that have to be seen after a frame before its rows are final."""
        return self.hot_start - 1

    @property
    def max_unmatched(self) -> int:
        """Detected frames without a match that a young track does not survive."""
        return self._of_detected(self.unmatched_frames)

    @property
    def max_shared(self) -> int:
        """Detected frames on which it met what an older one met, likewise."""
        return self._of_detected(self.shared_frames)

    def is_young(self, first_frame: int, frame_idx: int) -> bool:
        """Whether a track that began at `first_frame` can be removed at `frame_idx`."""
        return frame_idx < first_frame + self.hot_start

    def reanchors_on(self, frame_idx: int) -> bool:
        """Whether tracks are re-anchored on a detected frame."""
        if self.reanchor_every == 0:
            return False
        return frame_idx % math.lcm(self.reanchor_every, self.detect_every) == 0

    def _of_detected(self, frames: int) -> int:
        return max(min(2, frames), -(-frames // self.detect_every))
