"""CVAT's XML, read as CVAT's importer does."""

import xml.etree.ElementTree as ET

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


def play(track, num_frames, height, width):
    """What CVAT shows: a keyframe's mask until the next one, nothing after `outside`."""
    shown = [None] * num_frames
    keyframes = {int(element.get("frame")): element for element in track.iter("mask")}
    mask = None
    for frame in range(num_frames):
        if frame in keyframes:
            element = keyframes[frame]
            assert element.get("keyframe") == "1"
            outside = element.get("outside") == "1"
            mask = None if outside else to_mask(element, height, width)
        shown[frame] = mask
    return shown


def test_masks_come_back(case, tmp_path):
    """Each track shows its object's masks to the pixel, and nothing where it is absent or was not
    tracked."""
    root = ET.parse(case.write("cvat-xml", tmp_path) / "annotations.xml").getroot()

    video = case.masklets.video
    assert root.findtext("version") == "1.1"
    assert root.findtext("meta/task/mode") == "interpolation"
    assert root.findtext("meta/task/size") == str(video.num_frames)
    labels = [label.findtext("name") for label in root.iter("label")]
    assert labels == list(case.masklets.classes)
    tracks = list(root.iter("track"))
    assert len(tracks) == len(case.masklets.object_ids)
    for object_id, track in zip(case.masklets.object_ids, tracks, strict=True):
        assert track.get("label") == case.masklets.label(object_id)
        shown = play(track, video.num_frames, video.height, video.width)
        for frame, mask in enumerate(shown):
            wanted = case.masks.get(frame, {}).get(object_id)
            if wanted is None:
                assert mask is None
            else:
                np.testing.assert_array_equal(mask, wanted)


def test_a_still_mask_has_one_keyframe(case, tmp_path):
    """Object 12 stands still but on frame 9: three keyframes, and the end of what was tracked."""
    root = ET.parse(case.write("cvat-xml", tmp_path) / "annotations.xml").getroot()
    track = list(root.iter("track"))[case.masklets.object_ids.index(12)]
    found = [(int(mask.get("frame")), mask.get("outside")) for mask in track.iter("mask")]
    assert found == [(2, "0"), (9, "0"), (10, "0"), (14, "1")]


def test_a_track_to_the_videos_end_stays_open(whole, tmp_path):
    """There is no frame after the last one to end a track on."""
    write_export(whole, "cvat-xml", tmp_path / "out")
    root = ET.parse(tmp_path / "out" / "annotations.xml").getroot()
    frames = [int(mask.get("frame")) for mask in root.iter("mask")]
    assert max(frames) < whole.video.num_frames
