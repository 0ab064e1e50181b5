"""Only some frames are tracked: to the tracker they are the video, to everybody else they keep
their true numbers and times."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.machine.device import choose_compute
from samcore.masks.table import MaskReader, table_digest
from samcore.models.loader import load_model
from samcore.result.manifest import read_manifest
from samcore.run.folder import RunFolder
from samcore.tracking.tracker import VideoTracker
from samcore.video import open_video
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]

OBJECTS = (
    {
        "id": 1,
        "prompts": [{"frame": 4, "box": [8, 8, 60, 60]}, {"frame": 34, "points": [[30, 30, 1]]}],
    },
    {"id": 7, "prompts": [{"frame": 14, "box": [60, 20, 120, 80]}]},
)
NUMBERS = list(range(4, 63, 5))


@pytest.fixture
def every_fifth(ask: Ask) -> Ask:
    """A request for every fifth frame, from frame 4 to frame 62."""
    asked = {"prompts": {"objects": list(OBJECTS)}, "start": 4, "stop": 63, "every": 5}
    return lambda **changes: ask(image_size=64, **{**asked, **changes})


def _rows(result: ResultRef) -> list:
    with MaskReader(Path(result.destination) / "masks.parquet") as reader:
        return list(reader.rows())


def test_the_frames_are_the_video_for_the_tracker(
    every_fifth: Ask, segment: Segment, clip: Path
) -> None:
    """The same masks as when a person gives these frames, and no others, to the tracker; each
    under its number and time in the video."""
    result = segment(every_fifth(chunk_frames=5, overlap=2))

    video = open_video(clip)
    record = read_manifest(Path(result.destination)).request
    tracker = VideoTracker(
        load_model(record.model, choose_compute("cpu", record.settings.dtype)),
        height=video.info.height,
        width=video.info.width,
        num_frames=len(NUMBERS),
        settings=record.settings,
    )
    tracker.add_box(1, 0, (8, 8, 60, 60))
    tracker.add_points(1, 6, [(30, 30)])
    tracker.add_box(7, 2, (60, 20, 120, 80))
    images = [video.frame(number).image_rgb_hwc_u8 for number in NUMBERS]

    class Numbered:
        def __init__(self, step: int) -> None:
            self.frame_idx, self.image_rgb_hwc_u8 = step, images[step]

    tracker.encode_prompts([Numbered(0), Numbered(2), Numbered(6)])
    rows = iter(_rows(result))
    for output in tracker.track(images):
        for place, object_id in enumerate(output.obj_ids):
            row = next(rows)
            number = NUMBERS[output.frame_idx]
            assert (row.frame, row.pts, row.object_id) == (number, video.pts(number), object_id)
            assert (row.mask() == output.masks_nhw[place]).all()
            assert row.object_score == output.object_scores_n[place]
            assert row.prompted == output.prompted_n[place]
    assert next(rows, None) is None
    assert result.frames == len(NUMBERS)


def test_masks_do_not_depend_on_chunks(every_fifth: Ask, segment: Segment, tmp_path: Path) -> None:
    """Chunks count frames that are tracked; the same bytes are published, seams are identical."""
    digests = set()
    for chunk_frames, overlap in ((3, 1), (5, 0), (7, 2), (64, 0)):
        place = tmp_path / f"{chunk_frames}"
        request = every_fifth(
            chunk_frames=chunk_frames, overlap=overlap, destination=str(place), every=2
        )
        result = segment(request)
        digests.add((place / "masks.parquet").read_bytes())
        assert result.seams_identical in (True, None)
        plan = read_manifest(place).request.chunks
        tracked = range(4, 63, 2)
        assert [chunk.start for chunk in plan] == [
            tracked[at] for at in range(0, 30 - overlap, chunk_frames - overlap)
        ][: len(plan)]
    assert len(digests) == 1


def test_a_rate_chooses_by_time(every_fifth: Ask, segment: Segment, clip: Path, tmp_path) -> None:
    """The clip has 24 frames a second: 4.8 of them are every fifth one."""
    by_number = segment(every_fifth())
    by_time = segment(every_fifth(every=None, fps=4.8, destination=str(tmp_path / "by-time")))

    assert by_number.key == by_time.key
    assert table_digest(Path(by_number.destination) / "masks.parquet") == table_digest(
        tmp_path / "by-time" / "masks.parquet"
    )
    manifest = read_manifest(tmp_path / "by-time")
    assert manifest.request.tracked.fps == Fraction("4.8")
    assert (manifest.request.start, manifest.request.stop) == (4, 60)
    assert manifest.video.num_frames == open_video(clip).info.num_frames


def test_the_choice_is_part_of_the_key_only_where_it_is_made(
    every_fifth: Ask, track_chunks: Callable[..., object]
) -> None:
    """Every first frame is all frames."""
    keys = [
        RunFolder.from_ref(track_chunks(every_fifth(every=every), only=0)).record().result_key
        for every in (None, 1, 5, 10)
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_stopped_chunk_goes_on(
    every_fifth: Ask, segment: Segment, track_chunks: Callable[..., object], tmp_path: Path
) -> None:
    """What was tracked before stays, and the rest follows as if nothing had been."""
    whole = segment(every_fifth(every=2, destination=str(tmp_path / "whole"), chunk_frames=8))
    track_chunks(every_fifth(every=2, chunk_frames=8), only=2)
    again = segment(every_fifth(every=2, chunk_frames=8))

    assert [row.packed() for row in _rows(again)] == [row.packed() for row in _rows(whole)]


def test_the_mask_handoff_hands_over_the_last_tracked_frame(
    every_fifth: Ask, segment: Segment
) -> None:
    """Without overlap it is the frame before in the order of the tracked ones."""
    result = segment(
        every_fifth(handoff="mask", chunk_frames=4, overlap=0, min_agreement=0.0, every=5)
    )

    assert [row.frame for row in _rows(result) if row.object_id == 1] == NUMBERS


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (
            {"frame": 12, "box": [8, 8, 60, 60]},
            r"object 1, frame: 12 is not among the frames that are tracked, every 5; the nearest "
            r"are 9 \(0\.375 s\) and 14 \(0\.583 s\)",
        ),
        ({"time": 0.5, "box": [8, 8, 60, 60]}, r"frame: 12 is not among"),
    ],
)
def test_a_prompt_on_another_frame_is_refused(
    every_fifth: Ask, track_chunks: Callable[..., object], prompt: dict, words: str
) -> None:
    """One line names the two nearest frames that are tracked."""
    request = every_fifth(prompts={"objects": [{"id": 1, "prompts": [prompt]}]})
    with pytest.raises(InputError, match=words):
        track_chunks(request)


def test_both_choices_are_refused(ask: Ask) -> None:
    """One of them at most."""
    with pytest.raises(InputError, match="every and fps: wanted one of them, got both"):
        ask(every=2, fps=5.0)
    with pytest.raises(InputError, match=r"every: .*greater than or equal to 1"):
        ask(every=0)


def test_objects_are_found_and_looked_for_on_tracked_frames(
    every_fifth: Ask, segment: Segment
) -> None:
    """A detector looks at every second of them; what it finds begins on a frame that is tracked."""
    found = segment(
        every_fifth(
            prompts=None,
            automatic={"detector": "motion", "detect_every": 2, "max_objects": 5},
            every=3,
            chunk_frames=6,
            overlap=2,
        )
    )
    again = segment(
        every_fifth(
            prompts=None,
            automatic={"detector": "motion", "detect_every": 2, "max_objects": 5},
            every=3,
            chunk_frames=20,
            overlap=0,
            destination=found.destination + "-again",
        )
    )

    frames = {row.frame for row in _rows(found)}
    assert frames
    assert frames <= set(range(4, 63, 3))
    assert [row.packed() for row in _rows(found)] == [row.packed() for row in _rows(again)]
    assert TrackSettings().retire_after is None
    assert np.diff(sorted(frames)).min() == 3
