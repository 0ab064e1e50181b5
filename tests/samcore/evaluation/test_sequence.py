"""Hand-made results and ground truths with known answers."""

import dataclasses
import json

import pytest

from samcore.errors import InputError, StorageError
from samcore.evaluation.open_truth import open_ground_truth
from samcore.evaluation.sequence import evaluate_sequence
from samcore.masks.table import MaskReader, MaskWriter
from tests.samcore.evaluation.conftest import EMPTY, HEIGHT, WIDTH, block, coco_video, write_file


def judge(table_path, truth_path, *, object_ids=(1, 2), span=(0, 100), **options):
    with MaskReader(table_path) as reader:
        return evaluate_sequence(
            reader,
            open_ground_truth(truth_path),
            sequence="clip",
            object_ids=object_ids,
            span=span,
            **options,
        )


def test_the_truth_itself_is_perfect(table, davis):
    """J, F and all identity measures are 1 and nobody is switched, absences included."""
    frames = [{1: block(i), 2: block(40 - i) if i % 3 else EMPTY} for i in range(8)]

    scores = judge(table(frames), davis(frames))

    assert scores.j_and_f == scores.j == scores.f == 1.0
    assert [(item.truth_id, item.object_id, item.frames) for item in scores.objects] == [
        (1, 1, 6),
        (2, 2, 5),  # not on frame 0, so its first frame is 1
    ]
    assert scores.identity is not None
    assert scores.identity.switches == 0
    assert scores.identity.hota == pytest.approx(1.0)
    assert scores.identity.idf1 == pytest.approx(1.0)


def test_scores_of_known_masks_have_known_values(table, davis):
    """J by hand: a third where half overlaps; first and last frames do not count."""
    true = [{1: block(10)}] * 6
    found = [{1: EMPTY}, {1: block(16)}, {1: block(10)}, {1: EMPTY}, {1: block(10)}, {1: EMPTY}]

    scores = judge(table(found), davis(true), object_ids=(1,))

    (item,) = scores.objects
    assert item.frames == 4
    assert item.j.mean == pytest.approx((1 / 3 + 1 + 0 + 1) / 4)
    assert item.j.recall == pytest.approx(2 / 4)
    assert item.j.decay == pytest.approx((1 / 3 + 1) / 2 - (0 + 1) / 2)
    assert scores.identity is None  # one object cannot be confused

    (item,) = judge(table(found), davis(true, folder="b"), object_ids=(1,), all_frames=True).objects
    assert item.frames == 6
    assert item.j.mean == pytest.approx((1 / 3 + 1 + 0 + 1) / 6)


def test_a_missing_object_is_found_nowhere(table, davis):
    """It counts 0 where it is to be seen and 1 where it is not; one too many is named."""
    true = [{1: block(0), 2: block(30)}, {1: block(0), 2: block(30)}, {1: block(0)}] + [{}] * 2
    found = [{1: frame.get(1, EMPTY), 9: block(44)} for frame in true]

    scores = judge(table(found), davis(true), object_ids=(1, 9))

    missing = scores.objects[1]
    assert missing.object_id is None
    assert missing.j.mean == pytest.approx(2 / 3)
    assert missing.f.mean == pytest.approx(2 / 3)
    assert scores.unmatched == (9,)
    assert scores.j == pytest.approx((1 + 2 / 3) / 2)


def test_an_object_begins_with_its_first_frame(table, davis):
    """What was found of it before the truth knows it is not judged."""
    true = [{1: block(0)}, {1: block(0)}, {1: block(0), 2: block(30)}] + [
        {1: block(0), 2: block(30)}
    ] * 3
    found = [{1: frame[1], 2: block(30)} for frame in true]

    scores = judge(table(found), davis(true))

    assert [item.frames for item in scores.objects] == [4, 2]
    assert scores.j_and_f == 1.0


def test_a_switch_is_counted_and_costs(table, davis):
    """Two objects that swap numbers half way: two switches, association about a half."""
    true = [{1: block(0), 2: block(30)}] * 10
    found = [{1: block(0), 2: block(30)}] * 5 + [{1: block(30), 2: block(0)}] * 5

    scores = judge(table(found), davis(true), all_frames=True)

    assert scores.j == pytest.approx(0.5)
    assert scores.identity is not None
    assert scores.identity.switches == 2
    assert scores.identity.det_a == pytest.approx(1.0)
    # Each detection is joined rightly with 5 of the 15 frames of the two it could belong to.
    assert scores.identity.ass_a == pytest.approx(1 / 3)
    assert scores.identity.hota == pytest.approx((1 / 3) ** 0.5)
    assert scores.identity.idf1 == pytest.approx(0.5)


