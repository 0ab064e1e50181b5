"""The formats of MOTS and MOT Challenge, read by TrackEval and OpenCV."""

import contextlib
import io

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from samcore.errors import InputError
from samcore.exports.mots import mots_numbers


def trackeval_rows(kind, file, num_frames, tmp_path):
    """What TrackEval's own reader of the format makes of a tracker's file."""
    trackeval = pytest.importorskip("trackeval")
    sequence = file.stem
    data = tmp_path / "trackers" / "longtake" / "data"
    data.mkdir(parents=True)
    (data / file.name).write_bytes(file.read_bytes())
    truth = tmp_path / "gt" / sequence / "gt"
    truth.mkdir(parents=True)
    (truth / "gt.txt").write_text("")
    config = {
        "GT_FOLDER": f"{tmp_path}/gt",
        "TRACKERS_FOLDER": f"{tmp_path}/trackers",
        "SKIP_SPLIT_FOL": True,
        "SEQ_INFO": {sequence: num_frames},
        "PRINT_CONFIG": False,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        reader = getattr(trackeval.datasets, kind)(config)
        return reader._load_raw_file("longtake", sequence, is_gt=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools' own decode
def test_trackeval_reads_masks_back(case, tmp_path):
    """TrackEval takes the text, which it refuses where masks overlap; frames count from 1, and
    every mask is there to the pixel."""
    folder = case.write("mots-txt", tmp_path)
    raw = trackeval_rows(
        "MOTSChallenge", folder / f"{case.masklets.sequence}.txt", case.masklets.stop, tmp_path
    )

    numbers = mots_numbers(case.masklets)
    for frame in range(case.masklets.stop):
        masks = case.exclusive.get(frame, {})
        ids = raw["tracker_ids"][frame]
        assert ids.tolist() == [numbers[object_id] for object_id in sorted(masks)]
        assert raw["tracker_classes"][frame].tolist() == (ids // 1000).tolist()
        for object_id, det in zip(sorted(masks), raw["tracker_dets"][frame], strict=True):
            np.testing.assert_array_equal(coco_mask.decode(det).astype(bool), masks[object_id])


def test_mots_pngs_are_read_back(case, tmp_path):
    """16 bits a pixel, 1000 * class + number, frames from 1."""
    folder = case.write("mots-png", tmp_path)

    numbers = mots_numbers(case.masklets)
    images = sorted((folder / "instances" / case.masklets.sequence).iterdir())
    assert [int(image.stem) for image in images] == [frame + 1 for frame in case.masks]
    for image, masks in zip(images, case.exclusive.values(), strict=True):
        pixels = cv2.imread(str(image), cv2.IMREAD_UNCHANGED)
        assert pixels.dtype == np.uint16
        assert set(np.unique(pixels)) - {0} == {numbers[object_id] for object_id in masks}
        for object_id, mask in masks.items():
            np.testing.assert_array_equal(pixels == numbers[object_id], mask)


def test_pngs_of_a_long_video_sort(make_case, tmp_path):
    """Past 999,999 frames names are longer, all of them; up to there they have six digits."""

    def draw(frame):
        return {1: np.ones((33, 47), bool)}

    for place, (start, stop, first) in enumerate(
        [(999_996, 999_999, "999997.png"), (999_998, 1_000_002, "0999999.png")]
    ):
        (tmp_path / str(place)).mkdir()
        case = make_case(tmp_path / str(place), draw=draw, ids=(1,), start=start, stop=stop)
        folder = case.write("mots-png", tmp_path / str(place)) / "instances"
        names = sorted(image.name for image in (folder / case.masklets.sequence).iterdir())
        assert names[0] == first
        assert [int(name[:-4]) for name in names] == list(range(start + 1, stop + 1))


def test_trackeval_reads_boxes_back(case, tmp_path):
    """TrackEval's MOT reader finds each object's box, counted from 1, and its confidence."""
    folder = case.write("mot-txt", tmp_path)
    raw = trackeval_rows(
        "MotChallenge2DBox", folder / f"{case.masklets.sequence}.txt", case.masklets.stop, tmp_path
    )

    for frame, masks in case.masks.items():
        assert raw["tracker_ids"][frame].tolist() == sorted(masks)
        for place, object_id in enumerate(sorted(masks)):
            rows, columns = np.nonzero(masks[object_id])
            left, top, width, height = raw["tracker_dets"][frame][place]
            assert (left, top) == (columns.min() + 1, rows.min() + 1)
            assert (left + width, top + height) == (columns.max() + 2, rows.max() + 2)
            score = 1 / (1 + np.exp(-case.scores[frame, object_id]))
            assert raw["tracker_confidences"][frame][place] == pytest.approx(score, abs=1e-6)


def test_classes_are_the_challenges(many):
    """Cars are 1, people 2, other labels follow; 10, which marks what to ignore, is left out."""
    labels = {1: "Car", 2: "pedestrian", 3: "person", **{i: f"thing {i:02d}" for i in range(4, 14)}}
    numbers = mots_numbers(many(tuple(labels), labels).masklets)

    assert [number // 1000 for number in numbers.values()] == [1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 11,
                                                               12, 13]  # fmt: skip
    assert [number % 1000 for number in numbers.values()] == list(labels)


@pytest.mark.parametrize(
    ("ids", "labels"),
    [(range(1000), {}), (range(1, 70), {i: f"thing {i}" for i in range(1, 70)})],
    ids=["of one class", "classes"],
)
def test_mots_refuses_too_many_objects(many, ids, labels):
    """One line with the limits and another format."""
    with pytest.raises(InputError, match=r"999 objects of one class and 64 classes at most.*: use"):
        mots_numbers(many(tuple(ids), labels).masklets)
