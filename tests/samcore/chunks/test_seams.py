"""Where two chunks meet."""

import dataclasses
import json
import logging

import numpy as np
import pytest

from samcore.chunks.plan import Chunk, plan_chunks
from samcore.chunks.seams import SeamReport, compare_seam, judge_seam, owned_ranges
from samcore.errors import SeamError, StorageError
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.table import MaskReader, MaskWriter

HEIGHT, WIDTH = 10, 20


def square(x, *, absent=False):
    """A 4 x 4 square whose left edge is at `x`, or an empty mask."""
    mask_hw = np.zeros((HEIGHT, WIDTH), bool)
    if not absent:
        mask_hw[3:7, x : x + 4] = True
    return mask_hw


def write_chunk(path, start, stop, objects):
    """A table of [start, stop); `objects` gives each object's mask for a frame, None for no row."""
    with MaskWriter(path, height=HEIGHT, width=WIDTH, rows_per_group=4) as writer:
        for frame in range(start, stop):
            masks = {i: mask_at(frame) for i, mask_at in objects.items()}
            masks = {i: mask_hw for i, mask_hw in masks.items() if mask_hw is not None}
            count = len(masks)
            writer.write(
                FrameMasks(
                    frame_idx=frame,
                    obj_ids=tuple(masks),
                    masks_nhw=np.array(list(masks.values()), bool).reshape(count, HEIGHT, WIDTH),
                    object_scores_n=np.full(count, 5.5, np.float32),
                    predicted_ious_n=np.full(count, 0.8, np.float32),
                    prompted_n=np.zeros(count, bool),
                ),
                pts=frame,
            )
    return path


def compare(tmp_path, left, right, *, start=6, stop=10):
    """Chunk 2 with frames [0, 10) against chunk 3 with frames [6, 16)."""
    left_path = write_chunk(tmp_path / "left.parquet", 0, 10, left)
    right_path = write_chunk(tmp_path / "right.parquet", 6, 16, right)
    return compare_seam(left_path, right_path, start=start, stop=stop, left_index=2, right_index=3)


def test_equal_masks_agree_exactly(tmp_path):
    """The same masks on both sides give 1.0 and `identical`, absent objects included."""
    objects = {1: lambda f: square(f), 7: lambda f: square(2, absent=f % 2 == 0)}

    report = compare(tmp_path, objects, objects)

    assert report.identical
    assert report.agreement == 1.0
    assert (report.frames, report.left_index, report.right_index) == (4, 2, 3)
    assert [item.object_id for item in report.objects] == [1, 7]
    assert all(item.mean_iou == item.min_iou == 1.0 for item in report.objects)
    assert report.left_only == report.right_only == ()


def test_iou_is_per_object_and_frame(tmp_path):
    """One shifted mask lowers its object's numbers at its frame, and nothing else."""
    left = {1: lambda f: square(3), 2: lambda f: square(9)}
    right = {1: lambda f: square(3), 2: lambda f: square(9 + (f == 8))}

    report = compare(tmp_path, left, right)

    same, moved = report.objects
    assert same.min_iou == 1.0
    assert moved.min_iou == pytest.approx(12 / 20)  # 3 x 4 shared of 5 x 4
    assert moved.worst_frame == 8
    assert moved.mean_iou == pytest.approx((3 + 0.6) / 4)
    assert report.agreement == pytest.approx((7 + 0.6) / 8)
    assert not report.identical


@pytest.mark.parametrize("moved", range(1, 6))
def test_every_object_of_many_is_compared(tmp_path, moved):
    """Whichever of five objects differs, it is found, and the seam is not identical."""
    left = {i: lambda f, i=i: square(2 * i) for i in range(1, 6)}
    right = {**left, moved: lambda f: square(2 * moved + 1)}

    report = compare(tmp_path, left, right)

    assert [item.object_id for item in report.objects] == [1, 2, 3, 4, 5]
    assert [item.object_id for item in report.objects if item.min_iou < 1] == [moved]
    assert all(item.frames == 4 for item in report.objects)
    assert report.agreement == pytest.approx((4 + 12 / 20) / 5)
    assert not report.identical
    without = {i: mask_at for i, mask_at in left.items() if i != moved}
    lacking = compare(tmp_path, left, without)
    assert lacking.left_only == (moved,)
    assert lacking.agreement == pytest.approx(4 / 5)


def test_a_missing_object_agrees_with_nothing(tmp_path):
    """An object that one chunk does not have counts as 0 on those frames, even where absent."""
    left = {1: lambda f: square(3), 5: lambda f: square(9, absent=True)}
    right = {1: lambda f: square(3), 8: lambda f: square(9) if f >= 9 else None}

    report = compare(tmp_path, left, right)

    by_id = {item.object_id: item for item in report.objects}
    assert (by_id[5].mean_iou, by_id[5].left_only, by_id[5].right_only) == (0.0, 4, 0)
    assert (by_id[8].mean_iou, by_id[8].frames, by_id[8].right_only) == (0.0, 1, 1)
    assert (report.left_only, report.right_only) == ((5,), (8,))
    assert report.agreement == pytest.approx(4 / 9)


@pytest.mark.parametrize("other", range(1, 6))
def test_a_score_that_differs_is_not_identical(tmp_path, other):
    """Equal masks with other scores agree, but are not identical, whichever object's differs."""
    objects = {i: lambda f, i=i: square(2 * i) for i in range(1, 6)}
    left = write_chunk(tmp_path / "left.parquet", 0, 10, objects)
    right = tmp_path / "right.parquet"
    with MaskReader(left) as reader, MaskWriter(right, height=HEIGHT, width=WIDTH) as writer:
        for row in reader.rows(6):
            more = 0.5 if row.object_id == other else 0.0
            writer.write_row(dataclasses.replace(row, object_score=row.object_score + more))

    report = compare_seam(left, right, start=6, stop=10, left_index=0, right_index=1)

    assert report.agreement == 1.0
    assert not report.identical


