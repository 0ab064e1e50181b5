"""A table of a mirrored video as one of the video itself."""

import numpy as np
import pytest

from samcore.masks.frame_masks import FrameMasks
from samcore.masks.mirrored import write_mirrored
from samcore.masks.table import MaskReader, MaskWriter


@pytest.fixture
def table(tmp_path):
    """Two objects on frames 0 to 9, in groups of a frame or two, the second from frame 4 on."""
    path = tmp_path / "table.parquet"
    with MaskWriter(path, height=6, width=8, metadata={"a": "b"}, rows_per_group=2) as writer:
        for frame in range(10):
            ids = (1, 5) if frame >= 4 else (1,)
            masks = np.zeros((len(ids), 6, 8), np.bool_)
            masks[0, : frame % 6 + 1, 2] = True
            one = np.ones(len(ids), np.float32)
            writer.write(
                FrameMasks(frame, ids, masks, one * frame, one, np.zeros(len(ids), np.bool_)),
                pts=900 - frame,
            )
    return path


def test_frames_are_numbered_from_the_other_end(table, tmp_path):
    """Each row has the mirrored frame number and nothing else new, in the order of a table."""
    write_mirrored(table, tmp_path / "out.parquet", last=12)

    def said(row, frame):
        return (frame, row.object_id, row.pts, row.object_score, row.area, row.counts)

    with MaskReader(table) as before, MaskReader(tmp_path / "out.parquet") as after:
        wanted = sorted(said(row, 12 - row.frame) for row in before.rows())
        assert [said(row, row.frame) for row in after.rows()] == wanted
        assert after.metadata == {"a": "b"}
        assert after.frames == (3, 13)


def test_twice_mirrored_is_the_same_file(tmp_path, table):
    """Groups follow from the rows alone."""
    write_mirrored(table, tmp_path / "once.parquet", last=9)
    write_mirrored(tmp_path / "once.parquet", tmp_path / "twice.parquet", last=9)
    write_mirrored(tmp_path / "twice.parquet", tmp_path / "thrice.parquet", last=9)

    assert (tmp_path / "once.parquet").read_bytes() == (tmp_path / "thrice.parquet").read_bytes()


def test_frames_past_the_last_one_are_refused(table, tmp_path):
    """Nothing is written of a table that is of a longer video."""
    with pytest.raises(ValueError, match="has frames after last = 8"):
        write_mirrored(table, tmp_path / "out.parquet", last=8)
    assert not (tmp_path / "out.parquet").exists()
