"""One recording in several files is tracked as one video."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samcore.disk.files import file_record
from samcore.errors import InputError, StateError, VideoError
from samcore.masks.table import MaskReader
from samcore.result.manifest import read_manifest
from samcore.run.folder import RunFolder
from samcore.scenes import Scene
from samcore.video import VideoWriter, open_video
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef, RunRef
from tasks.sources import opened
from tasks.sources.opened import open_recording, open_run_source, open_source
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]
FRAMES = 36


@pytest.fixture(scope="module")
def parts(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Frames 0 to 35 of the scene in three files of 12."""
    folder = tmp_path_factory.mktemp("parts")
    paths = [folder / f"GX0{number}0042.MP4" for number in (1, 2, 3)]
    frames = iter(scene)
    for path in paths:
        with VideoWriter(path, width=scene.width, height=scene.height, rate=Fraction(24)) as writer:
            for _ in range(12):
                writer.write(next(frames).image_rgb_hwc_u8)
    return paths


@pytest.fixture
def joined(ask: Ask, parts: list[Path]) -> Ask:
    """A request for the recording, with prompts in its first and second file."""
    objects = [
        {"id": 1, "prompts": [{"frame": 0, "box": [8, 8, 60, 60]}]},
        {"id": 7, "prompts": [{"time": 17 / 24, "box": [60, 20, 120, 80]}]},
    ]
    asked = {
        "source": str(parts[0]),
        "further_parts": tuple(map(str, parts[1:])),
        "prompts": {"objects": objects},
        "image_size": 64,
    }
    return lambda **changes: ask(**{**asked, **changes})


def test_masks_are_those_of_the_same_frames_in_one(
    joined: Ask, segment: Segment, parts: list[Path], tmp_path: Path
) -> None:
    """Wherever chunks end, beside the joints and on them, and where a run goes on after a stop: the
    same as of a folder that has the very frames, but for the time stamps."""
    video = open_video(parts)
    images = tmp_path / "images"
    images.mkdir()
    with video.read() as frames:
        for frame in frames:
            Image.fromarray(frame.image_rgb_hwc_u8).save(images / f"{frame.frame_idx:05d}.png")
    objects = [
        {"id": 1, "prompts": [{"frame": 0, "box": [8, 8, 60, 60]}]},
        {"id": 7, "prompts": [{"frame": 17, "box": [60, 20, 120, 80]}]},
    ]
    alike = joined(
        source=str(images),
        further_parts=(),
        prompts={"objects": objects},
        destination=str(tmp_path / "of-images"),
        chunk_frames=100,
        overlap=0,
    )
    segment(alike)

    with MaskReader(tmp_path / "of-images" / "masks.parquet") as reader:
        expected = [(r.frame, r.object_id, r.object_score, r.counts) for r in reader.rows()]
    for chunk_frames, overlap in ((12, 0), (17, 5)):
        place = tmp_path / str(chunk_frames)
        result = segment(joined(chunk_frames=chunk_frames, overlap=overlap, destination=str(place)))
        with MaskReader(place / "masks.parquet") as reader:
            rows = list(reader.rows())
        assert [(r.frame, r.object_id, r.object_score, r.counts) for r in rows] == expected
        assert all(row.pts == video.pts(row.frame) for row in rows)
        assert result.seams_identical in (True, None)
    manifest = read_manifest(tmp_path / "12")
    assert manifest.request.source == str(parts[0])
    assert manifest.request.further_parts == tuple(map(str, parts[1:]))
    assert [(part.source, part.frame) for part in manifest.video.parts] == [
        (str(path), 12 * number) for number, path in enumerate(parts)
    ]
    assert manifest.frames == FRAMES


def test_a_part_that_changed_ends_the_run(
    joined: Ask, track_chunks: Callable[..., RunRef], parts: list[Path], tmp_path: Path
) -> None:
    """The identity of a run's video is that of all its parts, in order."""
    mine = tmp_path / "mine.MP4"
    mine.write_bytes(parts[1].read_bytes())
    run = track_chunks(joined(further_parts=(str(mine), str(parts[2]))), only=0)
    folder = RunFolder.from_ref(run)
    assert open_run_source(folder).info.num_frames == FRAMES
    turned = track_chunks(joined(further_parts=(str(parts[2]), str(mine))), only=0)
    assert RunFolder.from_ref(turned).record().result_key != folder.record().result_key

    mine.write_bytes(parts[2].read_bytes())

    with pytest.raises(StateError, match="changed since this run began"):
        open_run_source(folder)


def test_what_is_wrong_with_a_part_is_said_before_anything_is_scanned(
    joined: Ask, track_chunks: Callable[..., RunRef], parts: list[Path], tmp_path: Path
) -> None:
    """One that is missing, and one that no camera has written after the others."""
    small = tmp_path / "small.mp4"
    with VideoWriter(small, width=64, height=48, rate=Fraction(24)) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))

    with pytest.raises(InputError, match=r"cannot join .*GX010042.* and .*small\.mp4"):
        track_chunks(joined(further_parts=(str(small),)))
    assert not list((tmp_path / "out").rglob("index/*"))
    with pytest.raises(VideoError, match=r"no video at .*gone\.mp4"):
        track_chunks(joined(further_parts=(str(tmp_path / "gone.mp4"),)))


def test_parts_may_lie_in_different_places(bucket: str, parts: list[Path], tmp_path: Path) -> None:
    """One on this machine, the others in a bucket: the same recording but for the identity, as a
    bucket may know files by another digest."""
    places = [S3Location(bucket, f"card/{path.name}") for path in parts[1:]]
    for place, path in zip(places, parts[1:], strict=True):
        ObjectStore().put_file(path, place, sha256=file_record(path).sha256)

    video = open_recording(parts[0], places, tmp_path / "work")

    assert [part.source for part in video.info.parts] == [
        str(parts[0]),
        *(place.uri for place in places),
    ]
    local = open_video(parts)
    assert (video.frame(23).image_rgb_hwc_u8 == local.frame(23).image_rgb_hwc_u8).all()
    assert video.shown_pts_n.tolist() == local.shown_pts_n.tolist()


def test_parts_of_a_long_recording_stay_open(
    parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however long: each chunk opens them again, and to open one anew
    reads all of it."""
    monkeypatch.setattr(opened, "_KEPT", 1)
    monkeypatch.setattr(opened, "_KEPT_FRAMES", 1)
    monkeypatch.setattr(opened, "_videos", opened._OpenVideos())
    open_recording(parts[0], parts[1:], tmp_path)
    before = [open_source(part, tmp_path) for part in parts]
    open_recording(parts[0], parts[1:], tmp_path)
    assert all(open_source(part, tmp_path) is one for part, one in zip(parts, before, strict=True))
