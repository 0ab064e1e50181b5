"""What every detector promises; a new entry of `DETECTORS` is held to it without a line here."""

import numpy as np
import pytest

from samcore.detectors.detector import (
    DETECTORS,
    Detection,
    DetectorEntry,
    check_detector,
    fetch_detector,
    find_detector,
    look_up_detector,
    make_detector,
)
from samcore.detectors.wanted import keep_wanted
from samcore.errors import InputError
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.automatic import AutomaticPrompts
from samcore.scenes import Scene
from tests.samcore.detectors.examples import EXAMPLES, MODELS

SIZE_HW = (96, 128)
NUM_FRAMES = 64
NAMES = [entry.name for entry in DETECTORS.built_in]


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """The model that tracks beside each detector."""
    made = {}

    def get(name):
        make = MODELS.get(name)
        key = name if make else "nano"
        if key not in made:
            model = make(tmp_path_factory.mktemp("model")) if make else key
            made[key] = resolve_model(model, cache_dir=tmp_path_factory.mktemp("none"))
        return made[key]

    return get


@pytest.fixture
def model(name, specs):
    return load_model(specs(name), choose_compute("cpu", "float32"))


@pytest.fixture(scope="module")
def images():
    scene = Scene(3, num_frames=66, height=SIZE_HW[0], width=SIZE_HW[1], num_objects=2)
    return [frame.image_rgb_hwc_u8 for frame, _ in zip(scene, range(NUM_FRAMES), strict=False)]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What each detector is asked for, with its files made."""
    made = {}

    def ask(name):
        if name not in made:
            example = EXAMPLES.get(name, lambda folder: {})(tmp_path_factory.mktemp(name))
            made[name] = AutomaticPrompts(**{"detector": name, **example})
        return made[name]

    return ask


def frames_for(name):
    """Two frames on which the detector finds something."""
    first = NUM_FRAMES - 2 if DETECTORS.get(name).lookback else 0
    return range(first, first + 2)


def look(options, model, images, frames=None, *, batch=4, **given):
    """The detections of these frames, from the first one on that must be seen."""
    entry, _ = find_detector(options.detector)
    frames = frames_for(entry.name) if frames is None else frames
    first = entry.first_needed(frames.start)
    detector = make_detector(options, model, batch=batch)
    found = detector.detect(images[first : frames.stop], first_frame=first, **given)
    return found[frames.start - first :]


def same(one, other):
    return [(item.score, item.box_xyxy_px, item.label) for item in one] == [
        (item.score, item.box_xyxy_px, item.label) for item in other
    ] and all(np.array_equal(a.mask_hw, b.mask_hw) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_detections_are_of_their_pictures(name, model, images, asked):
    """A list for each picture; each detection has a score, the picture's size, and a mask or a box
    that lies in the picture. There is something on a picture of objects."""
    found = look(asked(name), model, images)
    assert len(found) == 2
    assert all(found)
    for item in (item for of_one in found for item in of_one):
        assert 0 <= item.score <= 1.01
        assert item.picture_hw == SIZE_HW
        if item.box_xyxy_px is None:
            assert item.region(SIZE_HW).any()
        else:
            left, top, right, bottom = item.box_xyxy_px
            assert 0 <= left < right <= SIZE_HW[1]
            assert 0 <= top < bottom <= SIZE_HW[0]


@pytest.mark.parametrize("name", NAMES)
def test_detections_depend_on_the_picture_alone(name, model, images, asked):
    """Alone, after others or again: a picture gives the same detections, to the last bit; where
    frames before it must be seen, with those."""
    frames, together = frames_for(name), look(asked(name), model, images)
    alone = [look(asked(name), model, images, range(n, n + 1))[0] for n in reversed(frames)][::-1]
    assert all(same(one, other) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_frames_in_turn_are_as_frames_together(name, model, images, asked):
    """A detector that is given consecutive frames one by one finds the same."""
    options, frames = asked(name), frames_for(name)
    first = DETECTORS.get(name).first_needed(frames.start)
    detector = make_detector(options, model, batch=4)
    in_turn = [detector.detect([images[n]], first_frame=n)[0] for n in range(first, frames.stop)]
    together = look(options, model, images)
    assert all(
        same(one, other)
        for one, other in zip(in_turn[frames.start - first :], together, strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_as_many_objects_are_detected_in_any_batch(name, model, images, asked):
    """Where memory is short less is done at once, and as many objects are found."""
    batches, frames = (DETECTORS.get(name).batch, 1), frames_for(name)[:1]
    (many,), (one,) = (look(asked(name), model, images, frames, batch=n) for n in batches)
    assert len(many) == len(one)
    assert many


@pytest.mark.parametrize("name", NAMES)
def test_detectors_say_how_far_they_are(name, model, images, asked):
    """Progress rises, and ends with all of the work."""
    heard = []
    look(
        asked(name),
        model,
        images,
        frames_for(name)[:1],
        on_progress=lambda done, total: heard.append((done, total)),
    )
    assert heard == sorted(heard)
    assert heard[-1][0] == heard[-1][1] > 0


@pytest.mark.parametrize("name", NAMES)
def test_fingerprints_are_of_what_is_asked(name, asked, specs, tmp_path):
    """What is there is found to be there; its fingerprint begins with the detector's name and
    version, is the same again, and fits on one line."""
    options, model = asked(name), specs(name)
    look_up_detector(options, model)
    said = fetch_detector(options, model=model, cache_dir=tmp_path)
    entry = DETECTORS.get(name)
    assert said.startswith(f"{entry.name} {entry.version}")
    assert said == fetch_detector(options, model=model, cache_dir=tmp_path / "other")
    assert len(said) < 120
    assert "\n" not in said


@pytest.mark.parametrize("name", NAMES)
def test_files_are_asked_for_behind_a_colon(name):
    """What takes nothing refuses it, what takes something wants it; the form is in the line."""
    entry = DETECTORS.get(name)
    with pytest.raises(InputError) as caught:
        find_detector(name if entry.takes else f"{name}:more")
    assert (entry.form if entry.takes else "takes nothing") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_texts_go_to_who_knows_them(name, asked):
    """A detector that has no labels, or takes no text, says so at once, and names those that do."""
    entry, options = DETECTORS.get(name), asked(name)
    for field, can in (("labels", entry.has_labels), ("text", entry.takes_text)):
        if not can:
            with pytest.raises(InputError, match=f"^{field}: the detector {name} .* tra"):
                check_detector(options.model_copy(update={field: ("person",)}))


def test_the_first_needed_frame_is_that_of_a_block():
    """The block's first frame, less what must be seen before it; never before the video."""
    entry = DetectorEntry(name="x", about="x", home="x", lookback=60, block=300)
    frames = (0, 59, 299, 300, 599, 700)
    assert [entry.first_needed(frame) for frame in frames] == [0, 0, 0, 240, 240, 540]
    plain = DetectorEntry(name="x", about="x", home="x")
    assert [plain.first_needed(frame) for frame in (0, 7)] == [0, 7]


