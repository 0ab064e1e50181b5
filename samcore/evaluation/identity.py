"""Identity measures of many objects: the only door to TrackEval.

HOTA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021.
Identity switches as CLEAR MOT counts them (Bernardin and Stiefelhagen, 2008), IDF1 by Ristani et
al. (2016). A detection is an object's mask on one frame, likeness is the IoU of masks.
"""

import importlib.util
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from samcore.masks.rle import Rle, decode_mask, iou_matrix

_IS_SAME = 0.5
"""IoU from which CLEAR and IDF1 take two masks for one object's."""
_IN_VOID = 0.5
"""An unmatched mask with more than this share in regions that are not judged is not counted."""


class IdentityScores(BaseModel):
    """How well objects were kept apart; all in [0, 1] but the switches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    switches: int
    """How often a true object's mask came from another found object than before."""
    hota: float
    """Geometric mean of `det_a` and `ass_a`, averaged over IoU thresholds .05 to .95."""
    det_a: float
    """How well masks are found."""
    ass_a: float
    """How well they are joined over time."""
    idf1: float
    """F-measure of masks with the right identity."""


def can_measure_identity() -> bool:
    """Whether TrackEval is installed; it comes with the extra `eval`."""
    return importlib.util.find_spec("trackeval") is not None


class IdentityTally:
    """Takes frames one by one and keeps which masks overlap: some bytes a mask, no masks."""

    def __init__(self) -> None:
        self._true = _Numbers()
        self._found = _Numbers()
        self._overlaps = _Overlaps(self._true, self._found)

    def add(
        self,
        truth: Mapping[int, Rle],
        found: Mapping[int, Rle],
        void_hw: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take one frame's masks, by number; none of them empty.

        Args:
            truth: What is true.
            found: What was found.
            void_hw: True on pixels that are not judged; None if all are.
        """
        iou_tf = iou_matrix(list(truth.values()), list(found.values()))
        numbers = list(found)
        if void_hw is not None:
            matched_f = (iou_tf >= _IS_SAME).any(axis=0)
            in_void_f = [
                np.count_nonzero(decode_mask(rle) & void_hw) > _IN_VOID * rle.area
                for rle in found.values()
            ]
            kept_f = np.flatnonzero(matched_f | ~np.array(in_void_f, dtype=np.bool_))
            iou_tf, numbers = iou_tf[:, kept_f], [numbers[place] for place in kept_f]
        self._true.add(list(truth))
        self._found.add(numbers)
        self._overlaps.add(iou_tf)

    def scores(self) -> IdentityScores:
        """Measure what was taken.

        Raises:
            ModuleNotFoundError: TrackEval is not installed; see `can_measure_identity`.
        """
        # Late: it imports scipy and matplotlib, which `--help` need not wait for, and it is extra.
        from trackeval.metrics import CLEAR, HOTA, Identity

        data: dict[str, Any] = {
            "num_timesteps": len(self._true),
            "num_gt_ids": self._true.num_ids,
            "num_tracker_ids": self._found.num_ids,
            "num_gt_dets": self._true.total,
            "num_tracker_dets": self._found.total,
            "gt_ids": self._true,
            "tracker_ids": self._found,
            "similarity_scores": self._overlaps,
        }
        limit = {"THRESHOLD": _IS_SAME, "PRINT_CONFIG": False}
        hota = HOTA().eval_sequence(data)
        return IdentityScores(
            switches=int(CLEAR(limit).eval_sequence(data)["IDSW"]),
            hota=float(np.mean(hota["HOTA"])),
            det_a=float(np.mean(hota["DetA"])),
            ass_a=float(np.mean(hota["AssA"])),
            idf1=float(Identity(limit).eval_sequence(data)["IDF1"]),
        )


class _Numbers:
    """The objects of each frame as TrackEval wants them: numbered from 0 by first appearance."""

    def __init__(self) -> None:
        self._place: dict[int, int] = {}
        self._values = array("q")
        self._ends = array("q", [0])

    def add(self, numbers: list[int]) -> None:
        self._values.extend(self._place.setdefault(n, len(self._place)) for n in numbers)
        self._ends.append(len(self._values))

    @property
    def num_ids(self) -> int:
        return len(self._place)

    @property
    def total(self) -> int:
        return len(self._values)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, frame: int) -> NDArray[np.int64]:
        return np.array(self._values[self._ends[frame] : self._ends[frame + 1]], dtype=np.int64)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return (self[frame] for frame in range(len(self)))


class _Overlaps:
    """The IoU matrix of each frame. Only overlaps are kept: nearly all masks have none."""

    def __init__(self, true: _Numbers, found: _Numbers) -> None:
        self._true, self._found = true, found
        self._places = array("q")
        self._values = array("d")
        self._ends = array("q", [0])

    def add(self, iou_tf: NDArray[np.float64]) -> None:
        places = np.flatnonzero(iou_tf)
        self._places.extend(places.tolist())
        self._values.extend(iou_tf.ravel()[places].tolist())
        self._ends.append(len(self._places))

    def __getitem__(self, frame: int) -> NDArray[np.float64]:
        iou_tf = np.zeros((len(self._true[frame]), len(self._found[frame])))
        start, stop = self._ends[frame], self._ends[frame + 1]
        iou_tf.ravel()[np.array(self._places[start:stop], dtype=np.int64)] = self._values[
            start:stop
        ]
        return iou_tf
