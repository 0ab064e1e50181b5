"""Mask tables on disk."""

import dataclasses
import functools
import itertools
import os
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samcore.errors import StorageError
from samcore.machine.meters import MemoryMeter
from samcore.masks import table as table_module
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import (
    MaskReader,
    MaskRow,
    MaskWriter,
    concat_tables,
    table_digest,
)

HEIGHT, WIDTH = 12, 18


def frame_masks(frame, obj_ids=(1, 4), *, height=HEIGHT, width=WIDTH):
    """Masks that differ by frame and object; object 4 is absent on every third frame."""
    count = len(obj_ids)
    masks = np.zeros((count, height, width), bool)
    for place, obj_id in enumerate(obj_ids):
        if not (obj_id == 4 and frame % 3 == 0):
            masks[place, frame % 5 : frame % 5 + 4, (frame + obj_id) % 9 :][:, :6] = True
    return FrameMasks(
        frame_idx=frame,
        obj_ids=tuple(obj_ids),
        masks_nhw=masks,
        object_scores_n=np.linspace(-3.7, 9.1, count).astype(np.float32) + np.float32(frame / 7),
        predicted_ious_n=np.full(count, 0.9, np.float32),
        prompted_n=np.array([frame == 0] * count),
    )


def write_table(path, start=0, stop=20, **options):
    with MaskWriter(path, height=HEIGHT, width=WIDTH, **options) as writer:
        for frame in range(start, stop):
            writer.write(frame_masks(frame), pts=frame * 512)
    return path


def test_masks_and_scores_come_back(tmp_path):
    """What was written for a frame is read back to the last bit, also where an object is absent."""
    path = write_table(tmp_path / "masks.parquet", rows_per_group=6, metadata={"chunk": "3"})

    with MaskReader(path) as reader:
        assert reader.num_rows == 40
        assert (reader.height, reader.width) == (HEIGHT, WIDTH)
        assert reader.frames == (0, 20)
        assert reader.object_ids() == (1, 4)
        assert reader.metadata == {"chunk": "3"}
        for frame, rows in reader.frames_iter():
            expected = frame_masks(frame)
            assert [row.object_id for row in rows] == [1, 4]
            assert all(row.pts == frame * 512 for row in rows)
            for place, row in enumerate(rows):
                mask_hw = expected.masks_nhw[place]
                np.testing.assert_array_equal(row.mask(), mask_hw)
                assert row.area == mask_hw.sum()
                assert np.float32(row.object_score) == expected.object_scores_n[place]
                assert np.float32(row.predicted_iou) == expected.predicted_ious_n[place]
                assert row.prompted == (frame == 0)
                inside = np.zeros_like(mask_hw)
                inside[row.y : row.y + row.h, row.x : row.x + row.w] = True
                assert not (mask_hw & ~inside).any()
        masks = reader.masks(3)
        assert sorted(masks) == [1, 4]
        assert not masks[4].any()
        assert reader.masks(99) == {}


def test_columns_are_the_published_ones(tmp_path):
    """Any Parquet reader finds exactly the documented columns and types."""
    schema = pq.read_schema(write_table(tmp_path / "masks.parquet"))

    assert [(field.name, str(field.type)) for field in schema] == [
        ("frame", "int64"),
        ("pts", "int64"),
        ("object_id", "int64"),
        ("object_score", "float"),
        ("predicted_iou", "float"),
        ("prompted", "bool"),
        ("x", "int32"),
        ("y", "int32"),
        ("w", "int32"),
        ("h", "int32"),
        ("area", "int64"),
        ("height", "int32"),
        ("width", "int32"),
        ("counts", "binary"),
    ]


