"""Run lengths along the rows, as CVAT and Label Studio want them; COCO's go down the columns."""

import numpy as np
from numpy.typing import NDArray


def row_runs(crop_hw: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Run lengths of a mask in reading order, background first (0 if it begins inside).

    The sum is the number of pixels. Of a mask that ends inside, the last run is of the object.
    """
    return row_runs_in(crop_hw, (0, 0), crop_hw.shape)


def row_runs_in(
    crop_hw: NDArray[np.bool_], left_top: tuple[int, int], size_hw: tuple[int, ...]
) -> NDArray[np.int64]:
    """Run lengths, in reading order, of a picture that is empty but for `crop_hw`.

    Args:
        crop_hw: What is in the picture.
        left_top: Where its upper left pixel lies.
        size_hw: Rows and columns of the picture.
    """
    x, y = left_top
    height, width = size_hw
    rows, columns = crop_hw.shape
    # A background pixel at both ends of each row, so that each run has a start and a stop.
    framed = np.zeros((rows, columns + 2), np.bool_)
    framed[:, 1:-1] = crop_hw
    edges = np.flatnonzero(framed[:, 1:] != framed[:, :-1])  # start, stop, start, stop
    row, column = np.divmod(edges, columns + 1)
    places = (row + y) * width + column + x
    # A run that stops at the picture's right edge and goes on in the next row is one run.
    between = places[1:-1].reshape(-1, 2)
    is_joint = between[:, 0] == between[:, 1]
    if is_joint.any():
        places = np.concatenate([places[:1], between[~is_joint].ravel(), places[-1:]])
    runs = np.diff(places, prepend=0, append=height * width)
    return runs[:-1] if len(runs) > 1 and runs[-1] == 0 else runs
