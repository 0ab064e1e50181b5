"""A mask table with other numbers."""

from pathlib import Path

import numpy as np

from samcore.masks.frame_masks import FrameMasks
from samcore.masks.reader import MaskReader
from samcore.masks.renumbered import renumber_table
from samcore.masks.table import MaskWriter


def write(path: Path, frames: range, ids: tuple[int, ...], *, rows_per_group: int = 4) -> None:
    with MaskWriter(path, height=6, width=8, rows_per_group=rows_per_group) as writer:
        for frame in frames:
            masks = np.zeros((len(ids), 6, 8), np.bool_)
            for place, obj_id in enumerate(ids):
                masks[place, : obj_id % 5 + 1, :2] = True
            ones = np.ones(len(ids), np.float32)
            no = np.zeros(len(ids), np.bool_)
            writer.write(FrameMasks(frame, ids, masks, ones, ones, no), frame * 10)


def test_rows_come_in_the_order_of_the_new_numbers(tmp_path: Path) -> None:
    """Numbers change, masks do not; objects without a new number, and rows from their stop on, are
    left out."""
    write(tmp_path / "old", range(7), (1, 2, 3))
    renumber_table(tmp_path / "old", tmp_path / "new", {1: 9, 3: 4}, {1: 5})
    with MaskReader(tmp_path / "old") as old, MaskReader(tmp_path / "new") as new:
        areas = {(row.frame, row.object_id): row.area for row in old.rows()}
        rows = [(row.frame, row.object_id, row.area) for row in new.rows()]
    wanted = [(f, new, areas[f, o]) for f in range(7) for o, new in ((3, 4), (1, 9))]
    assert rows == [row for row in wanted if row[1] == 4 or row[0] < 5]


def test_a_table_without_rows_stays_one(tmp_path: Path) -> None:
    """Nothing found is a table, too."""
    write(tmp_path / "old", range(0), ())
    renumber_table(tmp_path / "old", tmp_path / "new", {})
    with MaskReader(tmp_path / "new") as new:
        assert new.num_rows == 0
        assert (new.height, new.width) == (6, 8)
