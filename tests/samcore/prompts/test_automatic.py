"""Objects that nobody pointed at: what is made of what a detector finds."""

import re
from fractions import Fraction

import numpy as np
import pytest

from samcore.detectors.detector import Detection
from samcore.detectors.masks import MaskGrid
from samcore.errors import InputError
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.automatic import (
    AutomaticPrompts,
    choose_objects,
    frames_to_look_at,
    nothing_found,
)
from samcore.prompts.options import AUTOMATIC_NAMES, parse_automatic
from samcore.scenes import Scene


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def load(name, tmp_path, dtype="float32"):
    return load_model(resolve_model(name, cache_dir=tmp_path), choose_compute("cpu", dtype))


def find(model, image, options):
    (found,) = MaskGrid(model, options, batch=64).detect([image])
    return choose_objects(found, options, frame_idx=0)


@pytest.mark.parametrize(
    ("height", "width", "seed", "dtype"),
    [
        pytest.param(96, 128, 3, "float32", id="small"),
        pytest.param(400, 1040, 8, "float32", id="larger than what masks are made at"),
        pytest.param(96, 128, 3, "bfloat16", id="bfloat16"),
    ],
)
def test_the_shapes_of_a_scene_are_found(height, width, seed, dtype, tmp_path):
    """Each shape that can be seen is found once, with ids from 1 on, and nothing else is."""
    scene = Scene(seed, num_frames=66, height=height, width=width, num_objects=2)
    image = next(iter(scene)).image_rgb_hwc_u8
    prompts = find(load("nano", tmp_path, dtype), image, AutomaticPrompts(points_per_side=10))

    truth = [mask_hw for mask_hw in scene.masks_nhw(0) if mask_hw.any()]
    assert [prompt.obj_id for prompt in prompts] == list(range(1, len(truth) + 1))
    for shape_hw in truth:
        assert max(iou(shape_hw, prompt.mask_hw) for prompt in prompts) > 0.8


def test_equal_pictures_give_equal_objects(tmp_path):
    """The same picture gives the same masks in the same order, to the pixel, for any network:
    here one whose input is 256 px and whose masks are noise."""
    scene = Scene(3, num_frames=4, height=96, width=128, num_objects=2)
    image = next(iter(scene)).image_rgb_hwc_u8
    options = AutomaticPrompts(points_per_side=2, min_predicted_iou=0, min_stability=0)
    model = load("random-tiny", tmp_path)
    once, again = find(model, image, options), find(model, image, options)

    assert once
    assert len(once) == len(again)
    assert all(np.array_equal(a.mask_hw, b.mask_hw) for a, b in zip(once, again, strict=True))


def mask(y1, y2, x1, x2):
    mask_hw = np.zeros((20, 20), bool)
    mask_hw[y1:y2, x1:x2] = True
    return mask_hw


def choose(found, **options):
    found = [Detection(score, (20, 20), mask_hw) for mask_hw, score in found]
    return choose_objects(found, AutomaticPrompts(**options), frame_idx=5)


def chosen(found, **options):
    prompts = choose(found, **options)
    assert {prompt.frame_idx for prompt in prompts} == {5}
    return [prompt.mask_hw for prompt in prompts]


def test_parts_are_no_objects_of_their_own():
    """Of masks that show one thing the best stays: parts of it and larger masks around it go;
    a neighbour that overlaps by less than half stays."""
    body, arm, group = mask(2, 10, 2, 10), mask(2, 10, 2, 5), mask(2, 10, 2, 18)
    neighbour = mask(2, 10, 8, 16)

    kept = chosen([(arm, 0.85), (group, 0.9), (neighbour, 0.92), (body, 0.95)])

    assert len(kept) == 2
    assert np.array_equal(kept[0], body)
    assert np.array_equal(kept[1], neighbour)


