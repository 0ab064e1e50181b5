"""Detections that were made elsewhere."""

import json

import numpy as np
import pytest

from samcore.detectors.detector import fetch_detector, look_up_detector
from samcore.detectors.file import ListedDetections, read_detections
from samcore.errors import InputError
from samcore.masks.rle import encode_masks
from samcore.prompts.automatic import AutomaticPrompts

IMAGE = np.zeros((40, 60, 3), np.uint8)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def detect(path, frame, image=IMAGE):
    options = AutomaticPrompts(detector=f"file:{path}")
    (found,) = ListedDetections(None, options, batch=1).detect([image], first_frame=frame)
    return found


def rle(mask_hw):
    (one,) = encode_masks(mask_hw[None])
    return {"size": [one.height, one.width], "counts": one.counts.decode()}


def test_mot_text_counts_frames_from_one(tmp_path):
    """Line 1 of MOT is frame 0 here; a score of -1, or none, is 1; what lies outside is cut off."""
    path = write(
        tmp_path / "det.txt",
        "1,-1,10,20,5,10,0.9,-1,-1,-1\n\n3,-1,-5,-5,20.5,10,-1\n3 7 50 30 100 100\n"
        "3,1,90,90,9,9,1\n",
    )
    (first,) = detect(path, 0)
    assert (first.box_xyxy_px, first.score, first.label) == ((10, 20, 15, 30), 0.9, None)
    assert detect(path, 1) == []
    assert [(one.box_xyxy_px, one.score) for one in detect(path, 2)] == [
        ((0, 0, 15.5, 5), 1.0),
        ((50, 30, 60, 40), 1.0),
    ]


def test_coco_results_have_cocos_names(tmp_path):
    """`image_id` is the frame from 0; a mask comes before a box; unknown categories keep their
    number; keys of other tools are left alone."""
    mask_hw = np.zeros((40, 60), bool)
    mask_hw[5:9, 7:30] = True
    path = write(
        tmp_path / "coco.json",
        [
            {"image_id": 0, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5, "id": 9},
            {"image_id": 1, "category_id": 26, "bbox": [1, 2, 3, 4], "segmentation": rle(mask_hw)},
        ],
    )
    (car,), (other,) = detect(path, 0), detect(path, 1)
    assert (car.box_xyxy_px, car.score, car.label) == ((1, 2, 4, 6), 0.5, "car")
    assert (other.score, other.label) == (1.0, "category 26")
    assert np.array_equal(other.mask_hw, mask_hw)


def test_our_own_form_has_boxes_or_masks(tmp_path):
    """Frames from 0, corners, labels; masks as run lengths, also as a list."""
    path = write(
        tmp_path / "own.json",
        {
            "detections": [
                {"frame": 4, "box": [1, 2, 30, 20.5], "label": "dog", "score": 0.25},
                {"frame": 4, "mask": {"size": [40, 60], "counts": [40, 40, 2320]}},
                {"frame": 4, "mask": {"size": [40, 60], "counts": [2400]}},
            ]
        },
    )
    box, mask = detect(path, 4)
    assert (box.box_xyxy_px, box.score, box.label) == ((1, 2, 30, 20.5), 0.25, "dog")
    assert mask.mask_hw.sum() == mask.mask_hw[:, 1].sum() == 40


ONE = {"frame": 0, "box": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1,-1,10,20,5,10\n1,-1,10,20,5\n", ["line 2", "frame,id,left,top,width,height"]),
        ("1,-1,10,20,5,ten\n", ["line 1", "'1,-1,10,20,5,ten'"]),
        ("1,-1,10,20,nan,3\n", ["line 1"]),
        ("0,-1,10,20,5,5\n", ["line 1", "whole number from 1, got 0"]),
        ("1.5,-1,10,20,5,5\n", ["line 1", "whole number from 1, got 1.5"]),
        ("1,-1,10,20,0,5\n", ["line 1", "inside out or empty", "10, 20, 10, 25"]),
        ("\n1,-1,10,20,5,5,7\n", ["line 2", "score: wanted 0 to 1, or -1", "got 7"]),
        ("", ["lists no detections", "MOT text"]),
        ("hello", ["line 1", "frames from 1"]),
        ('{"detections": [\n{"frame": 0,}]}', ["line 2", "no valid JSON"]),
        ({"boxes": []}, ["wanted MOT text", "COCO results"]),
        ({"detections": []}, ["lists no detections"]),
        (
            {"detections": [ONE, {"frame": -1, "box": [1, 2, 3, 4]}]},
            ["detections[1]: frame:", "-1"],
        ),
        (
            {"detections": [{"frame": 7, "mask": {"size": [4, 6], "counts": [4, 4, 17]}}]},
            ["frame 7, mask: counts are no COCO run lengths", "25 pixels of 4 x 6"],
        ),
        ({"detections": [{"frame": 0}]}, ["detections[0]: wanted a box or a mask, got neither"]),
        ({"detections": [{**ONE, "lable": "x"}]}, ["detections[0]: lable:", "not permitted"]),
        ({"detections": [{**ONE, "box": [3, 2, 1, 4]}]}, ["detections[0]: box:", "inside out"]),
        ({"detections": [{**ONE, "score": 1.5}]}, ["detections[0]: score:", "1.5"]),
        ([{"image_id": "a.png", "bbox": [1, 2, 3, 4]}], ["[0]: image_id:", "'a.png'"]),
        ([{"image_id": 0, "category_id": 1}], ["[0]: wanted bbox or segmentation"]),
        ([{"image_id": 0, "bbox": [1, 2, -3, 4]}], ["[0]: bbox:", "inside out"]),
        ([3], ["[0]: wanted an object in braces", "got 3"]),
    ],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path, content, words):
    """It names the file and the line or the item, what was wanted and what came; and comes before
    the video is opened."""
    path = write(tmp_path / "bad", content)
    with pytest.raises(InputError) as caught:
        look_up_detector(AutomaticPrompts(detector=f"file:{path}"))
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    assert all(word in said for word in words), said


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    """Missing, a folder, no text, or without a label that is asked for."""
    with pytest.raises(InputError, match="there is no file of detections"):
        read_detections(tmp_path / "none.txt")
    with pytest.raises(InputError, match="there is no file of detections"):
        read_detections(tmp_path)
    (tmp_path / "bytes").write_bytes(b"1,\xff")
    with pytest.raises(InputError, match="not UTF-8 text, at byte 2"):
        read_detections(tmp_path / "bytes")
    path = write(tmp_path / "own.json", {"detections": [{**ONE, "label": "dog"}]})
    with pytest.raises(InputError, match="no detection labelled 'cat'; it has dog"):
        look_up_detector(AutomaticPrompts(detector=f"file:{path}", labels=["cat"]))


def test_a_mask_of_another_size_is_one_line(tmp_path):
    """The frame and both sizes are in it."""
    mask = {"size": [4, 6], "counts": [12, 12]}
    path = write(tmp_path / "own.json", {"detections": [{"frame": 2, "mask": mask}]})
    with pytest.raises(InputError, match=r"frame 2, mask: size: wanted the video's \[40, 60\]"):
        detect(path, 2)


def test_another_file_has_another_fingerprint(tmp_path):
    """The content counts, not the name."""
    one, two, three = (
        write(tmp_path / name, text)
        for name, text in (("a", "1,1,1,1,2,2"), ("b", "1,1,1,1,2,2"), ("c", "1,1,1,1,2,3"))
    )
    said = [
        fetch_detector(AutomaticPrompts(detector=f"file:{path}"), cache_dir=tmp_path)
        for path in (one, two, three)
    ]
    assert said[0] == said[1] != said[2]
