"""One mask table of the rows of several."""

import numpy as np
import pytest

from samcore.errors import StorageError
from samcore.masks import merged
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.merged import TableRows, frames_of_objects, merge_tables
from samcore.masks.table import MaskReader, MaskWriter

HEIGHT, WIDTH = 12, 18


def write(path, objects, frames=range(30), *, shift=0, rows_per_group=2048, height=HEIGHT):
    """Masks of some objects; each depends on its frame, its object and `shift`."""
    with MaskWriter(path, height=height, width=WIDTH, rows_per_group=rows_per_group) as writer:
        for frame in frames:
            masks = np.zeros((len(objects), height, WIDTH), bool)
            for place, obj_id in enumerate(objects):
                masks[place, frame % 5 : frame % 5 + 3, obj_id : obj_id + 4 + shift] = True
            writer.write(
                FrameMasks(
                    frame_idx=frame,
                    obj_ids=tuple(objects),
                    masks_nhw=masks,
                    object_scores_n=np.array([frame / 7 + n for n in objects], np.float32),
                    predicted_ious_n=np.full(len(objects), 0.9, np.float32),
                    prompted_n=np.array([frame == 0] * len(objects)),
                ),
                pts=frame * 512,
            )
    return path


def rows_of(path):
    with MaskReader(path) as reader:
        return list(reader.rows())


@pytest.mark.parametrize("rows_per_group", [1, 7, 1000])
def test_tables_of_some_objects_are_the_table_of_all(tmp_path, monkeypatch, rows_per_group):
    """Shards of objects, cut into groups in whatever way, merge to the bytes of one table that was
    written in one go; no row becomes a Python object."""
    whole = write(tmp_path / "whole.parquet", [1, 2, 5, 8])
    parts = [
        write(tmp_path / "a.parquet", [2, 8], rows_per_group=rows_per_group),
        write(tmp_path / "b.parquet", [5], rows_per_group=3),
        write(tmp_path / "c.parquet", [1]),
        write(tmp_path / "none.parquet", []),
    ]
    monkeypatch.setattr("samcore.masks.reader.MaskRow", None)

    merge_tables([TableRows(path) for path in parts], tmp_path / "merged.parquet")

    assert (tmp_path / "merged.parquet").read_bytes() == whole.read_bytes()


def test_each_table_gives_its_rows_by_frame_and_object(tmp_path):
    """A row is taken from the table whose rule gives it, and from no other."""
    old = write(tmp_path / "old.parquet", [1, 2, 3], rows_per_group=5)
    new = write(tmp_path / "new.parquet", [2, 4], range(8, 30), shift=2, rows_per_group=4)
    kept = frames_of_objects({1: (None, None), 2: (None, 11)})  # and none of object 3
    corrected = frames_of_objects({2: (11, None), 4: (20, 25)})

    merge_tables(
        [TableRows(old, kept, stop=28), TableRows(new, corrected)], tmp_path / "merged.parquet"
    )

    from_old = [
        row
        for row in rows_of(old)
        if (row.object_id == 1 and row.frame < 28) or (row.object_id == 2 and row.frame < 11)
    ]
    from_new = [
        row
        for row in rows_of(new)
        if (row.object_id == 2 and row.frame >= 11) or (row.object_id == 4 and 20 <= row.frame < 25)
    ]
    expected = sorted(from_old + from_new, key=lambda row: (row.frame, row.object_id))
    assert rows_of(tmp_path / "merged.parquet") == expected
    assert frames_of_objects({})(np.arange(3), np.arange(3)).tolist() == [False] * 3


def test_a_group_of_each_table_is_held(tmp_path, monkeypatch):
    """What is held does not grow with the tables: no table is read ahead of the slowest one."""
    parts = [
        TableRows(write(tmp_path / f"{n}.parquet", [n], range(300), rows_per_group=10))
        for n in range(3)
    ]
    most = 0
    in_order = merged._in_order

    def watched(sources):
        nonlocal most
        for table in in_order(sources):
            most = max(most, table.num_rows, *(len(source._frame_n) for source in sources))
            yield table

    monkeypatch.setattr(merged, "_in_order", watched)
    merge_tables(parts, tmp_path / "merged.parquet")

    assert len(rows_of(tmp_path / "merged.parquet")) == 900
    assert most <= 3 * 10


def test_what_cannot_be_merged_is_refused(tmp_path):
    """A row that two tables give, pictures of two sizes, or nothing at all: an error, no file."""
    one = write(tmp_path / "one.parquet", [1, 2])
    out = tmp_path / "out.parquet"

    with pytest.raises(ValueError, match="rows must ascend: got frame 0 object 2"):
        merge_tables([TableRows(one), TableRows(write(tmp_path / "two.parquet", [2]))], out)
    large = write(tmp_path / "large.parquet", [3], height=HEIGHT * 2)
    with pytest.raises(StorageError, match=r"cannot merge .*large.parquet: its masks are 24 x 18"):
        merge_tables([TableRows(one), TableRows(large)], out)
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_tables([], out)
    assert not out.exists()