def test_automatic_prompts_keep_number_and_size_bounds():
    """At most so many, the best ones; none that is too small; of equals the upper one first."""
    masks = [(mask(0, 4, 0, 4), 0.8), (mask(8, 12, 8, 12), 0.9), (mask(4, 8, 4, 8), 0.9)]

    assert len(chosen(masks)) == 3
    first, second = chosen(masks, max_objects=2)
    assert np.array_equal(first, masks[2][0])
    assert np.array_equal(second, masks[1][0])
    assert len(chosen([*masks, (mask(15, 17, 15, 17), 0.99)], min_area=0.03)) == 3
    assert choose(masks, min_area=0.05) == ()
    assert choose([(mask(0, 0, 0, 0), 0.99)]) == ()


def test_boxes_become_objects_as_masks_do():
    """A detector without masks gives boxes: those are chosen by the same rules, also beside masks
    that are smaller than the picture, and are prompts as they are."""
    body, part = (2.0, 2.0, 10.0, 10.0), (2.0, 2.0, 5.0, 10.0)
    found = [Detection(score, (20, 20), box_xyxy_px=box) for box, score in ((part, 0.8), (body, 1))]

    (only,) = choose_objects(found, AutomaticPrompts(), frame_idx=5)
    assert (only.box_xyxy_px, only.mask_hw) == (body, None)
    assert choose_objects(found, AutomaticPrompts(min_area=0.2), frame_idx=5) == ()

    half = np.zeros((10, 10), bool)
    half[6:9, 6:9] = True
    mixed = choose_objects(
        [*found, Detection(0.9, (20, 20), half)], AutomaticPrompts(), frame_idx=5
    )
    assert [prompt.box_xyxy_px for prompt in mixed] == [body, None]
    assert mixed[1].mask_hw.shape == (20, 20)


@pytest.mark.parametrize(
    ("options", "stop", "rate", "frames"),
    [
        ({}, 10**6, 24, (7, 19, 31, 55, 103, 199, 391, 775)),
        ({}, 100, Fraction(30000, 1001), (7, 22, 37, 67)),
        ({}, 8, 24, (7,)),
        ({}, 10**6, Fraction(1, 10), (7, 8, 9, 10)),
        ({"look_ahead_s": 2}, 10**6, 24, (7, 19, 31, 55)),
        ({"look_ahead_s": 0}, 10**6, 24, (7,)),
        ({"frame": 50}, 10**6, 24, (50,)),
    ],
)
def test_automatic_prompts_look_at_later_frames_in_turn(options, stop, rate, frames):
    """The first one, then some at twice the distance each, within the bound and what is tracked;
    or the one that was named."""
    asked = AutomaticPrompts(**options)
    assert frames_to_look_at(asked, start=7, stop=stop, rate=Fraction(rate)) == frames


def test_advice_for_nothing_found_can_be_followed():
    """Each option that the error names is one, and takes what the error gives it."""
    said = str(nothing_found(AutomaticPrompts(), (0, 12, 24)))
    assert said.startswith("no objects found on frames 0, 12 and 24: ")
    assert "on frame 5: " in str(nothing_found(AutomaticPrompts(), (5,)))
    (example,) = re.findall(r"--automatic-option (\S+=[\d.]+)", said)
    assert parse_automatic("3", [example]).min_predicted_iou == 0.6
    assert {"min_stability", "min_area"} <= set(re.findall(r"min_\w+", said))


@pytest.mark.parametrize(
    ("text", "options"), [("10", (10, None)), ("3:250", (3, 250)), ("1:0", (1, 0))]
)
def test_automatic_option_is_n_or_n_and_frame(text, options):
    """N, or N:FRAME."""
    asked = parse_automatic(text)
    assert (asked.max_objects, asked.frame) == options


WRONG = ["", "0", "-1", "x", "1:", ":1", "1:-2", "1:2:3", "1001", "9" * 30]


@pytest.mark.parametrize("text", WRONG)
def test_automatic_option_that_is_wrong_is_one_line(text):
    """One line that shows the wanted form."""
    with pytest.raises(InputError, match=r"--automatic .*wanted N or N:FRAME"):
        parse_automatic(text)


