"""COCO's formats, read by pycocotools and TrackEval."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools' own decode


def load(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def to_mask(segmentation):
    if isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, *segmentation["size"])
    return coco_mask.decode(segmentation).astype(bool)


def test_coco_images_are_read_back(case, tmp_path):
    """pycocotools gives each frame's masks to the pixel, with their boxes, areas and classes."""
    coco = load(case.write("coco-image", tmp_path) / "annotations.json")

    assert coco.getImgIds() == list(case.masks)
    names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    for frame, masks in case.masks.items():
        found = coco.loadAnns(coco.getAnnIds(imgIds=frame))
        assert [a["track_id"] for a in found] == sorted(masks)
        for annotation in found:
            mask = masks[annotation["track_id"]]
            np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask)
            rows, columns = np.nonzero(mask)
            x, y, w, h = annotation["bbox"]
            assert (x, y, x + w - 1, y + h - 1) == (
                columns.min(), rows.min(), columns.max(), rows.max()
            )  # fmt: skip
            assert annotation["area"] == mask.sum()
            assert names[annotation["category_id"]] == case.masklets.label(annotation["track_id"])


def test_coco_scores_are_probabilities(case, tmp_path):
    """Each annotation's score is its object score as a probability: a half at 0, sure far from it,
    and in the same order."""
    coco = load(case.write("coco-image", tmp_path) / "annotations.json")
    found = {(a["image_id"], a["track_id"]): a["score"] for a in coco.loadAnns(coco.getAnnIds())}

    assert found.keys() == {(f, i) for f, masks in case.masks.items() for i in masks}
    # Of -8 to 8; each worked out by hand.
    known = {-8: 0.000335, -3: 0.047426, -1: 0.268941, 0: 0.5, 1: 0.731059, 3: 0.952574}
    logits = {at: case.scores[at] for at in found}
    assert known.keys() <= set(logits.values())
    for at, score in found.items():
        assert 0 < score < 1
        if logits[at] in known:
            assert score == pytest.approx(known[logits[at]], abs=1e-5)
    ordered = [found[at] for at in sorted(found, key=logits.__getitem__)]
    assert ordered == sorted(ordered)
    assert len(set(ordered)) == len(set(logits.values()))


def test_coco_videos_are_read_back(case, tmp_path):
    """pycocotools loads it; each object has a list as long as what was tracked, null where it is
    absent, and the masks to the pixel."""
    coco = load(case.write("coco-video", tmp_path) / "annotations.json")

    (video,) = coco.dataset["videos"]
    assert (video["length"], len(video["file_names"])) == (len(case.masks), len(case.masks))
    assert video["file_names"][0].endswith("/00002.jpg")
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [a["track_id"] for a in annotations] == list(case.masklets.object_ids)
    for annotation in annotations:
        object_id = annotation["track_id"]
        lists = [annotation[name] for name in ("segmentations", "areas", "bboxes")]
        assert {len(values) for values in lists} == {video["length"]}
        for (_, masks), segmentation, area, box in zip(case.masks.items(), *lists, strict=True):
            if object_id not in masks:
                assert segmentation is area is box is None
            else:
                np.testing.assert_array_equal(to_mask(segmentation), masks[object_id])
                assert area == masks[object_id].sum()
                assert box[2] > 0


def test_trackeval_judges_a_video_to_be_itself(case, tmp_path):
    """TrackEval's YouTube-VIS reader takes the file as ground truth, and its annotations as a
    tracker's; they agree wholly."""
    trackeval = pytest.importorskip("trackeval")
    file = case.write("coco-video", tmp_path) / "annotations.json"
    truth = tmp_path / "gt" / "youtube_vis_train_sub_split"
    found = tmp_path / "trackers" / "youtube_vis_train_sub_split" / "longtake" / "data"
    for folder in (truth, found):
        folder.mkdir(parents=True)
    (truth / "truth.json").write_bytes(file.read_bytes())
    annotations = json.loads(file.read_text())["annotations"]
    for annotation in annotations:
        # A tracker's file has COCO's compressed runs.
        annotation["segmentations"] = [
            None if s is None else {"size": s["size"], "counts": _compressed(s)}
            for s in annotation["segmentations"]
        ]
    (found / "found.json").write_text(json.dumps(annotations))

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.YouTubeVIS(
            {
                "GT_FOLDER": f"{tmp_path}/gt/",
                "TRACKERS_FOLDER": f"{tmp_path}/trackers/",
                "PRINT_CONFIG": False,
            }
        )
        raw = dataset.get_raw_seq_data("longtake", case.masklets.sequence)
        scores = [
            trackeval.metrics.HOTA({"PRINT_CONFIG": False}).eval_sequence(
                dataset.get_preprocessed_seq_data(raw, name)
            )["HOTA"]
            for name in ("car", "object")
        ]
    np.testing.assert_allclose(scores, 1)


def _compressed(segmentation):
    return coco_mask.frPyObjects(segmentation, *segmentation["size"])["counts"].decode()


@pytest.mark.parametrize("name", ["coco-image", "coco-video"])
def test_a_result_without_any_mask_is_written(many, tmp_path, name):
    """No objects, no annotations, and still a file that loads."""
    coco = load(many(()).write(name, tmp_path / "out") / "annotations.json")
    assert coco.getAnnIds() == []