@pytest.mark.parametrize(
    ("start", "stop"), [(None, None), (0, 20), (7, 13), (None, 5), (18, None), (20, 30), (5, 5)]
)
def test_a_range_of_rows(tmp_path, start, stop):
    """rows(start, stop) gives the frames of [start, stop), whatever the row groups."""
    whole = range(20)[slice(start, stop)]
    for rows_per_group in (1, 6, 1000):
        path = write_table(tmp_path / "masks.parquet", rows_per_group=rows_per_group)
        with MaskReader(path) as reader:
            assert [row.frame for row in reader.rows(start, stop)] == [
                f for f in whole for _ in "ab"
            ]


def test_rows_outside_the_range_are_not_read(tmp_path):
    """Reading the end of a long table leaves the damaged rows at its beginning alone."""
    path = write_table(tmp_path / "masks.parquet", 0, 200, rows_per_group=20)
    first_page = pq.ParquetFile(path).metadata.row_group(0).column(13).data_page_offset
    damage(path, first_page + 60)

    with MaskReader(path) as reader:
        assert len(list(reader.rows(150, 200))) == 100
        with pytest.raises(StorageError, match="damaged"):
            list(reader.rows())


def test_a_table_without_rows(tmp_path):
    """A chunk in which no object has begun is a valid table."""
    path = tmp_path / "masks.parquet"
    with MaskWriter(path, height=HEIGHT, width=WIDTH) as writer:
        writer.write(frame_masks(5, ()), pts=0)

    with MaskReader(path) as reader:
        assert (reader.num_rows, reader.frames, reader.object_ids()) == (0, None, ())
        assert list(reader.frames_iter()) == []
        assert reader.height == HEIGHT


def test_same_rows_same_bytes(tmp_path):
    """Writing the same masks again gives the same file, so that checksums can be compared."""
    first = write_table(tmp_path / "a.parquet", metadata={"x": "1", "y": "2"})
    second = write_table(tmp_path / "b.parquet", metadata={"y": "2", "x": "1"})

    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("seams", [[], [7], [3, 4, 15], [0, 20]])
def test_joined_chunks_are_the_unchunked_table(tmp_path, seams):
    """Overlapping chunks, joined by owned frames, give the bytes of a table written in one go."""
    whole = write_table(tmp_path / "whole.parquet", rows_per_group=2048)
    edges = [0, *seams, 20]
    parts = []
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        # Each chunk goes on past its successor's start.
        path = tmp_path / f"{index}.parquet"
        write_table(path, start, min(stop + 3, 20), rows_per_group=2 + index)
        parts.append((path, start, stop))

    concat_tables(parts, tmp_path / "joined.parquet")

    assert (tmp_path / "joined.parquet").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("bytes_per_group", [150, 10**6])
@pytest.mark.parametrize("rows_per_group", [1, 5, 17, 1000])
@pytest.mark.parametrize("seams", [[], [7], [3, 4, 15]])
def test_tables_are_joined_as_rows_are(
    tmp_path, monkeypatch, seams, rows_per_group, bytes_per_group
):
    """Groups end where they would end if rows were written one by one, by rows or by bytes; and of
    no row that is joined a Python object is made."""
    monkeypatch.setattr(table_module, "BYTES_PER_GROUP", bytes_per_group)
    whole = write_table(tmp_path / "whole.parquet", rows_per_group=rows_per_group)
    parts = []
    for index, (start, stop) in enumerate(itertools.pairwise([0, *seams, 20])):
        path = write_table(tmp_path / f"{index}.parquet", start, stop, rows_per_group=2 + index)
        parts.append((path, start, stop))

    def refuse(*values):
        raise AssertionError("a row became a Python object")

    monkeypatch.setattr("samcore.masks.reader.MaskRow", refuse)
    monkeypatch.setattr(
        table_module,
        "MaskWriter",
        functools.partial(MaskWriter, rows_per_group=rows_per_group),
    )
    concat_tables(parts, tmp_path / "joined.parquet")

    assert (tmp_path / "joined.parquet").read_bytes() == whole.read_bytes()


