"""Which found object is meant to be which true one, where their numbers do not say so."""

import numpy as np
from numpy.typing import NDArray

from samcore.masks.rle import Rle, iou_matrix


class OverlapTally:
    """Adds up, frame by frame, how far each true object and each found one overlap.

    Holds one number for each pair, however many frames there are.
    """

    def __init__(self) -> None:
        self._shared: dict[tuple[int, int], float] = {}
        self._true_area: dict[int, int] = {}
        self._found_area: dict[int, int] = {}

    def add(self, truth: dict[int, Rle], found: dict[int, Rle]) -> None:
        """Take one frame's masks, by number."""
        for areas, masks in ((self._true_area, truth), (self._found_area, found)):
            for number, rle in masks.items():
                areas[number] = areas.get(number, 0) + rle.area
        iou_tf = iou_matrix(list(truth.values()), list(found.values()))
        for row, (true_id, true_rle) in enumerate(truth.items()):
            for column, (found_id, found_rle) in enumerate(found.items()):
                iou = float(iou_tf[row, column])
                if iou:
                    # iou = shared / (a + b - shared)
                    shared = iou * (true_rle.area + found_rle.area) / (1 + iou)
                    pair = (true_id, found_id)
                    self._shared[pair] = self._shared.get(pair, 0.0) + shared

    def matches(self) -> dict[int, int]:
        """The pairing {true id: found id} with the most overlap in all.

        Overlap of two objects is that of their volumes: pixels shared on all frames over pixels
        of either. Objects without any are not paired; each is paired once at most.
        """
        true_ids, found_ids = sorted(self._true_area), sorted(self._found_area)
        overlap_tf = np.zeros((len(true_ids), len(found_ids)))
        for (true_id, found_id), shared in self._shared.items():
            either = self._true_area[true_id] + self._found_area[found_id] - shared
            place = (true_ids.index(true_id), found_ids.index(found_id))
            overlap_tf[place] = shared / either
        pairs = assign(overlap_tf)
        return {
            true_ids[row]: found_ids[column]
            for row, column in pairs.items()
            if overlap_tf[row, column] > 0
        }


def assign(score_rc: NDArray[np.float64]) -> dict[int, int]:
    """Pair rows and columns so that the sum of their scores is the largest.

    By shortest augmenting paths (Jonker and Volgenant, Computing 38, 1987).

    Returns:
        {row: column}; as many pairs as the shorter side has, each row and column once at most.
    """
    num_rows, num_columns = score_rc.shape
    if num_rows > num_columns:
        return {row: column for column, row in assign(score_rc.T).items()}
    row_of = np.full(num_columns, -1)
    row_price, column_price = np.zeros(num_rows), np.zeros(num_columns)
    for first in range(num_rows):
        cheapest = np.full(num_columns, np.inf)
        came_from = np.full(num_columns, -1)
        done = np.zeros(num_columns, dtype=np.bool_)
        row, column = first, -1
        while row >= 0:
            # A reduced cost is never negative; what is dear to have has a low score.
            cost = -score_rc[row] - row_price[row] - column_price
            if column >= 0:
                cost = cost + cheapest[column]
            better = ~done & (cost < cheapest)
            cheapest[better], came_from[better] = cost[better], column
            column = int(np.argmin(np.where(done, np.inf, cheapest)))
            done[column] = True
            row = int(row_of[column])
        reached = cheapest[column]
        row_price[first] += reached
        for other in np.flatnonzero(done):
            slack = reached - cheapest[other]
            column_price[other] -= slack
            if row_of[other] >= 0:
                row_price[row_of[other]] += slack
        while column >= 0:
            before = int(came_from[column])
            row_of[column] = first if before < 0 else row_of[before]
            column = before
    return {int(row): column for column, row in enumerate(row_of) if row >= 0}
