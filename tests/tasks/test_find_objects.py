"""Automatic prompts in a run."""

import itertools
import json
import os
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samcore.detectors.detector import Detection
from samcore.detectors.motion import MotionBlobs
from samcore.errors import InputError, OutOfMemory
from samcore.masks.table import MaskReader
from samcore.progress import Progress, listening
from samcore.prompts.automatic import AutomaticPrompts, choose_objects
from samcore.run import attempts
from samcore.run.folder import RunFolder
from samcore.scenes import Scene, box_of
from samcore.video import VideoWriter
from tasks.plan_run import plan_run
from tasks.request.early_checks import check_request
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef
from tasks.settings import load_settings
from tasks.tracking import found_objects
from tests.samcore.detectors.examples import moving_square, square_at

Ask = Callable[..., SegmentRequest]
FEW = {"points_per_side": 10}


def _resolve(request: SegmentRequest) -> tuple[str, list[np.ndarray]]:
    run = resolve_request(request, cache_dir=load_settings().cache_dir)
    return run.record.result_key, [p.mask_hw for p in run.prompts if p.mask_hw is not None]


def test_what_is_found_is_tracked(
    ask: Ask, scene: Scene, segment: Callable[[SegmentRequest], ResultRef]
) -> None:
    """A request without prompts tracks the shapes that the first frame shows, and follows them;
    meanwhile it says how far the scan and the search are."""
    request = ask(prompts=None, automatic=FEW, stop=24)
    heard: list[Progress] = []
    with listening(heard.append):
        folder = RunFolder.from_ref(plan_run.fn(request))
    assert folder.video().num_frames == 66
    assert len(folder.record().objects) == 2
    scans = [step for step in heard if step.what == "scanning the video"]
    assert scans[-1] == Progress("scanning the video", 66, 66, "frames")
    searches = [step for step in heard if step.what == "looking for objects"]
    assert [step.done for step in searches] == [64, 100]
    assert {(step.total, step.unit) for step in searches} == {(100, "points")}
    result = segment(request)

    assert result.objects == 2
    with MaskReader(Path(result.destination) / "masks.parquet") as reader:
        for frame in (0, 23):
            masks = reader.masks(frame)
            assert set(masks) == {1, 2}
            for shape_hw in scene.masks_nhw(frame):
                best = max(
                    np.count_nonzero(shape_hw & found_hw) / np.count_nonzero(shape_hw | found_hw)
                    for found_hw in masks.values()
                )
                assert best > 0.6, frame


def test_a_run_that_goes_on_has_the_same_objects(ask: Ask, tmp_path: Path) -> None:
    """What was found is kept: the model is not asked again, and the run's key stays. Elsewhere it
    is found again, with the same key; another number of objects is another run."""
    request = ask(prompts=None, automatic=FEW, stop=20)
    key, masks = _resolve(request)
    (record,) = (request.work_path / "found").glob("*.json")
    written = record.stat().st_mtime_ns

    assert _resolve(request)[0] == key
    assert record.stat().st_mtime_ns == written
    record.write_bytes(record.read_bytes()[:50])
    assert _resolve(request)[0] == key

    elsewhere = ask(prompts=None, automatic=FEW, stop=20, work_dir=str(tmp_path / "other"))
    again = _resolve(elsewhere)
    assert again[0] == key
    assert all(np.array_equal(a, b) for a, b in zip(masks, again[1], strict=True))
    assert _resolve(ask(prompts=None, automatic={**FEW, "max_objects": 1}, stop=20))[0] != key


def _points_at_once(request: SegmentRequest, *failing: int) -> tuple[list[int], str]:
    """How many points the generator was given at once, call by call, where these calls (from 1)
    run out of memory after their work; and the run's key."""
    given: list[int] = []
    make = found_objects.make_detector

    class ShortOfMemory:
        def __init__(self, *args: Any, batch: int) -> None:
            given.append(batch)
            self.detector = make(*args, batch=batch)

        def detect(self, *args: Any, **options: Any) -> list[list[Detection]]:
            found = self.detector.detect(*args, **options)
            if len(given) in failing:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found_objects, "make_detector", ShortOfMemory)
        return given, _resolve(request)[0]