def test_rows_and_tables_in_turn(tmp_path):
    """Rows one by one and tables make one file, in whatever turn, cut within a frame, too."""
    whole = write_table(tmp_path / "whole.parquet", rows_per_group=6)
    with MaskReader(whole) as reader:
        rows, table = list(reader.rows()), pa.concat_tables(reader.tables()).combine_chunks()
    with MaskWriter(
        tmp_path / "mixed.parquet", height=HEIGHT, width=WIDTH, rows_per_group=6
    ) as writer:
        for row in rows[:9]:
            writer.write_row(row)
        writer.write_table(table.slice(9, 10))
        writer.write_table(table.slice(19, 0))
        for row in rows[19:22]:
            writer.write_row(row)
        writer.write_table(table.slice(22))

    assert (tmp_path / "mixed.parquet").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("start", "height", "message"),
    [(4, HEIGHT, "frame 2 object 1 after frame 3 object 4"), (8, HEIGHT + 1, "masks of 13 x 18")],
)
def test_tables_out_of_order_are_refused(tmp_path, start, height, message):
    """A table is refused for what a row would be refused for."""
    with MaskReader(write_table(tmp_path / "masks.parquet")) as reader:
        table = pa.concat_tables(reader.tables())
    writer = MaskWriter(tmp_path / "out.parquet", height=height, width=WIDTH)
    with pytest.raises(ValueError, match="`with` block"):
        writer.write_table(table)

    def write_both():
        with writer:
            if height == HEIGHT:
                writer.write_table(table.slice(0, 8))
            writer.write_table(table.slice(start))

    with pytest.raises(ValueError, match=message):
        write_both()
    assert os.listdir(tmp_path) == ["masks.parquet"]


@pytest.mark.parametrize("ranges", [[(5, 10), (0, 5)], [(0, 6), (5, 10)], [(5, 0)], []])
def test_parts_must_ascend(tmp_path, ranges):
    """Parts in the wrong order, or that give a frame twice, are refused."""
    path = write_table(tmp_path / "masks.parquet")
    with pytest.raises(ValueError, match=r"ascend|nothing to join"):
        concat_tables([(path, *ends) for ends in ranges], tmp_path / "out.parquet")
    assert os.listdir(tmp_path) == ["masks.parquet"]


def test_parts_must_have_one_picture_size(tmp_path):
    """Chunks of two videos are not joined, and nothing is left of the attempt."""
    small = write_table(tmp_path / "small.parquet")
    large = tmp_path / "large.parquet"
    with MaskWriter(large, height=50, width=60) as writer:
        writer.write(frame_masks(10, height=50, width=60), pts=0)

    with pytest.raises(StorageError, match="50 x 60"):
        concat_tables([(small, 0, 10), (large, 10, 20)], tmp_path / "out.parquet")
    assert sorted(os.listdir(tmp_path)) == ["large.parquet", "small.parquet"]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(MaskRow)])
def test_digest_is_of_the_rows(tmp_path, name):
    """The digest ignores row groups and metadata, and sees any change of any row."""
    digest = table_digest(write_table(tmp_path / "a.parquet"))
    other = write_table(tmp_path / "b.parquet", rows_per_group=1, metadata={"who": "else"})
    assert table_digest(other) == digest

    def change(value):
        if isinstance(value, bytes):
            return value[:-1] + b"1"
        # of a score the last bit
        is_score = isinstance(value, float)
        return float(np.nextafter(np.float32(value), np.float32(9))) if is_score else value + 1

    changed = tmp_path / "c.parquet"
    size = {"height": HEIGHT + (name == "height"), "width": WIDTH + (name == "width")}
    with MaskReader(other) as reader, MaskWriter(changed, **size) as writer:
        for row in reader.rows():
            new = dataclasses.replace(row, **size)
            if (row.frame, row.object_id) == (19, 4) and name not in size:
                value = not row.prompted if name == "prompted" else change(getattr(row, name))
                new = dataclasses.replace(row, **{name: value})
            writer.write_row(new)
    assert table_digest(changed) != digest


