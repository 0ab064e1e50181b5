"""A folder of pictures from its names to the exports, the measures and the settings."""

import json
import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.cli import run
from flows.commands.evaluate import evaluate
from samcore.result import Result
from samcore.run.folder import RunFolder
from samcore.scenes import box_of
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.publish_part import publish_part
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.track_chunk import track_chunk

FRAMES = range(0, 50, 5)


@pytest.fixture(scope="module")
def pictures(scene, tmp_path_factory):
    """Every fifth frame of the scene, named so, each with its mask beside it."""
    folder = tmp_path_factory.mktemp("pictures") / "every5"
    folder.mkdir()
    for number in FRAMES:
        picture = _image(scene, number)
        assert cv2.imwrite(str(folder / f"{number:05d}.jpg"), picture[:, :, ::-1])
        Image.fromarray(_indices(scene, number)).save(folder / f"{number:05d}.png")
    return folder


def _image(scene, number):
    return scene.frame(number).image_rgb_hwc_u8


def _indices(scene, number):
    index_hw = np.zeros((scene.height, scene.width), np.uint8)
    for place, mask_hw in enumerate(scene.masks_nhw(number), 1):
        index_hw[mask_hw] = place
    return index_hw


def _request(pictures, out, scene, **more) -> SegmentRequest:
    box = box_of(scene.masks_nhw(0)[0])
    return validate_request(
        source=str(pictures),
        prompts={"objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]},
        destination=str(out),
        model="nano",
        **{"settings": {"device": "cpu"}, **more},
    )


@pytest.fixture(scope="module")
def published(pictures, scene, tmp_path_factory):
    """What was tracked in them."""
    out = tmp_path_factory.mktemp("published") / "out"
    request = _request(pictures, out, scene)
    ref = plan_run.fn(request)
    encode_prompts.fn(ref)
    track_chunk.fn(ref, 0)
    publish_part.fn(ref, 0)
    publish.fn(ref, request)
    return out


def test_names_go_from_the_folder_to_the_scores(published, pictures, scene, tmp_path, capsys):
    """The masks that are exported are beside pictures of their names, and are the truth of
    themselves; the scene's own masks are paired by name, and others are refused."""
    assert run(["export", str(published), "--format", "davis-png", "-o", str(tmp_path)]) == 0
    assert run(["export", str(published), "--format", "coco-image", "-o", str(tmp_path)]) == 0
    masks = tmp_path / "davis-png" / "Annotations" / "Full-Resolution" / "every5"
    assert {path.name for path in masks.iterdir()} == {path.name for path in pictures.glob("*.png")}
    images = json.loads((tmp_path / "coco-image" / "annotations.json").read_text())["images"]
    assert all((pictures.parent / image["file_name"]).exists() for image in images)
    assert evaluate(str(published), masks).j_and_f == 1
    assert [frame.name for frame in Result(published)] == [f"{n:05d}.jpg" for n in FRAMES]

    truth = tmp_path / "truth"
    truth.mkdir()
    for number in FRAMES:
        index_hw = (_indices(scene, number) == 1).astype(np.uint8)
        Image.fromarray(index_hw).save(truth / f"{number:05d}.png")
    by_name = evaluate(str(published), truth)
    assert by_name.sequences[0].frames == len(FRAMES)
    assert by_name.sequences[0].frames_outside == 0
    (truth / "00045.png").rename(truth / "00046.png")
    capsys.readouterr()
    assert run(["eval", str(published), str(truth)]) == 2
    assert "1 of 10 annotated frames, the first of them '00046'" in capsys.readouterr().err


def test_a_run_says_what_it_left_out(pictures, scene, tmp_path, caplog):
    """The masks beside the pictures are no frames, and the run says so."""
    with caplog.at_level(logging.WARNING):
        run = plan_run.fn(_request(pictures, tmp_path / "out", scene))
    assert RunFolder.from_ref(run).video().num_frames == len(FRAMES)
    assert "its 10 JPEG files are the frames; left out: 10 PNG files" in caplog.text


def test_stretching_makes_another_run(scene, tmp_path, caplog):
    """The setting is in the run's key, since it changes masks; without it the key is what it was,
    and the run says that the pictures are nearly black."""
    folder = tmp_path / "deep"
    folder.mkdir()
    picture = _image(scene, 0).astype(np.uint16) << 4
    assert cv2.imwrite(str(folder / "0.png"), picture[:, :, ::-1])

    runs = [
        resolve_request(
            _request(folder, tmp_path / "out", scene, settings={"device": "cpu", "stretch": on}),
            cache_dir=tmp_path,
        )
        for on in (False, True)
    ]

    assert runs[0].record.result_key != runs[1].record.result_key
    assert runs[0].record.prompts_digest == runs[1].record.prompts_digest
    dark, bright = (run.video.frame(0).image_rgb_hwc_u8 for run in runs)
    assert dark.max() < 16
    np.testing.assert_array_equal(bright, _image(scene, 0))
    with caplog.at_level(logging.WARNING):
        plan_run.fn(_request(folder, tmp_path / "out", scene))
    assert "only 12 of 16 bits are in use" in caplog.text