def test_objects_can_be_paired_by_overlap(table, davis, tmp_path):
    """Ground truth that numbers objects in its own way is paired by masks: COCO's by itself,
    DAVIS's if asked to."""
    true = [{70: block(0), 12: block(30)}] * 4
    found = [{1: block(30), 2: block(0)}] * 4
    path = write_file(
        tmp_path / "truth.json", json.dumps(coco_video(true, numbers=(70, 12))).encode()
    )

    scores = judge(table(found), path)
    assert scores.match == "overlap"
    assert {item.truth_id: item.object_id for item in scores.objects} == {12: 1, 70: 2}
    assert scores.j_and_f == 1.0

    folder = davis(true)
    assert judge(table(found), folder).j == 0.0
    assert judge(table(found), folder, match="overlap").j == 1.0


def test_regions_that_are_not_judged(table, mots_png):
    """What differs inside them costs nothing, and an object that lies there is not made up."""
    # Frame by frame the region swallows the right part of the object.
    void = block(6, size=14)
    true = [{2001: block(0) & ~void, 10_000: void}] * 4
    found = [{1: block(0), 2: block(8, top=11, size=6)}] * 4

    scores = judge(table(found), mots_png(true))

    assert scores.j_and_f == 1.0
    assert scores.unmatched == (2,)
    assert scores.identity is not None
    assert scores.identity.idf1 == 1.0


def test_only_frames_that_were_tracked_are_judged(table, davis):
    """Annotated frames outside of what was asked for are counted, not judged."""
    frames = [{1: block(i)} for i in range(20)]

    scores = judge(table(frames[5:15], start=5), davis(frames), object_ids=(1,), span=(5, 15))

    assert (scores.frames, scores.frames_outside) == (10, 10)
    assert scores.j_and_f == 1.0


def test_scores_count_only_frames_that_have_truth(table, davis):
    """Only annotated frames are judged, and the right ones."""
    frames = [{1: block(i)} for i in range(12)]
    folder = davis(frames)
    for path in folder.glob("*.png"):
        if int(path.stem) % 5:
            path.unlink()

    scores = judge(table(frames), folder, object_ids=(1,))

    assert scores.frames == 3
    assert scores.objects[0].frames == 1
    assert scores.j_and_f == 1.0


def test_truth_that_does_not_fit_the_result_is_refused(table, davis, tmp_path):
    """Another size, and nothing to judge, are one line each."""
    frames = [{1: block(0)}] * 2
    with pytest.raises(InputError, match="no frame of clip to judge: 2 annotated frames"):
        judge(table(frames), davis(frames), object_ids=(1,))

    content = coco_video(frames, numbers=(1,))
    content["videos"][0].update(width=10, height=10)
    path = write_file(tmp_path / "truth.json", json.dumps(content).encode())
    with pytest.raises(InputError, match=r"ground truth of clip is 10 x 10 pixels, the result 60"):
        judge(table(frames), path)


@pytest.mark.parametrize("match", ["number", "overlap"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda row: {"counts": row.counts[:-1]},
        lambda row: {"counts": b"\xff" * 5},
        lambda row: {"counts": b"0", "area": 0},
        lambda row: {"height": row.height // 2, "width": 2 * row.width},
    ],
    ids=["cut", "noise", "empty", "size"],
)
@pytest.mark.parametrize("object_ids", [(1,), (1, 2)], ids=["one", "two"])
def test_a_damaged_result_is_told(table, davis, tmp_path, match, damage, object_ids):
    """Whatever a mask would have been needed for, the line says which it is and of which file."""
    frames = [{i: block(10 * i) for i in object_ids}] * 4
    good, bad = table(frames), tmp_path / "bad.parquet"
    with MaskReader(good) as reader, MaskWriter(bad, height=HEIGHT, width=WIDTH) as writer:
        for row in reader.rows():
            is_bad = (row.frame, row.object_id) == (2, 1)
            changed = dataclasses.replace(row, **damage(row)) if is_bad else row
            # A writer refuses masks of another size than its own.
            writer._size_hw = (changed.height, changed.width)
            writer.write_row(changed)

    with pytest.raises(
        StorageError, match=r"cannot read .*bad\.parquet: frame 2, object 1: damaged mask"
    ):
        judge(bad, davis(frames), object_ids=object_ids, match=match)
