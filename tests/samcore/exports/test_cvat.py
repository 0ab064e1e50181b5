"""CVAT's XML, read as CVAT's importer does."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from samcore.exports import write_export

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools' own decode


def to_mask(element, height, width):
    """CVAT reads its runs as COCO's of the transposed box (cvat/apps/dataset_manager/formats/
    transformations.py, MaskConverter.cvat_rle_to_dm_rle)."""
    left, top, w, h = (int(element.get(name)) for name in ("left", "top", "width", "height"))
    runs = [int(run) for run in element.get("rle").split(",")]
    assert sum(runs) == w * h
    packed = coco_mask.frPyObjects([{"counts": runs, "size": [w, h]}], w, h)[0]
    mask = np.zeros((height, width), bool)
    mask[top : top + h, left : left + w] = coco_mask.decode(packed).T
    return mask


def load(path):
    """What CVAT's importer adds to a task, in order (cvat/apps/dataset_manager/formats/cvat.py,
    load_anno): of a track of masks the first one alone, as a shape on its frame, with its own
    attributes and the track's label. A track without a mask stops it, as it does this."""
    shapes = []
    for track in ET.parse(path).getroot().iter("track"):
        first = next(mask for mask in track.iter("mask") if mask.get("keyframe") == "1")
        attributes = {item.get("name"): item.text for item in first.iter("attribute")}
        shapes.append((int(first.get("frame")), track.get("label"), attributes, first))
    return shapes


def check(case, folder):
    """Every mask is there once, to the pixel, and nothing else is."""
    video, masklets = case.masklets.video, case.masklets
    shapes = load(case.write("cvat-xml", folder) / "annotations.xml")
    places = [(frame, int(attributes["object_id"])) for frame, _, attributes, _ in shapes]
    assert places == [(frame, i) for frame in sorted(case.masks) for i in case.masks[frame]]
    for (frame, object_id), (_, label, _, element) in zip(places, shapes, strict=True):
        assert label == masklets.label(object_id)
        assert int(element.get("z_order")) == masklets.object_ids.index(object_id)
        mask = to_mask(element, video.height, video.width)
        np.testing.assert_array_equal(mask, case.masks[frame][object_id])


def test_cvat_masks_are_read_back(case, tmp_path):
    """Each mask is a shape on its frame, to the pixel; an absent object has none there, and one
    that was never seen has none at all."""
    check(case, tmp_path)
    assert not any(40 in masks for masks in case.masks.values())
    assert not any(1 in case.masks[frame] for frame in (5, 6))


def test_a_result_without_masks_can_be_imported(make_case, tmp_path):
    """Objects that are nowhere leave no track, on which the importer would stop."""

    def draw(frame):
        return {1: np.zeros((33, 47), bool)} if frame % 2 else {}

    check(make_case(tmp_path, draw=draw, ids=(1,), labels={}), tmp_path)


def test_cvat_head_names_the_task(case, tmp_path):
    """The video's frames and the labels in use, each with the attribute that its masks have."""
    root = ET.parse(case.write("cvat-xml", tmp_path) / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert root.findtext("meta/task/mode") == "interpolation"
    assert root.findtext("meta/task/size") == str(case.masklets.video.num_frames)
    labels = list(root.iter("label"))
    assert [label.findtext("name") for label in labels] == list(case.masklets.classes)
    for label in labels:
        assert label.findtext("type") == "mask"
        assert label.findtext("attributes/attribute/name") == "object_id"


def test_cvat_tracks_are_one_frame_long(whole, tmp_path):
    """A mask ends on the next frame, as CVAT writes its own; there is none after the last one."""
    whole = replace(whole, video=whole.video.model_copy(update={"num_frames": 14}), stop=14)
    write_export(whole, "cvat-xml", tmp_path / "out")
    tracks = list(ET.parse(tmp_path / "out" / "annotations.xml").getroot().iter("track"))
    assert [track.get("id") for track in tracks] == [str(place) for place in range(len(tracks))]
    for track in tracks:
        shown, *ends = track.iter("mask")
        frame = int(shown.get("frame"))
        assert shown.get("outside") == "0"
        wanted = [(str(frame + 1), "1", shown.get("rle"))] if frame < 13 else []
        assert [(e.get("frame"), e.get("outside"), e.get("rle")) for e in ends] == wanted
    assert int(tracks[-1].find("mask").get("frame")) == 13