def test_what_counts_has_a_wanted_label_and_is_sure_enough():
    """Labels and the bound of the score leave the rest out; scores are rounded to four digits
    first. Without a bound it is the detector's own, and 0.3 where a text says what to find."""
    box = (0.0, 0.0, 5.0, 5.0)
    found = [
        Detection(score, SIZE_HW, box_xyxy_px=box, label=label)
        for score, label in ((0.9, "car"), (0.49996, "dog"), (0.49994, "car"), (0.3, None))
    ]

    def kept(**options):
        named = {"detector": "transformers:a/b", **options}
        return [found.index(item) for item in keep_wanted(found, AutomaticPrompts(**named))]

    assert kept() == [0, 1]
    assert kept(min_score=0) == [0, 1, 2, 3]
    assert kept(min_score=0, labels=["car"]) == [0, 2]
    assert kept(min_score=0, labels=["car", "dog"]) == [0, 1, 2]
    assert kept(text=["red car"]) == [0, 1, 2, 3]
    assert kept(detector="file:a.txt") == [0, 1, 2, 3]


def test_a_detection_is_a_mask_or_a_box():
    """One that is neither, or both, is refused."""
    with pytest.raises(ValueError, match="a mask or a box"):
        Detection(0.5, SIZE_HW)
    with pytest.raises(ValueError, match="not both"):
        Detection(0.5, SIZE_HW, np.ones(SIZE_HW, bool), (0.0, 0.0, 1.0, 1.0))