def test_automatic_takes_every_further_option():
    """Every other field by its name; what was not named keeps its default."""
    values = {"min_area": 0.25, "min_predicted_iou": 0.5, "min_stability": 0, "points_per_side": 8}
    values.update(look_ahead_s=3.5, detector="transformers:a/b", min_score=0.25)
    values.update(labels="red car", text="red car,dog")
    assert set(values) == set(AUTOMATIC_NAMES)

    asked = parse_automatic("3:7", [f"{name}={value}" for name, value in values.items()])

    assert asked == AutomaticPrompts(max_objects=3, frame=7, **values)
    assert (asked.labels, asked.text) == (("red car",), ("red car", "dog"))
    assert parse_automatic("3").model_dump(exclude_unset=True) == {"max_objects": 3}
    assert parse_automatic(None) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["min_area"], ["NAME=VALUE", "min_stability"]),
        (["area=1"], ["'area=1'", "the names are look_ahead_s, min_area, "]),
        (["frame=3"], ["'frame=3'", "the names are"]),
        (["min_area=2"], ["'min_area=2'", "less than 1"]),
        (["min_area=nan"], ["'min_area=nan'", "finite number"]),
        (["points_per_side=2.5"], ["'points_per_side=2.5'", "integer"]),
        (["min_area="], ["'min_area='", "number"]),
        (["detector=eyes"], ["'detector=eyes'", "known are masks, motion, file:detections"]),
        (["min_area=0.1", "min_area=0.2"], ["'min_area=0.2'", "twice"]),
    ],
)
def test_automatic_further_option_that_is_wrong_is_one_line(options, words):
    """One line that quotes it and says what is wanted."""
    with pytest.raises(InputError) as caught:
        parse_automatic("3", options)
    said = str(caught.value)
    assert said.startswith("--automatic-option ")
    assert "\n" not in said
    assert all(word in said for word in words), said


def test_a_detector_can_be_named_by_an_option_of_its_own():
    """`--detect` with its labels, texts, least score and number says what the long form says;
    `--automatic` beside it gives number and frame."""
    asked = parse_automatic(
        None, detect=["transformers:a/b"], texts=["red  car"], min_score=0.2, max_objects=4
    )
    assert asked == AutomaticPrompts(
        detector="transformers:a/b", text=("red car",), min_score=0.2, max_objects=4
    )
    asked = parse_automatic("3:7", ["min_area=0.1"], detect=["file:a.txt"], labels="person,car")
    assert asked == AutomaticPrompts(
        detector="file:a.txt", labels=("person", "car"), max_objects=3, frame=7, min_area=0.1
    )
    assert parse_automatic(None, detect=["motion"]).model_dump(exclude_unset=True) == {
        "detector": "motion"
    }


def test_detectors_look_throughout_a_video():
    """`--detect-every` and what goes with it; labels and texts go to the detectors that know them,
    and the constants that are named are those of association."""
    asked = parse_automatic(
        None,
        detect=["file:a.txt", "motion"],
        detect_every="20",
        reanchor_every=40,
        association=["hot_start=70", "anchor=track"],
        labels="person",
        max_objects=7,
    )
    assert [(one.detector, one.labels) for one in asked.each] == [
        ("file:a.txt", ("person",)),
        ("motion", ()),
    ]
    rules = asked.association({1: "person", 2: "Bob"})
    assert (rules.detect_every, rules.reanchor_every, rules.hot_start) == (20, 40, 70)
    assert (rules.anchor, rules.max_objects) == ("track", 7)
    # Who has a name of his own may be whatever is detected.
    assert rules.prompted_labels == {1: "person"}