def test_nothing_is_left_of_a_failed_block(tmp_path):
    """An exception in the block leaves no file, and the older result as it was."""
    path = write_table(tmp_path / "masks.parquet")
    before = path.read_bytes()
    writer = MaskWriter(path, height=HEIGHT, width=WIDTH, rows_per_group=1)

    def interrupted():
        with writer:
            for frame in range(5):
                writer.write(frame_masks(frame), pts=0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert os.listdir(tmp_path) == ["masks.parquet"]
    assert path.read_bytes() == before


def test_the_file_appears_only_when_whole(tmp_path):
    """While frames are still coming the name is not there."""
    path = tmp_path / "masks.parquet"
    with MaskWriter(path, height=HEIGHT, width=WIDTH, rows_per_group=1) as writer:
        for frame in range(5):
            writer.write(frame_masks(frame), pts=0)
            assert not path.exists()
    assert os.listdir(tmp_path) == ["masks.parquet"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        pytest.param(frame_masks(3), "frame 3 after frame 3", id="a frame twice"),
        pytest.param(frame_masks(2), "frame 2 after frame 3", id="an earlier frame"),
        pytest.param(frame_masks(4, (4, 1)), "object 1 after", id="ids that descend"),
        pytest.param(frame_masks(4, (1, 1)), "object 1 after", id="an id twice"),
        pytest.param(frame_masks(4, height=13), "12 x 18", id="another size"),
    ],
)
def test_what_is_out_of_order_is_refused(tmp_path, output, message):
    """Frames and ids ascend and pictures keep their size, or the writer says what came."""

    def write_both():
        with MaskWriter(tmp_path / "masks.parquet", height=HEIGHT, width=WIDTH) as writer:
            writer.write(frame_masks(3), pts=0)
            writer.write(output, pts=1)

    with pytest.raises(ValueError, match=message):
        write_both()
    assert os.listdir(tmp_path) == []


def test_a_writer_outside_its_block_is_refused(tmp_path):
    """Writing before or after the block is an error that says what to do."""
    writer = MaskWriter(tmp_path / "masks.parquet", height=HEIGHT, width=WIDTH)
    with pytest.raises(ValueError, match="`with` block"):
        writer.write(frame_masks(0), pts=0)
    with writer:
        writer.write(frame_masks(0), pts=0)
    with pytest.raises(ValueError, match="`with` block"):
        writer.write(frame_masks(1), pts=0)
    with pytest.raises(ValueError, match="make another one"), writer:
        pass


