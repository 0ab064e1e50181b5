"""A published result, read by a program."""

import json
import os
import sys

import numpy as np
import pytest

from samcore import Result
from samcore.errors import InputError, StorageError


def test_result_gives_the_frames_masks_back(case, published):
    """Every frame that was tracked, with the masks of all objects that have begun, to the pixel."""
    result = Result(published)

    assert {item.id: item.label for item in result.objects}[1] == "car"
    assert len(result) == len(case.masks)
    frames = list(result)
    assert [frame.frame_idx for frame in frames] == list(case.masks)
    for frame in frames:
        masks = case.masks[frame.frame_idx]
        assert frame.masks_nhw.shape[1:] == (result.video.height, result.video.width)
        assert frame.time_s == pytest.approx(frame.frame_idx / 30)
        assert {i for i, here in zip(frame.obj_ids, frame.present_n, strict=True) if here} == set(
            masks
        )
        for place, object_id in enumerate(frame.obj_ids):
            wanted = masks.get(object_id, np.zeros_like(frame.masks_nhw[place]))
            np.testing.assert_array_equal(frame.masks_nhw[place], wanted)
            score = case.scores[frame.frame_idx, object_id]
            assert frame.scores_n[place] == pytest.approx(1 / (1 + np.exp(-score)), rel=1e-5)
            assert result.classes[frame.class_ids_n[place]] == frame.labels[place]


def test_one_frame_is_read_by_its_number(case, published):
    """Any frame that was tracked, and no other."""
    result = Result(str(published))
    frame = result.frame(9)
    np.testing.assert_array_equal(frame.masks_nhw[frame.obj_ids.index(12)], case.masks[9][12])
    with pytest.raises(InputError, match="no frame 14: frames 2 to 13 were tracked"):
        result.frame(14)


def test_supervision_takes_a_frame(case, published):
    """supervision's Detections hold the objects that are present: masks, boxes, ids, classes."""
    supervision = pytest.importorskip("supervision")
    result = Result(published)
    for frame in result:
        found = frame.to_supervision()
        masks = case.masks[frame.frame_idx]
        assert isinstance(found, supervision.Detections)
        assert found.tracker_id.tolist() == sorted(masks)
        assert found["class_name"].tolist() == [result.masklets.label(i) for i in sorted(masks)]
        assert found.area.tolist() == [masks[i].sum() for i in sorted(masks)]
        # theirs are the last pixels, ours one past
        np.testing.assert_array_equal(
            supervision.mask_to_xyxy(found.mask)[:, :2], found.xyxy[:, :2]
        )
        np.testing.assert_array_equal(
            supervision.mask_to_xyxy(found.mask)[:, 2:] + 1, found.xyxy[:, 2:]
        )


def test_without_supervision_the_way_to_it_is_said(published, monkeypatch):
    """Where it is not installed, one line says how to."""
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match=r"pip install 'longtake\[supervision\]'"):
        Result(published).frame(9).to_supervision()


def test_a_folder_without_a_manifest_is_no_result(published):
    """Masks alone may be half of something."""
    os.unlink(published / "manifest.json")
    with pytest.raises(InputError, match=r"no finished result: it has no manifest\.json; give"):
        Result(published)


def test_result_of_no_folder_is_one_line(tmp_path):
    """One line with its name."""
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        Result(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("masks.parquet", lambda data: data[:-20] + b"x" * 20),
        ("masks.parquet", lambda data: None),
        ("manifest.json", lambda data: data[:100]),
        ("manifest.json", lambda data: json.dumps({**json.loads(data), "format": 9}).encode()),
    ],
    ids=["masks changed", "masks gone", "manifest cut off", "manifest of the future"],
)
def test_result_names_a_damaged_file(published, name, damage):
    """The line says which file it is."""
    path = published / name
    data = damage(path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(StorageError, match=name):
        Result(published)