@pytest.mark.parametrize(
    ("start", "stop", "objects"),
    [
        pytest.param(6, 6, {1: lambda f: square(3)}, id="no overlap"),
        pytest.param(6, 10, {1: lambda f: None}, id="no live object"),
    ],
)
def test_nothing_to_compare_is_agreement(tmp_path, start, stop, objects):
    """A seam without shared rows passes, and says how many frames it shared."""
    report = compare(tmp_path, objects, objects, start=start, stop=stop)

    assert (report.agreement, report.identical, report.objects) == (1.0, True, ())
    assert report.frames == stop - start
    judge_seam(report, min_agreement=1.0, on_disagreement="fail")


def test_rows_outside_the_overlap_do_not_count(tmp_path):
    """Only the shared frames are compared, whatever the chunks say elsewhere."""
    left = {1: lambda f: square(3 if f >= 6 else 9)}
    right = {1: lambda f: square(3 if f < 10 else 9)}

    assert compare(tmp_path, left, right).identical


def test_the_report_is_json(tmp_path):
    """A report comes back from its JSON, and a program without this package can read it."""
    report = compare(tmp_path, {1: lambda f: square(3)}, {1: lambda f: square(f)})

    assert SeamReport.model_validate_json(report.model_dump_json()) == report
    assert json.loads(report.model_dump_json())["objects"][0]["object_id"] == 1


def test_a_disagreement_names_the_worst(tmp_path, caplog):
    """Below the limit a run fails with one line of numbers and a way out, or warns and goes on."""
    left = {1: lambda f: square(3), 2: lambda f: square(9)}
    right = {1: lambda f: square(3), 2: lambda f: square(9 + (f == 8))}
    report = compare(tmp_path, left, right)

    judge_seam(report, min_agreement=0.9, on_disagreement="fail")
    with pytest.raises(SeamError) as caught:
        judge_seam(report, min_agreement=0.96, on_disagreement="fail")
    message = str(caught.value)
    for part in ("chunks 2 and 3", "[6, 10)", "0.9500", "0.96", "object 2", "frame 8", "0.6000"):
        assert part in message
    assert "\n" not in message
    assert "track chunk 3 again" in message

    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        judge_seam(report, min_agreement=0.96, on_disagreement="warn")
    (record,) = caplog.records
    assert "object 2 at frame 8" in record.getMessage()


def test_chunks_of_two_videos_are_refused(tmp_path):
    """Masks of two sizes are an error that gives both."""
    left = write_chunk(tmp_path / "left.parquet", 0, 10, {1: lambda f: square(3)})
    with MaskWriter(tmp_path / "right.parquet", height=30, width=40):
        pass
    with pytest.raises(SeamError, match="10 x 20 and 30 x 40"):
        compare_seam(
            left, tmp_path / "right.parquet", start=6, stop=10, left_index=0, right_index=1
        )


def test_damaged_run_lengths_are_a_storage_error(tmp_path):
    """A mask that cannot be one is reported with the files it came from."""
    left = write_chunk(tmp_path / "left.parquet", 0, 10, {1: lambda f: square(3)})
    right = tmp_path / "right.parquet"
    with MaskReader(left) as reader, MaskWriter(right, height=HEIGHT, width=WIDTH) as writer:
        for row in reader.rows(6):
            writer.write_row(dataclasses.replace(row, counts=row.counts[:-1]))

    with pytest.raises(StorageError, match=r"right\.parquet: damaged mask"):
        compare_seam(left, right, start=6, stop=10, left_index=0, right_index=1)


@pytest.mark.parametrize(
    ("start", "stop", "chunk_frames", "overlap"),
    [(0, 1, 4, 1), (0, 10, 4, 1), (0, 10, 4, 3), (0, 12, 4, 0), (37, 101, 7, 5)],
)
def test_every_frame_has_one_owner(start, stop, chunk_frames, overlap):
    """Owned frames follow one another without gap or overlap, and each chunk tracked its own."""
    plan = plan_chunks(start, stop, chunk_frames=chunk_frames, overlap=overlap)

    ranges = owned_ranges(plan)

    frames = [frame for first, last in ranges for frame in range(first, last)]
    assert frames == list(range(start, stop))
    for chunk, (first, last) in zip(plan, ranges, strict=True):
        assert chunk.start <= first < last <= chunk.stop


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([Chunk(0, 0, 4), Chunk(1, 5, 9)], id="a gap"),
        pytest.param([Chunk(1, 5, 9), Chunk(0, 0, 6)], id="descending"),
    ],
)
def test_chunks_that_leave_frames_out_are_refused(chunks):
    """Frames that nobody owns would be missing from the result without a word."""
    with pytest.raises(ValueError, match="without a gap"):
        owned_ranges(chunks)


def test_no_chunks_own_nothing():
    """An empty plan has no ranges."""
    assert owned_ranges([]) == []


def test_iou_of_the_worst_case_is_that_of_the_pixels(tmp_path):
    """On noise the report's mean is the mean over pixels, counted the slow way."""
    rng = np.random.default_rng(3)
    noise = rng.random((2, 16, HEIGHT, WIDTH)) < 0.4
    report = compare(tmp_path, {1: lambda f: noise[0, f]}, {1: lambda f: noise[1, f]})

    ious = [
        (noise[0, f] & noise[1, f]).sum() / (noise[0, f] | noise[1, f]).sum() for f in range(6, 10)
    ]
    assert report.agreement == pytest.approx(np.mean(ious))
    assert report.objects[0].worst_frame == 6 + int(np.argmin(ious))
