"""Only some frames are tracked: to the tracker they are the video, to everybody else they keep
their true numbers and times."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from samcore.errors import InputError
from samcore.exports import write_export
from samcore.machine.device import choose_compute
from samcore.masks.rle import encode_masks
from samcore.masks.table import MaskReader, table_digest
from samcore.models.loader import load_model
from samcore.result.manifest import read_manifest
from samcore.result.reader import Result
from samcore.scenes import Scene
from samcore.tracking.tracker import VideoTracker
from samcore.video import open_video
from tasks.plan_run import plan_run
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
NUMBERS = list(range(4, 50, 5))


@pytest.fixture
def every_fifth(ask: Ask) -> Ask:
    """A request for every fifth frame, from frame 4 to frame 49."""
    asked = {"prompts": {"objects": list(OBJECTS)}, "start": 4, "stop": 50, "every": 5}
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
    for chunk_frames, overlap in ((7, 2), (20, 0), (64, 0)):
        place = tmp_path / f"{chunk_frames}"
        request = every_fifth(
            chunk_frames=chunk_frames, overlap=overlap, destination=str(place), every=2
        )
        result = segment(request)
        digests.add((place / "masks.parquet").read_bytes())
        assert result.seams_identical in (True, None)
        plan = read_manifest(place).request.chunks
        tracked = range(4, 50, 2)
        starts = range(0, len(tracked) - overlap, chunk_frames - overlap)
        assert [chunk.start for chunk in plan] == [tracked[at] for at in starts]
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
    assert (manifest.request.start, manifest.request.stop) == (4, 50)
    assert manifest.video.num_frames == open_video(clip).info.num_frames


def test_the_choice_is_part_of_the_key_only_where_it_is_made(every_fifth: Ask) -> None:
    """Every first frame is all frames."""
    keys = [plan_run.fn(every_fifth(every=every)).key for every in (None, 1, 5, 10)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_stopped_chunk_goes_on(
    every_fifth: Ask, segment: Segment, track_chunks: Callable[..., object], tmp_path: Path
) -> None:
    """What was tracked before stays, and the rest follows as if nothing had been."""
    whole = segment(every_fifth(destination=str(tmp_path / "whole"), chunk_frames=4, overlap=1))
    track_chunks(every_fifth(chunk_frames=4, overlap=1), only=2)
    again = segment(every_fifth(chunk_frames=4, overlap=1))

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
    every_fifth: Ask, segment: Segment, scene: Scene, tmp_path: Path
) -> None:
    """Detectors look at every second of them. A list of detections goes by the video's numbers;
    what is found begins on a frame that is tracked, and chunks do not matter."""
    listed = []
    for frame in range(4, 50, 10):
        (rle,) = encode_masks(scene.masks_nhw(frame)[:1])
        mask = {"size": [rle.height, rle.width], "counts": rle.counts.decode()}
        listed.append({"frame": frame, "mask": mask, "score": 0.9})
    path = tmp_path / "masks.json"
    path.write_text(json.dumps({"detections": listed}))

    def ask(chunk_frames: int, overlap: int, **options: object) -> list:
        found = {"detector": f"file:{path}", "max_objects": 5, **options}
        place = tmp_path / f"{chunk_frames}-{len(options)}"
        request = every_fifth(
            prompts=None,
            automatic=found,
            chunk_frames=chunk_frames,
            overlap=overlap,
            destination=str(place),
        )
        return _rows(segment(request))

    rows = ask(4, 1, detect_every=2, association_options={"hot_start": 2})
    assert {row.frame for row in rows} <= set(NUMBERS)
    assert min(row.frame for row in rows) == 4
    again = ask(64, 0, detect_every=2, association_options={"hot_start": 2})
    assert [row.packed() for row in rows] == [row.packed() for row in again]
    once = ask(64, 0, frame=14)
    assert [row.frame for row in once] == NUMBERS[2:]
    with pytest.raises(InputError, match=r"automatic.frame: 13 is not among .* 9 .* and 14"):
        ask(64, 0, frame=13)


def test_exports_report_and_program_have_the_true_numbers(
    every_fifth: Ask, segment: Segment, clip: Path, tmp_path: Path
) -> None:
    """Each format has a place for each frame that was tracked and for no other; the overlay shows
    them at their times; findings and report speak of them."""
    segment(every_fifth(chunk_frames=4, overlap=2))
    result = Result(tmp_path / "out")
    masklets, video = result.masklets, open_video(clip)

    def written(name: str) -> Path:
        write_export(masklets, name, tmp_path / name, video=video)
        return tmp_path / name

    assert [frame.frame_idx for frame in result] == NUMBERS
    assert len(result) == len(NUMBERS)
    assert result.frame(9).time_s == pytest.approx(9 / 24)
    with pytest.raises(InputError, match=r"no frame 10: .*every 5 .*the nearest are 9 and 14"):
        result.frame(10)
    coco = json.loads((written("coco-video") / "annotations.json").read_text())
    assert coco["videos"][0]["length"] == len(NUMBERS)
    assert [name[-9:-4] for name in coco["videos"][0]["file_names"]] == [
        f"{number:05d}" for number in NUMBERS
    ]
    shown = [frame for frame in result if frame.present_n[list(frame.obj_ids).index(1)]]
    masks = next(item for item in coco["annotations"] if item["track_id"] == 1)["segmentations"]
    assert [NUMBERS[at] for at, mask in enumerate(masks) if mask] == [f.frame_idx for f in shown]
    images = json.loads((written("coco-image") / "annotations.json").read_text())["images"]
    assert [image["id"] for image in images] == NUMBERS
    names = sorted(path.stem for path in written("davis-png").rglob("*.png"))
    assert names == [f"{number:05d}" for number in NUMBERS]
    lines = next(written("mot-txt").glob("clip*.txt")).read_text().splitlines()
    assert {int(line.split(",")[0]) for line in lines} <= {number + 1 for number in NUMBERS}
    places = json.loads((written("mask-video") / "frames.json").read_text())["frames"]
    assert [place["frame"] for place in places] == NUMBERS
    drawn = open_video(written("overlay") / "overlay.mp4")
    assert drawn.info.num_frames == len(NUMBERS)
    assert float(drawn.time_s(2)) == pytest.approx(10 / 24, abs=0.002)
    boxes = json.loads((written("label-studio") / "video.json").read_text())
    sequence = boxes[0]["predictions"][0]["result"][0]["value"]["sequence"]
    assert {item["frame"] - 1 for item in sequence} <= set(NUMBERS)
    seams = json.loads((tmp_path / "out" / "seams.json").read_text())["seams"]
    assert [seam["frames"] for seam in seams] == [2] * len(seams)
    assert {seam["start"] for seam in seams} <= set(NUMBERS)
