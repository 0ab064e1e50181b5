"""Label Studio's tasks, read by its own converter."""

import importlib.util
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from samcore.exports.label_studio import brush_rle
from samcore.masks.rle import encode_masks
from samcore.masks.row import MaskRow


@pytest.fixture(scope="module")
def brush():
    """The converter's module for brushes, alone: the package takes seconds to import."""
    package = importlib.util.find_spec("label_studio_converter")
    if package is None:
        pytest.skip("label-studio-converter is not installed")
    path = Path(package.origin).with_name("brush.py")
    spec = importlib.util.spec_from_file_location("label_studio_brush", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row_of(mask):
    (rle,) = encode_masks(mask[None])
    x, y, w, h = rle.box_xywh
    return MaskRow(
        0, 0, 1, 1.0, 1.0, False, x, y, w, h, rle.area, rle.height, rle.width, rle.counts
    )


def shapes():
    """Masks with runs of all lengths; at edges, across rows, of every pixel."""
    rng = np.random.default_rng(0)
    yield from (rng.random((h, w)) < p for h, w, p in [(9, 7, 0.5), (40, 60, 0.02), (1, 5, 0.9)])
    block = np.zeros((300, 400), bool)
    block[3:290, 5:380] = True
    yield block
    yield np.ones((130, 140), bool)
    yield np.ones((1, 1), bool)
    wide = np.zeros((50, 64), bool)
    wide[10:30] = True
    yield wide


@pytest.mark.parametrize("mask", list(shapes()), ids=lambda mask: "x".join(map(str, mask.shape)))
def test_runs_are_the_converters_own(brush, mask):
    """The bytes are those that the converter makes of the whole picture, and it reads the mask."""
    packed = brush_rle(row_of(mask)).tolist()

    assert packed == brush.mask2rle((mask * 255).astype(np.uint8))
    decoded = brush.decode_rle(packed).reshape(*mask.shape, 4)[:, :, 3]
    np.testing.assert_array_equal(decoded, mask * 255)


def test_label_studio_brushes_are_read_back(case, brush, tmp_path):
    """The converter finds each frame's masks to the pixel, under their labels."""
    folder = case.write("label-studio", tmp_path)
    tasks = json.loads((folder / "brush.json").read_text())

    assert len(tasks) == len(case.masks)
    for task, (frame, masks) in zip(tasks, case.masks.items(), strict=True):
        assert task["data"]["image"].endswith(f"/{frame:05d}.jpg")
        results = task["predictions"][0]["result"]
        assert [result["id"] for result in results] == [f"object-{i}" for i in sorted(masks)]
        for result, object_id in zip(results, sorted(masks), strict=True):
            value = result["value"]
            assert value["brushlabels"] == [case.masklets.label(object_id)]
            size_hw = result["original_height"], result["original_width"]
            decoded = brush.decode_rle(value["rle"]).reshape(*size_hw, 4)[:, :, 3]
            np.testing.assert_array_equal(decoded == 255, masks[object_id])


def test_label_studio_boxes_are_read_back(case, tmp_path):
    """On the timeline each object has its box where it is present, and none in between."""
    folder = case.write("label-studio", tmp_path)
    (task,) = json.loads((folder / "video.json").read_text())
    results = task["predictions"][0]["result"]

    seen = sorted({i for masks in case.masks.values() for i in masks})
    assert [result["id"] for result in results] == [f"object-{i}" for i in seen]
    for result, object_id in zip(results, seen, strict=True):
        value = result["value"]
        assert value["framesCount"] == case.masklets.video.num_frames
        here = [frame for frame, masks in case.masks.items() if object_id in masks]
        assert [keyframe["frame"] - 1 for keyframe in value["sequence"]] == here
        for frame, keyframe in zip(here, value["sequence"], strict=True):
            rows, columns = np.nonzero(case.masks[frame][object_id])
            x = keyframe["x"] / 100 * case.masklets.video.width
            bottom = (keyframe["y"] + keyframe["height"]) / 100 * case.masklets.video.height
            assert (x, bottom) == pytest.approx((columns.min(), rows.max() + 1))
            assert keyframe["time"] == pytest.approx(frame / 30, abs=1e-6)
            # What is enabled goes on to the next keyframe.
            assert keyframe["enabled"] == (frame + 1 in here)


def test_labels_fit_the_tasks(case, tmp_path):
    """The labelling set-ups name the classes and what the tasks refer to."""
    folder = case.write("label-studio", tmp_path)
    for name, tag in (("video", "VideoRectangle"), ("brush", "BrushLabels")):
        root = ET.parse(folder / f"{name}.xml").getroot()
        tasks = json.loads((folder / f"{name}.json").read_text())
        result = next(r for task in tasks for r in task["predictions"][0]["result"])
        assert next(root.iter(tag)).get("name") == result["from_name"]
        assert [label.get("value") for label in root.iter("Label")] == list(case.masklets.classes)