@pytest.mark.parametrize(
    ("every", "hot_start", "looks"), [(1, 15, 8), (7, 15, 2), (8, 17, 2), (30, 61, 2), (121, 1, 2)]
)
def test_a_new_object_waits_for_two_more_looks(every, hot_start, looks):
    """However far looks are apart, a false alarm can be seen to be one; beyond 120 frames nothing
    waits. Nothing looks again after a cut."""
    rules = AutomaticPrompts(detect_every=every).association({})
    assert (rules.hot_start, rules.max_unmatched) == (hot_start, looks)
    if hot_start > 1:
        assert rules.delay // every >= looks
    assert AutomaticPrompts(detect_every="cuts").association({}).delay == 0


@pytest.mark.parametrize(
    ("text", "more", "options", "said"),
    [
        (None, [], {"labels": "a"}, "--labels goes with --automatic N, --detect NAME or --text"),
        (None, ["min_area=0.1"], {}, "--automatic-option goes with"),
        ("3", [], {"max_objects": 4}, "--max-objects and --automatic both say max_objects"),
        ("3", ["detector=motion"], {"detect": ["masks"]}, "--detect and --automatic-option both"),
        (None, [], {"detect": ["eyes"]}, "--detect: unknown detector: got 'eyes', known are masks"),
        (None, [], {"detect": ["motion"], "min_score": 2.0}, "--min-score: input should be less"),
        (None, [], {"detect": ["motion"], "max_objects": 0}, "--max-objects: input should be"),
        (
            None,
            [],
            {"detect": ["file:a"], "labels": "a,,b"},
            "--labels: wanted words of at most 200",
        ),
        (None, [], {"detect": ["file:a"], "texts": ["b"]}, "text: the detector file does not look"),
        ("3", [], {"detect_every": "0"}, "--detect-every: wanted a number of frames from 1"),
        ("3", [], {"detect_every": "often"}, "--detect-every: wanted a number of frames from 1"),
        (None, [], {"detect_every": "3"}, "--detect-every goes with --automatic N, --detect"),
        ("3", [], {"reanchor_every": 8}, "reanchor_every needs detect_every"),
        ("3", [], {"association": ["hot_start=9"]}, "association_options needs detect_every"),
        ("3", [], {"association": ["detect_every=9"]}, "--association-option 'detect_every=9'"),
        ("3:7", [], {"detect_every": "3"}, "detect_every looks throughout the video, and frame"),
        (None, [], {"detect": ["masks", "masks"]}, "the detector masks is named twice"),
        (None, [], {"detect": ["masks", "eyes"]}, "--detect: unknown detector: got 'eyes'"),
        (None, [], {"detect": ["masks", "motion"], "labels": "a"}, "labels: the detector masks"),
        ("3", ["labels=a"], {}, "labels: the detector masks does not say what objects are"),
    ],
)
def test_options_of_a_detector_that_are_wrong_are_one_line(text, more, options, said):
    """The option that is wrong, or goes with another one, begins the line."""
    with pytest.raises(InputError) as caught:
        parse_automatic(text, more, **options)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_objects_of_other_labels_are_other_objects():
    """A box within a better one of another label stays; of the same label it is a part. Labels
    become those of the prompts, on one line."""
    body, part = (2.0, 2.0, 10.0, 10.0), (2.0, 2.0, 5.0, 10.0)
    found = [
        Detection(0.9, (20, 20), box_xyxy_px=body, label="per\nson"),
        Detection(0.8, (20, 20), box_xyxy_px=part, label="tie"),
        Detection(0.7, (20, 20), box_xyxy_px=part, label="per\nson"),
    ]
    prompts = choose_objects(found, AutomaticPrompts(), frame_idx=5)
    assert [(prompt.box_xyxy_px, prompt.label) for prompt in prompts] == [
        (body, "per son"),
        (part, "tie"),
    ]


def test_nothing_found_by_another_detector_says_what_was_wanted():
    """The detector, labels, the bounds, and options that lower them."""
    asked = AutomaticPrompts(detector="file:a.txt", labels=["car", "dog"], min_score=0.4)
    said = str(nothing_found(asked, (0,)))
    assert said.startswith(
        "no objects found on frame 0 by file:a.txt: wanted one, labelled car or "
    )
    assert "score of 0.4" in said
    assert "--min-score" in said
