"""How objects are found throughout a run is decided once, with the video's cuts."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from samcore.errors import InputError
from samcore.models.registry import resolve_model
from samcore.prompts.automatic import AutomaticPrompts
from samcore.result.records import DetectionRecord
from samcore.run import detection
from samcore.run.detection import plan_detection
from samcore.video import VideoSource, VideoWriter, open_video


@pytest.fixture
def video(tmp_path: Path) -> VideoSource:
    """Three scenes, of 8, 6 and 10 frames."""
    path = tmp_path / "three.mp4"
    noise_hw3 = np.random.default_rng(0).integers(0, 30, (96, 128, 3), dtype=np.uint8)
    with VideoWriter(path, width=128, height=96, rate=Fraction(24)) as writer:
        for level in [20] * 8 + [200] * 6 + [90] * 10:
            writer.write(noise_hw3 + np.uint8(level))
    return open_video(path)


def test_cuts_are_found_once(
    video: VideoSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first frame that is tracked begins a scene, and so does the one after each cut; they are
    read again for the next run of this video, and the record is the same when it is read."""

    def plan(start: int) -> DetectionRecord:
        return plan_detection(
            AutomaticPrompts(detector="motion", detect_every="cuts"),
            model=resolve_model("nano", cache_dir=tmp_path),
            video=video,
            frames=(start, 24),
            labels={},
            num_prompted=0,
            work_dir=tmp_path,
            cache_dir=tmp_path,
        )

    first = plan(0)
    assert first.cuts == (0, 8, 14)
    assert plan(10).cuts == (10, 14)
    assert DetectionRecord.model_validate_json(first.model_dump_json()) == first
    assert first.asked == AutomaticPrompts(detector="motion", detect_every="cuts")
    monkeypatch.setattr(detection, "CutFinder", None)
    assert plan(0) == first

    # Of a package that is not here any more.
    elsewhere = first.model_copy(update={"options": {"detector": "gone", "detect_every": "cuts"}})
    assert DetectionRecord.model_validate_json(elsewhere.model_dump_json()) == elsewhere
    with pytest.raises(InputError, match="cannot be used here: unknown detector: got 'gone'"):
        _ = elsewhere.asked


@pytest.mark.parametrize(
    ("frames", "every", "looks"),
    [((0, 24), 500, True), ((1, 24), 24, False), ((1, 24), 23, True), ((23, 24), 23, True),
     ((21, 24), 20, False)],
)  # fmt: skip
def test_some_frame_is_looked_at(
    video: VideoSource, tmp_path: Path, frames: tuple[int, int], every: int, looks: bool
) -> None:
    """A range without a multiple of the number would be tracked in vain: it is refused."""

    def plan() -> DetectionRecord:
        return plan_detection(
            AutomaticPrompts(detector="motion", detect_every=every),
            model=resolve_model("nano", cache_dir=tmp_path),
            video=video,
            frames=frames,
            labels={},
            num_prompted=0,
            work_dir=tmp_path,
            cache_dir=tmp_path,
        )

    if looks:
        assert plan().association.detect_every == every
        return
    wanted = f"the frames to track, {frames[0]} to {frames[1] - 1}, is a multiple of {every}, so"
    with pytest.raises(InputError, match=wanted):
        plan()
