"""Any frame's masks, from several tables; and as one small picture."""

import itertools

import cv2
import numpy as np
import pytest

from samcore.errors import StorageError
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.index_picture import index_picture
from samcore.masks.parts import MaskParts, Part
from samcore.masks.table import MaskReader, MaskWriter

HEIGHT, WIDTH = 30, 40


def write(path, frames, *, shift=0):
    """Objects 3 and 9 on these frames; 9 lies over 3, and is absent on odd frames."""
    with MaskWriter(path, height=HEIGHT, width=WIDTH) as writer:
        for frame in frames:
            masks_nhw = np.zeros((2, HEIGHT, WIDTH), dtype=bool)
            masks_nhw[0, 4 + shift : 14 + shift, 6:26] = True
            masks_nhw[1, 10 + shift : 20 + shift, 20:33] = frame % 2 == 0
            ones = np.ones(2, np.float32)
            writer.write(FrameMasks(frame, (3, 9), masks_nhw, ones, ones, ones > 2), frame)
    return path


def values_of(picture):
    """The index of each pixel, as a browser gets it."""
    bgr = cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_COLOR).astype(int)
    return bgr[..., 2] + 256 * bgr[..., 1] + 65536 * bgr[..., 0]


def test_each_frame_comes_from_its_part(tmp_path):
    """Whatever order frames are asked for in, each comes from the one table that is read for it;
    frames between parts have none; at most four tables stay open."""
    tables = [
        write(tmp_path / f"{n}.parquet", range(10 * n, 10 * n + 12), shift=n) for n in range(6)
    ]
    parts = [Part(table, 10 * n, 10 * n + 10) for n, table in enumerate(tables) if n != 3]
    masks = MaskParts(parts)

    assert masks.covered == [(0, 30), (40, 60)]
    for frame in (59, 0, 41, 11, 10, 29, 58, 20):
        rows = masks.rows(frame)
        assert [row.object_id for row in rows] == [3, 9]
        assert rows[0].y == 4 + frame // 10
    assert masks.rows(31) == masks.rows(60) == []
    assert len(masks._open) <= 4
    masks.close()
    assert not masks._open


def test_a_table_that_is_replaced_is_read_anew(tmp_path):
    """A run that is done again replaces its tables while somebody looks; one that is gone is an
    error of storage."""
    table = write(tmp_path / "masks.parquet", range(5))
    masks = MaskParts([Part(table, 0, 5)])
    assert masks.rows(2)[0].y == 4
    write(tmp_path / "other.parquet", range(5), shift=7).replace(table)
    assert masks.rows(2)[0].y == 11
    table.unlink()
    with pytest.raises(StorageError, match=r"masks\.parquet"):
        masks.rows(2)


@pytest.mark.parametrize("size_hw", [(HEIGHT, WIDTH), (60, 80), (15, 20), (13, 21)])
def test_the_picture_has_each_pixels_object(tmp_path, size_hw):
    """At the video's size the picture is the masks to the pixel, the higher id on top; at others
    each pixel is that of the mask which lies at its middle."""
    with MaskReader(write(tmp_path / "masks.parquet", range(2))) as reader:
        rows = list(reader.rows(0, 1))
    picture = index_picture(rows, width=size_hw[1], height=size_hw[0])

    assert picture.obj_ids == (3, 9)
    whole_hw = np.zeros((HEIGHT, WIDTH), dtype=int)
    for place, row in enumerate(rows, start=1):
        whole_hw[row.mask()] = place
    ys, xs = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size_hw, (HEIGHT, WIDTH), strict=True)
    )
    assert (values_of(picture) == whole_hw[np.ix_(ys, xs)]).all()


def test_many_objects_and_small_ones_are_told_apart(tmp_path):
    """Six hundred objects of one pixel each can be told apart, none is lost in a picture of a
    tenth of the size where nothing covers it, and who is absent is not in the list."""
    path, side = tmp_path / "masks.parquet", 250
    ids = tuple(range(1, 601))
    masks_nhw = np.zeros((600, side, side), dtype=bool)
    for place, (row, column) in enumerate(itertools.product(range(24), range(25))):
        masks_nhw[place, row * 10, column * 10] = place != 5
    ones = np.ones(600, np.float32)
    with MaskWriter(path, height=side, width=side) as writer:
        writer.write(FrameMasks(0, ids, masks_nhw, ones, ones, ones > 2), 0)
    with MaskReader(path) as reader:
        rows = list(reader.rows())

    for scale in (1, 10):
        picture = index_picture(rows, width=side // scale, height=side // scale)
        assert picture.obj_ids == tuple(n for n in ids if n != 6)
        values_hw = values_of(picture)
        assert sorted(set(values_hw.ravel().tolist()) - {0}) == list(range(1, 600))
    assert len(picture.png) < 3000
