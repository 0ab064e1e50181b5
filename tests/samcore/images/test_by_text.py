"""What detectors find on pictures, by text, too, becomes masks that know their concept."""

import numpy as np
import pytest

pytest.importorskip("transformers")

from samcore.detectors.detector import Detection, make_detector
from samcore.errors import InputError
from samcore.images.segmenter import ImageSegmenter
from samcore.machine.rung import Rung
from samcore.prompts.automatic import AutomaticPrompts, choose_objects
from samcore.prompts.prompt import Prompt
from tests.samcore.detectors.examples import hub_folder

MAX_PIXELS = 4


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A small random network that looks for what a text says."""
    return hub_folder(tmp_path_factory.mktemp("owlv2") / "net", "owlv2")


@pytest.fixture
def segmenter(load):
    model = load("nano")
    size = model.facts.image_size
    return ImageSegmenter(model, rung=Rung(encode_batch=3, object_batch=64, image_size=size))


def asking(folder, *texts):
    """The best three of what a network finds."""
    return AutomaticPrompts(
        detector=f"transformers:{folder}",
        text=texts,
        min_score=0,
        min_area=1e-6,
        max_objects=3,
    )


def test_each_picture_has_its_own_texts(segmenter, load, pictures, reader):
    """Several concepts for one picture, others for the next, in batches: labels are the concepts of
    that picture; masks are those of its boxes, and all is as with one picture at a time."""
    texts = [("red car", "person"), ("dog",), ("red car", "person"), ("person", "dog", "car")]
    options, model = asking(reader, "any"), load("nano")
    detector = make_detector(options, model, batch=1)
    told = []

    found = segmenter.by_text(
        pictures, texts, detector, options, on_progress=lambda *done: told.append(done)
    )

    for image, words, of_picture in zip(pictures, texts, found, strict=True):
        assert len(of_picture.masks) <= 3
        assert {mask.label for mask in of_picture.masks} <= set(words)
        asked = asking(reader, *words)
        (detections,) = make_detector(asked, model, batch=1).detect([image])
        prompts = choose_objects(detections, asked, frame_idx=0)
        (by_boxes,) = segmenter.segment([image], [prompts])
        assert [mask.label for mask in of_picture.masks] == [p.label for p in prompts]
        scores = [mask.score for mask in of_picture.masks]
        assert scores == sorted(scores, reverse=True)
        assert set(scores) <= {item.score for item in detections}
        for mask, wanted in zip(of_picture.masks, by_boxes.masks, strict=True):
            assert mask.obj_id == wanted.obj_id
            assert mask.predicted_iou == pytest.approx(wanted.predicted_iou, abs=1e-4)
            assert np.count_nonzero(mask.mask() != wanted.mask()) <= MAX_PIXELS
    assert {mask.label for one in found for mask in one.masks} >= {"red car", "person", "dog"}
    assert told == [(3, 4), (4, 4)]


def test_one_network_serves_all_texts(load, pictures, reader):
    """Looking for other texts takes no new network, and gives what a new one would."""
    model = load("nano")
    detector = make_detector(asking(reader, "dog"), model, batch=1)
    other = detector.looking_for(["red car", "person"])
    fresh = make_detector(asking(reader, "red car", "person"), model, batch=1)
    assert other._net is detector._net
    (found,), (wanted,) = other.detect(pictures[:1]), fresh.detect(pictures[:1])
    assert [(item.label, item.score) for item in found] == [
        (item.label, item.score) for item in wanted
    ]
    (before,) = detector.detect(pictures[:1])
    assert {item.label for item in before} == {"dog"}


class Listed:
    """A detector that was told what it finds."""

    def __init__(self, found):
        self.found = found

    def detect(self, images_rgb_hwc_u8, *, first_frame=0, on_progress=None):
        return self.found[first_frame : first_frame + len(images_rgb_hwc_u8)]


def test_masks_are_taken_as_they_are(segmenter, pictures):
    """A mask of a detector is enlarged and not decoded; boxes beside it are decoded; a picture with
    nothing on it has no masks."""
    hw = [image.shape[:2] for image in pictures]
    small_hw = np.zeros((12, 16), bool)
    small_hw[:6, :8] = True
    box = (10.0, 12.0, 60.0, 50.0)
    listed = [
        [
            Detection(0.5, hw[0], box_xyxy_px=box, label="shape"),
            Detection(0.9, hw[0], mask_hw=small_hw, label="corner"),
        ],
        [],
        [Detection(0.7, hw[2], mask_hw=np.ones(hw[2], bool))],
        [Detection(0.8, hw[3], box_xyxy_px=(5.0, 5.0, 60.0, 45.0), label="shape")],
    ]
    options = AutomaticPrompts()

    found = segmenter.detected(pictures, Listed(listed), options)

    corner, shape = found[0].masks
    assert (corner.label, corner.score, corner.predicted_iou) == ("corner", 0.9, None)
    assert np.array_equal(corner.mask(), listed[0][1].enlarged())
    assert (shape.label, shape.score, shape.obj_id) == ("shape", 0.5, 2)
    (wanted,) = segmenter.segment(pictures[:1], [[Prompt(2, 0, box_xyxy_px=box)]])
    assert np.count_nonzero(shape.mask() != wanted.masks[0].mask()) <= MAX_PIXELS
    assert found[1].masks == ()
    assert found[2].masks[0].area == 64 * 64
    assert [mask.label for mask in found[3].masks] == ["shape"]


def test_what_counts_is_what_the_options_say(segmenter, pictures):
    """Score, label, area and number bound what becomes a mask, as for videos."""
    hw = pictures[0].shape[:2]
    boxes = [(0.0, 0.0, 30.0, 30.0), (40.0, 40.0, 70.0, 70.0), (80.0, 5.0, 120.0, 40.0)]
    listed = [
        [
            Detection(score, hw, box_xyxy_px=box, label=label)
            for score, box, label in zip((0.9, 0.8, 0.2), boxes, ("a", "b", "a"), strict=True)
        ]
    ]
    for options, wanted in (
        ({}, [0.9, 0.8, 0.2]),
        ({"min_score": 0.5}, [0.9, 0.8]),
        ({"max_objects": 1}, [0.9]),
        ({"min_area": 0.1}, [0.2]),
    ):
        (found,) = segmenter.detected(pictures[:1], Listed(listed), AutomaticPrompts(**options))
        assert [mask.score for mask in found.masks] == wanted


def test_texts_that_cannot_be_are_one_line(segmenter, load, pictures, reader):
    """A picture without a text, lists of two lengths, a text the network refuses, a detector that
    reads none."""
    options = asking(reader, "dog")
    detector = make_detector(options, load("nano"), batch=1)
    for wrong in ((), "dog", (" ",)):
        with pytest.raises(InputError, match=r"one concept or several for b\.png, got"):
            segmenter.by_text(
                pictures[:2], [("dog",), wrong], detector, options, names=["a.png", "b.png"]
            )
    with pytest.raises(InputError, match="texts for each picture, got 1 for 2"):
        segmenter.by_text(pictures[:2], [("dog",)], detector, options)
    with pytest.raises(InputError, match="without a full stop"):
        segmenter.by_text(pictures[:1], [("a. b",)], detector, options)
    with pytest.raises(InputError, match="the detector masks does not take any"):
        segmenter.by_text(pictures[:1], [("dog",)], Listed([[]]), AutomaticPrompts())