def test_memory_that_runs_out_changes_no_object(
    ask: Ask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """First the same again with caches freed, then fewer points at once: the same run comes of it,
    and each step is said. Where nothing fits, one line says so, and nothing is kept."""
    calm, key = _points_at_once(ask(prompts=None, automatic=FEW, stop=20))
    assert calm == [64]

    request = ask(prompts=None, automatic=FEW, stop=20, work_dir=str(tmp_path / "short"))
    assert _points_at_once(request, 1, 2, 3) == ([64, 64, 32, 16], key)
    said = [text for text in caplog.messages if "out of memory while looking" in text]
    assert len(said) == 3
    assert "encode batch 64 -> 32" in said[1]
    assert {path.suffixes[-1] for path in (request.work_path / "found").iterdir()} == {
        ".json",
        ".lock",
        ".spent",
    }

    nowhere = ask(prompts=None, automatic=FEW, stop=20, work_dir=str(tmp_path / "none"))
    with pytest.raises(OutOfMemory, match="out of memory at frame 0") as caught:
        _points_at_once(nowhere, *range(1, 20))
    assert "\n" not in str(caught.value)
    assert not list((nowhere.work_path / "found").glob("*.json"))


def _run_short_and_die(*_: object, batch: int) -> Any:
    if batch == 32:
        os.kill(os.getpid(), signal.SIGKILL)
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_killed_search_is_done_with_less(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed while it looked, perhaps for want of memory, leaves a mark; the
    next one takes fewer points at once, and finds the same."""
    _, key = _points_at_once(ask(prompts=None, automatic=FEW, stop=20))
    request = ask(prompts=None, automatic=FEW, stop=20, work_dir=str(tmp_path / "killed"))
    pid = os.fork()
    if pid == 0:
        found_objects.make_detector = _run_short_and_die
        _resolve(request)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert list((request.work_path / "found").glob("*.attempt.json"))
    monkeypatch.setattr(attempts, "_oom_kills", lambda: 10**6)  # as if the kernel had done it

    given, again = _points_at_once(request)

    assert again == key
    assert given == [16]
    assert not list((request.work_path / "found").glob("*.attempt.json"))


def test_only_what_is_tracked_is_made_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of hundreds of masks of an 8K picture the chosen ones alone take their 33 MB."""
    enlarged: list[Detection] = []
    enlarge = Detection.enlarged
    monkeypatch.setattr(
        Detection, "enlarged", lambda self: (enlarged.append(self), enlarge(self))[1]
    )
    small = np.zeros((300, 432, 768), bool)
    for index, mask_hw in enumerate(small):
        mask_hw[index : index + 40, 2 * index : 2 * index + 50] = True
    found = [Detection(0.81, (4320, 7680), mask_hw) for mask_hw in small]

    prompts = choose_objects(found, AutomaticPrompts(max_objects=3), frame_idx=0)

    assert len(enlarged) == len(prompts) == 3
    for prompt in prompts:
        assert prompt.mask_hw is not None
        assert prompt.mask_hw.shape == (4320, 7680)
        assert prompt.mask_hw.sum() == pytest.approx(400 * 500, rel=0.02)


@pytest.mark.parametrize(
    ("automatic", "words"),
    [
        ({"frame": 40}, ["automatic.frame", "5 to 19", "got 40"]),
        ({"frame": 4}, ["automatic.frame", "5 to 19", "got 4"]),
        ({**FEW, "min_predicted_iou": 1.0}, ["no objects found on frames 5 and 17:"]),
    ],
)
def test_what_cannot_be_found_is_one_line(
    ask: Ask, automatic: dict[str, object], words: list[str]
) -> None:
    """A frame that is not tracked, or nothing to see on it: told before anything is tracked."""
    request = ask(prompts=None, automatic=automatic, start=5, stop=20)
    with pytest.raises(InputError) as caught:
        _resolve(request)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_frame_can_be_chosen(ask: Ask) -> None:
    """Objects that are found on a later frame begin there."""
    run = resolve_request(
        ask(prompts=None, automatic={**FEW, "frame": 12}, start=5, stop=20),
        cache_dir=load_settings().cache_dir,
    )
    assert {frame for item in run.record.objects for frame in item.prompted_frames} == {12}


def test_a_detectors_labels_are_those_of_the_result(
    ask: Ask,
    scene: Scene,
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a file of detections calls its boxes is in objects.json, from which exports and reports
    have it, and in the run's prompts; the log of the plan has it with the box's size. Another file
    is another search, the same boxes are the same run."""
    caplog.set_level("INFO")
    boxes = [list(box_of(mask_hw)) for mask_hw in scene.masks_nhw(4)]
    listed = [
        {"frame": 4, "box": box, "label": label, "score": score}
        for box, label, score in zip(boxes, ("red thing", "cat"), (0.9, 0.6), strict=True)
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"detections": listed}))
    found = {"detector": f"file:{path}", "frame": 4}
    request = ask(prompts=None, automatic=found, stop=12)
    folder = RunFolder.from_ref(plan_run.fn(request))
    assert {item.id: item.label for item in folder.record().objects} == {1: "red thing", 2: "cat"}
    assert [prompt.label for prompt in folder.prompts()] == ["red thing", "cat"]
    left, top, right, bottom = boxes[0]
    share = 100 * (right - left) * (bottom - top) / (scene.width * scene.height)
    assert f"object 1 (red thing) on frame 4: {share:.1f} % of the picture" in caplog.messages
    assert any(text.startswith("2 objects found among 2 detections") for text in caplog.messages)

    result = Path(segment(request).destination)
    objects = json.loads((result / "objects.json").read_text())["objects"]
    assert [(item["id"], item["label"]) for item in objects] == [(1, "red thing"), (2, "cat")]

    key = folder.record().result_key
    path.write_text(json.dumps({"detections": listed[::-1]}))
    assert resolve_request(request, cache_dir=load_settings().cache_dir).record.result_key == key
    assert len(list((request.work_path / "found").glob("*.json"))) == 2
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"detections": listed[1:]}))
    path.write_text(json.dumps({"detections": listed[:1]}))
    both = {**found, "more_detectors": [f"file:{other}"]}
    together = resolve_request(
        ask(prompts=None, stop=12, automatic=both), cache_dir=load_settings().cache_dir
    )
    assert together.record.result_key == key  # the same boxes again
    path.write_text(json.dumps({"detections": listed}))
    elsewhere = {"prompts": None, "stop": 12, "destination": str(tmp_path / "elsewhere")}
    one = ask(automatic={**found, "labels": ["cat"]}, **elsewhere)
    only = resolve_request(one, cache_dir=load_settings().cache_dir).record
    assert [(item.id, item.label) for item in only.objects] == [(1, "cat")]
    with pytest.raises(InputError, match="no detection labelled 'dog'; it has cat, red thing"):
        check_request(
            ask(automatic={**found, "labels": ["dog"]}, **elsewhere),
            cache_dir=load_settings().cache_dir,
        )


def test_a_detector_of_motion_is_shown_the_frames_before(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees every frame from the one on that it needs to the one that is asked for, once each."""
    path = tmp_path / "square.mp4"
    with VideoWriter(path, width=160, height=120, rate=Fraction(24)) as writer:
        for image in moving_square(66):
            writer.write(image)
    shown: list[int] = []
    look = MotionBlobs._look

    def spy(self: MotionBlobs, image: np.ndarray, frame_idx: int) -> Any:
        shown.append(frame_idx)
        return look(self, image, frame_idx)

    monkeypatch.setattr(MotionBlobs, "_look", spy)
    request = ask(source=str(path), prompts=None, automatic={"detector": "motion", "frame": 64})
    run = resolve_request(request, cache_dir=load_settings().cache_dir)
    assert shown == list(range(65))
    (prompt,) = run.prompts
    assert prompt.frame_idx == 64
    assert np.allclose(prompt.box_xyxy_px, square_at(64), atol=5)


@pytest.fixture(scope="module")
def fade_in(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene 20 frames late, out of the black; in full light from frame 22 on."""
    path = tmp_path_factory.mktemp("fade") / "fade.mp4"
    late = itertools.chain(itertools.repeat(next(iter(scene)), 20), scene)
    with VideoWriter(path, width=scene.width, height=scene.height, rate=Fraction(24)) as writer:
        for number, frame in enumerate(itertools.islice(late, 36)):
            light = max(0, min(1, (number - 14) / 8))
            writer.write((frame.image_rgb_hwc_u8 * light).astype(np.uint8))
    return path


def test_a_video_that_fades_in_is_tracked(
    ask: Ask,
    fade_in: Path,
    scene: Scene,
    segment: Callable[[SegmentRequest], ResultRef],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Objects are those of the first frame, of those that are looked at, that shows some; it is
    said which one, and it does not depend on how the video is cut."""
    request = ask(source=str(fade_in), prompts=None, automatic=FEW)
    run = resolve_request(request, cache_dir=load_settings().cache_dir)

    assert {prompt.frame_idx for prompt in run.prompts} == {24}
    said = "no objects found on frames 0 and 12: the objects are those of frame 24"
    assert said in caplog.messages

    tables = []
    for name, chunk_frames in (("whole", 40), ("cut", 14)):
        result = segment(
            ask(
                source=str(fade_in),
                prompts=None,
                automatic=FEW,
                chunk_frames=chunk_frames,
                destination=str(fade_in.parent / name),
                work_dir=str(fade_in.parent / f"work-{name}"),
            )
        )
        with MaskReader(Path(result.destination) / "masks.parquet") as reader:
            tables.append(list(reader.rows()))
            masks = reader.masks(24)
    assert tables[0] == tables[1]
    assert {row.frame for row in tables[0]} == set(range(24, 36))
    for shape_hw in scene.masks_nhw(4):
        best = max(
            np.count_nonzero(shape_hw & found_hw) / np.count_nonzero(shape_hw | found_hw)
            for found_hw in masks.values()
        )
        assert best > 0.6


def test_a_frame_that_was_named_is_the_only_one(ask: Ask, fade_in: Path) -> None:
    """Who names a frame, or bounds the search, gets no other."""
    for automatic in ({**FEW, "frame": 0}, {**FEW, "look_ahead_s": 0}):
        with pytest.raises(InputError, match="no objects found on frame 0: "):
            _resolve(ask(source=str(fade_in), prompts=None, automatic=automatic))
