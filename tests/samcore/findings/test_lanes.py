"""Lanes and findings of made-up masks."""

import base64
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from samcore.errors import StorageError
from samcore.findings.finding import Finding, Findings
from samcore.findings.lanes import MAX_BINS, MAX_LANES, LaneBuilder, read_lanes
from samcore.findings.stretches import StretchFinder
from samcore.findings.timeline import finding_list, timeline
from samcore.masks.columns import read_columns
from samcore.masks.row import MaskRow
from samcore.masks.table import MaskReader, MaskWriter
from tests.samcore.report.conftest import (
    BACK,
    DOUBT,
    FRAMES,
    GONE,
    HEIGHT,
    JUMP,
    RATE,
    WIDTH,
    square,
    write_table,
)


def lanes_of(table, *, stop=FRAMES, limit=50):
    findings = Findings(limit)
    report = read_lanes(table, findings, start=0, stop=stop, rate=RATE, size_hw=(HEIGHT, WIDTH))
    return report, findings


def test_columns_are_the_tables(table):
    """Every column is what the reader gives, row by row."""
    with MaskReader(table) as reader:
        rows = list(reader.rows())
    names = ("frame", "object_id", "area", "object_score", "prompted")
    parts = list(read_columns(table, names))
    for name in names:
        found = np.concatenate([part[name] for part in parts])
        assert found.tolist() == pytest.approx([getattr(row, name) for row in rows])


def test_columns_of_a_missing_table_are_an_error(tmp_path, table):
    """What is no mask table is one clear error, and so is a column that there is not."""
    path = tmp_path / "other.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(StorageError, match="not a mask table"):
        list(read_columns(path, ["frame"]))
    with pytest.raises(ValueError, match="counts"):
        list(read_columns(table, ["counts"]))


def test_lanes_count_what_is_there(table):
    """Frames, presence and area of each object, in all and in each bin."""
    report, _ = lanes_of(table)

    assert [item.object_id for item in report.objects] == [1, 2, 3]
    first, second, _ = report.objects
    assert (first.frames, first.present) == (FRAMES, FRAMES - (BACK - GONE))
    assert (first.mean_area, second.mean_area) == (400.0, 256.0)
    assert first.mean_score == pytest.approx(6.0)
    assert report.bins == FRAMES
    assert first.lane is not None
    assert np.isnan(first.lane.area_b[GONE:BACK]).all()
    assert (first.lane.area_b[:GONE] == 400).all()
    assert first.lane.present_b.sum() == first.present


def test_findings_are_the_odd_places(table):
    """One jump, one absence, one doubtful stretch, where they were made, and no other."""
    _, findings = lanes_of(table)

    (jump,) = findings.worst("jump")
    assert (jump.frame, jump.object_id) == (JUMP, 2)
    assert "times its size" in jump.text
    (absence,) = findings.worst("absence")
    assert (absence.frame, absence.object_id) == (GONE, 1)
    assert absence.text == f"absent for 3.0 s, until frame {BACK}"
    (doubt,) = findings.worst("doubt")
    assert (doubt.object_id, DOUBT <= doubt.frame < DOUBT + 5) == (3, True)
    assert "5 frames" in doubt.text


def grows(frame_idx):
    return square(40, 30, 12 if frame_idx < 20 else 24)[None]


def leaves(frame_idx):
    """Walks out to the right, and is half outside at last."""
    return square(min(60 + 8 * frame_idx, WIDTH), 30, 20)[None]


def flies(frame_idx):
    """Small and fast, but steady."""
    return square(4 + 12 * (frame_idx % 10), 40, 8)[None]


def blinks(frame_idx):
    """Absent for a frame now and then."""
    return square(40, 40, 20 if frame_idx % 7 else 0)[None]


@pytest.mark.parametrize(
    ("masks", "frames", "jumps", "absences"),
    [
        (grows, 40, [20], 0),
        (leaves, 8, [], 0),
        (flies, 10, [1], 0),
        (blinks, 40, [], 0),
    ],
    ids=["grows", "leaves", "flies", "blinks"],
)
def test_what_counts_as_a_jump(tmp_path, masks, frames, jumps, absences):
    """A sudden other size does; leaving the picture, steady motion (after its first step) and
    short absences do not."""
    table = write_table(tmp_path / "masks.parquet", frames=range(frames), masks=masks, obj_ids=(1,))

    _, findings = lanes_of(table, stop=frames)

    assert [item.frame for item in findings.worst("jump")] == jumps
    assert findings.counts["absence"] == absences