def damage(path, offset):
    """Turn over the bits of one byte."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def rewrite_header(path, old, new):
    """Write the table again with another header, as another version would have."""
    table = pq.read_table(path)
    header = {key: value.replace(old, new) for key, value in table.schema.metadata.items()}
    pq.write_table(table.replace_schema_metadata(header), path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda path: path.unlink(), "no such file", id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), "damaged", id="zero bytes"),
        pytest.param(lambda path: path.write_text("frame,pts\n" * 50), "damaged", id="text"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:-100]), "damaged", id="cut short"
        ),
        pytest.param(
            lambda path: pq.write_table(pa.table({"a": [1]}), path),
            "not one of masks",
            id="foreign",
        ),
        pytest.param(
            lambda path: rewrite_header(path, b'"version": 1', b'"version": 2'),
            "format 2",
            id="a later version",
        ),
        pytest.param(
            lambda path: rewrite_header(path, b'"version"', b'"wersion"'), "damaged", id="header"
        ),
        pytest.param(
            lambda path: pq.write_table(pq.read_table(path).drop_columns(["pts"]), path),
            "columns",
            id="a column less",
        ),
        pytest.param(
            lambda path: damage(path, path.stat().st_size // 4), "damaged", id="one flipped byte"
        ),
    ],
)
def test_a_spoilt_table_is_one_clear_line(tmp_path, spoil, message):
    """Whatever is wrong with a file, the error is one line that names it."""
    path = write_table(tmp_path / "masks.parquet", 0, 200)
    spoil(path)

    with pytest.raises(StorageError, match=message) as caught, MaskReader(path) as reader:
        list(reader.rows())

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_one_clear_line(tmp_path):
    """Writing into a folder that is not there names the folder."""
    with (
        pytest.raises(StorageError, match=r"there is no folder .*nowhere; create it"),
        MaskWriter(tmp_path / "nowhere" / "masks.parquet", height=2, width=2),
    ):
        pass


WRITE_NOISE = """
    import os, sys
    from pathlib import Path
    import numpy as np
    from samcore.errors import StorageError
    from samcore.masks.table import MaskWriter
    from samcore.masks.frame_masks import FrameMasks

    path, num_frames, rows_per_group = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    one = np.ones(1, np.float32)
    if path.parent.name == "locked" and os.geteuid() == 0:
        os.seteuid(65534)  # root may write anywhere
    try:
        with MaskWriter(path, height=64, width=64, rows_per_group=rows_per_group) as writer:
            for frame in range(num_frames):
                noise = np.random.default_rng(frame).random((1, 64, 64)) < 0.5
                writer.write(FrameMasks(frame, (1,), noise, one, one, one > 2), pts=frame)
    except StorageError as error:
        print(error)
        sys.exit(2)
"""


def write_noise(path, num_frames, rows_per_group, **options):
    """Write about 2 kB a frame in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(WRITE_NOISE)]
    return subprocess.run(
        [*command, str(path), str(num_frames), str(rows_per_group)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.mark.parametrize("rows_per_group", [10, 100_000], ids=["while writing", "while closing"])
def test_a_full_disk_is_one_clear_line(tmp_path, rows_per_group):
    """When no more bytes fit, the error says so, nothing is left, and nothing else is printed."""

    def allow_little() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    path = tmp_path / "masks.parquet"
    done = write_noise(path, 200, rows_per_group, preexec_fn=allow_little)

    assert done.returncode == 2, done.stderr
    assert done.stdout == (
        f"cannot write {path}: the disk is full; free some space or choose another folder\n"
    )
    assert done.stderr == ""
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_really_full_disk_is_one_clear_line(tmp_path):
    """The same on a file system that has no room left."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        done = write_noise(tmp_path / "masks.parquet", 200, 10)
        left = os.listdir(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stdout
    assert done.stderr == ""
    assert left == []


def test_no_permission_is_one_clear_line(tmp_path):
    """A folder that may not be written is named, with the way out; tried as an ordinary user."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    done = write_noise(folder / "masks.parquet", 1, 1)

    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"cannot write {folder}/masks.parquet: no permission; ")
    assert done.stderr == ""


def test_memory_does_not_grow_with_the_table(tmp_path):
    """Five times the frames take no more memory, to write or to join or to read."""
    path, joined = tmp_path / "masks.parquet", tmp_path / "joined.parquet"
    with MaskReader(write_table(path)) as reader:
        first = next(reader.rows())

    def peak(num_frames):
        with MemoryMeter() as meter:
            with MaskWriter(path, height=HEIGHT, width=WIDTH) as writer:
                for frame in range(num_frames):
                    writer.write_row(
                        dataclasses.replace(
                            first, frame=frame, counts=frame.to_bytes(4, "big") * 8192
                        )
                    )
            concat_tables([(path, 0, num_frames)], joined)
            with MaskReader(joined) as reader:
                assert sum(1 for _ in reader.rows()) == num_frames
        return meter.snapshot().peak_rss_bytes

    short = peak(1000)  # past three row groups
    assert peak(5000) < short + 64 * 2**20  # with 131 MB more of run lengths
