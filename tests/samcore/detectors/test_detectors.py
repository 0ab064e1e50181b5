"""What every detector promises; a new entry of `DETECTORS` is held to it without a line here."""

import numpy as np
import pytest

from samcore.detectors.detector import DETECTORS, Detection, make_detector
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.automatic import AutomaticPrompts
from samcore.scenes import Scene

SIZE_HW = (96, 128)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    spec = resolve_model("nano", cache_dir=tmp_path_factory.mktemp("none"))
    return load_model(spec, choose_compute("cpu", "float32"))


@pytest.fixture(scope="module")
def images():
    scene = Scene(3, num_frames=4, height=SIZE_HW[0], width=SIZE_HW[1], num_objects=2)
    return [frame.image_rgb_hwc_u8 for frame in scene][::3]


def look(name, model, images, **given):
    options = AutomaticPrompts(detector=name, points_per_side=6)
    return make_detector(options, model, batch=given.pop("batch", 4)).detect(images, **given)


def same(one, other):
    return [(item.score, item.box_xyxy_px, item.label) for item in one] == [
        (item.score, item.box_xyxy_px, item.label) for item in other
    ] and all(np.array_equal(a.mask_hw, b.mask_hw) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", [entry.name for entry in DETECTORS.built_in])
def test_detections_are_of_their_pictures(name, model, images):
    """A list for each picture; each detection has a score, the picture's size, and a mask or a box
    that lies in the picture. There is something on a picture of objects."""
    found = look(name, model, images)
    assert len(found) == len(images)
    assert all(found)
    for item in (item for of_one in found for item in of_one):
        assert 0 <= item.score <= 1.01
        assert item.picture_hw == SIZE_HW
        assert item.region(SIZE_HW).any()
        if item.box_xyxy_px is not None:
            left, top, right, bottom = item.box_xyxy_px
            assert 0 <= left < right <= SIZE_HW[1]
            assert 0 <= top < bottom <= SIZE_HW[0]


@pytest.mark.parametrize("name", [entry.name for entry in DETECTORS.built_in])
def test_detections_depend_on_the_picture_alone(name, model, images):
    """Alone, after others or again: a picture gives the same detections, to the last bit."""
    together = look(name, model, images)
    alone = [look(name, model, [image])[0] for image in reversed(images)][::-1]
    assert all(same(one, other) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("name", [entry.name for entry in DETECTORS.built_in])
def test_as_many_objects_are_detected_in_any_batch(name, model, images):
    """Where memory is short less is done at once, and as many objects are found."""
    entry = DETECTORS.get(name)
    (many,), (one,) = (look(name, model, images[:1], batch=n) for n in (entry.batch, 1))
    assert len(many) == len(one)
    assert many


@pytest.mark.parametrize("name", [entry.name for entry in DETECTORS.built_in])
def test_detectors_say_how_far_they_are(name, model, images):
    """Progress rises, and ends with all of the work."""
    heard = []
    look(name, model, images[:1], on_progress=lambda done, total: heard.append((done, total)))
    assert heard == sorted(heard)
    assert heard[-1][0] == heard[-1][1] > 0


def test_a_detection_is_a_mask_or_a_box():
    """One that is neither, or both, is refused."""
    with pytest.raises(ValueError, match="a mask or a box"):
        Detection(0.5, SIZE_HW)
    with pytest.raises(ValueError, match="not both"):
        Detection(0.5, SIZE_HW, np.ones(SIZE_HW, bool), (0.0, 0.0, 1.0, 1.0))