def spreads(frame_idx):
    """From frame 20 on it creeps along the picture, ragged."""
    mask_hw = square(40, 30, 16)
    if frame_idx >= 20:
        reach = min(frame_idx - 20, 30)
        mask_hw |= square(40 - reach, 30 - reach // 2, 16 + 2 * reach)
        mask_hw[::2, ::3] = False
        mask_hw[1::2, 1::3] = False
    return mask_hw[None]


def approaches(frame_idx):
    """Grows as much, but keeps its shape."""
    side = 16 + 2 * min(max(frame_idx - 20, 0), 30)
    return square(48 - side // 2, 46 - side // 2, side)[None]


def bulges(frame_idx):
    """As ragged and large, for less than a second."""
    return spreads(60 if 30 <= frame_idx < 38 else 0)


@pytest.mark.parametrize(
    ("masks", "told"),
    [(spreads, 1), (approaches, 0), (bulges, 0)],
    ids=["spreads", "approaches", "bulges"],
)
def test_what_counts_as_spreading(tmp_path, masks, told):
    """A mask that slowly grows four times as large and ragged does; one that only comes nearer, or
    is so for a moment, does not. However the rows are cut, the same is told."""
    table = write_table(tmp_path / "masks.parquet", frames=range(90), masks=masks, obj_ids=(1,))

    _, findings = lanes_of(table, stop=90)

    assert findings.counts["spread"] == told
    for item in findings.worst("spread"):
        assert item.frame > 30
        assert "times as large as when prompted" in item.text


def test_doubts_that_follow_each_other_are_one():
    """Half a second apart is one stretch, further apart are two; what is short is none; and it
    does not matter how the rows are cut."""
    odd = np.zeros(200, bool)
    for start, stop in ((5, 9), (12, 15), (60, 70), (100, 102), (198, 200)):
        odd[start:stop] = True
    frames = np.arange(200)
    for size in (1, 7, 200):
        told = []
        finder = StretchFinder(told.append, least=3, gap=5)
        for start in range(0, 200, size):
            part = np.s_[start : start + size]
            finder.add(frames[part], odd[part], frames[part] / 1.0, (frames[part] * 2.0,))
        finder.end()
        found = [(item.first, item.last, item.frames, item.worst, item.details) for item in told]
        assert found == [(5, 14, 7, 14, (28.0,)), (60, 69, 10, 69, (138.0,))]


def test_absence_to_the_end_and_of_an_object_that_never_came(tmp_path):
    """Both are told, with their lengths."""

    def masks(frame_idx):
        return np.stack([square(10, 10, 20 if frame_idx < 30 else 0), square(0, 0, 0)])

    table = write_table(tmp_path / "masks.parquet", frames=range(60), masks=masks, obj_ids=(4, 5))
    report, findings = lanes_of(table, stop=60)

    texts = {item.object_id: (item.frame, item.text) for item in findings.worst("absence")}
    assert texts == {
        4: (30, "absent for 3.0 s, and to the end"),
        5: (0, "absent for 6.0 s, and to the end"),
    }
    assert report.objects[1].mean_area == 0.0


def test_a_table_cut_into_row_groups_gives_the_same(tmp_path, table):
    """Findings do not depend on where row groups end."""
    again = tmp_path / "again.parquet"
    with (
        MaskReader(table) as reader,
        MaskWriter(again, height=HEIGHT, width=WIDTH, rows_per_group=3) as writer,
    ):
        for row in reader.rows():
            writer.write_row(row)

    (report, findings), (report_2, findings_2) = lanes_of(table), lanes_of(again)

    assert findings.counts == findings_2.counts
    for kind in findings.counts:
        assert findings.worst(kind) == findings_2.worst(kind)
    assert [i.present for i in report.objects] == [i.present for i in report_2.objects]


def many(path, *, objects, frames):
    """A table of little masks that never change."""
    row = MaskRow(0, 0, 1, 5.0, 0.9, False, 2, 2, 2, 2, 4, 8, 8, b"x")
    with MaskWriter(path, height=8, width=8) as writer:
        for frame_idx in range(frames):
            for obj_id in range(1, objects + 1):
                writer.write_row(replace(row, frame=frame_idx, object_id=obj_id))
    return path


def test_lanes_are_bounded_in_number_and_length(tmp_path):
    """Of too many objects some have no lane, but all are counted; a long video has no more bins."""
    crowd, _ = lanes_of(many(tmp_path / "crowd", objects=MAX_LANES + 5, frames=3), stop=3)
    lanes = [item.lane for item in crowd.objects]
    assert (len(lanes), sum(lane is not None for lane in lanes)) == (MAX_LANES + 5, MAX_LANES)
    assert {item.present for item in crowd.objects} == {3}

    frames = 5 * MAX_BINS + 7
    report, _ = lanes_of(many(tmp_path / "long", objects=1, frames=frames), stop=frames)
    (item,) = report.objects
    assert (report.bins, item.present) == (MAX_BINS, frames)
    assert item.lane is not None
    assert set(item.lane.present_b.tolist()) == {5, 6}
    assert report.bin_start(0) == 0
    assert report.bin_start(MAX_BINS) == frames


@pytest.mark.parametrize("batch", [1, 300, 65_536])
def test_objects_that_begin_first_are_drawn(tmp_path, monkeypatch, batch):
    """Whatever their ids are, and however many rows are read at a time."""
    monkeypatch.setattr("samcore.findings.lanes._BATCH", batch)
    num = MAX_LANES + 40
    row = MaskRow(0, 0, 1, 5.0, 0.9, False, 2, 2, 2, 2, 4, 8, 8, b"x")
    with MaskWriter(tmp_path / "late", height=8, width=8, rows_per_group=10) as writer:
        for frame_idx in range(num):  # object `num` begins on frame 0, object 1 on the last one
            for obj_id in (num - frame_idx, num + 1 - frame_idx)[: 1 + (frame_idx > 0)]:
                writer.write_row(replace(row, frame=frame_idx, object_id=obj_id))

    report, _ = lanes_of(tmp_path / "late", stop=num)

    drawn = [item.first_frame for item in report.objects if item.lane is not None]
    assert sorted(drawn) == list(range(MAX_LANES))


def test_memory_does_not_grow_with_the_frames(tmp_path, monkeypatch):
    """Four times the frames take no more memory."""
    monkeypatch.setattr("samcore.findings.lanes._BATCH", 2048)
    peaks = []
    for frames in (2000, 8000):
        table = many(tmp_path / f"{frames}.parquet", objects=2, frames=frames)
        tracemalloc.start()
        lanes_of(table, stop=frames)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_findings_keep_the_worst_of_each_kind():
    """Of many findings the worst of each kind stay, in the order of frames; all are counted."""
    findings = Findings(3)
    for frame in range(100):
        findings.add(Finding("cut", frame, None, float(frame * 37 % 100), "x"))
    findings.add(Finding("jump", 5, 1, 1.0, "y"))

    assert findings.counts["cut"] == 100
    kept = findings.worst("cut")
    assert sorted(item.severity for item in kept) == [97.0, 98.0, 99.0]
    assert [item.frame for item in kept] == sorted(item.frame for item in kept)
    assert findings.frames() == {item.frame for item in kept} | {5}


def test_lanes_grow_with_a_run(table):
    """Taken chunk by chunk, as a run finishes them, lanes and findings are those of the whole
    table, and what was shown in between stays as it was."""
    whole, all_findings = lanes_of(table)
    findings = Findings(50)
    builder = LaneBuilder(findings, start=0, stop=FRAMES, rate=RATE, size_hw=(HEIGHT, WIDTH))
    between = []
    for first in range(0, FRAMES, 30):
        builder.add(table, first, first + 30)
        between.append(builder.report())
    builder.end()

    assert [report.objects[0].frames for report in between] == [30, 60, 90, 120]
    assert between[0].objects[0].lane.frames_b.sum() == 30
    shown, wanted = timeline(builder.report(), {2: "two"}), timeline(whole, {2: "two"})
    assert shown == wanted
    assert finding_list(findings) == finding_list(all_findings)


def test_a_timeline_says_a_byte_a_bin(table):
    """What a browser draws: presence and the least score of each bin in a byte each, ids, labels
    and the colours of the overlay; and findings by kind with the place to look at."""
    findings = Findings(50)
    report = read_lanes(
        table, findings, start=0, stop=FRAMES, rate=RATE, size_hw=(HEIGHT, WIDTH), bins=40
    )
    drawn = timeline(report, {1: "one"})

    assert (drawn["start"], drawn["stop"], drawn["bins"]) == (0, FRAMES, 40)
    first, _, third = drawn["objects"]
    assert (first["id"], first["label"], first["colour"]) == (1, "one", "#e69f00")
    present, score = (base64.b64decode(first[name]) for name in ("present", "score"))
    assert len(present) == len(score) == 40
    absent = range(-(-GONE // 3), BACK // 3)
    assert {present[n] for n in absent} == {1}
    assert {score[n] for n in absent} == {0}
    assert {present[n] for n in range(GONE // 3)} == {101}
    assert base64.b64decode(third["score"])[(DOUBT + 1) // 3] == 1 + 55  # a logit of 0.2
    listed = finding_list(findings)
    assert listed["total"] == findings.total
    jump = next(kind for kind in listed["kinds"] if kind["kind"] == "jump")
    assert jump["worst"][0]["frame"] == JUMP
    assert jump["heading"] == "May be another object"
