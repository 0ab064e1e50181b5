"""Nothing that is read back from a disk or bucket is believed unless it is what was written there,
for this; what does not fit is made again, and the result is that of a run that nobody disturbed."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import flows.segment_video as flow
from samcore.disk.files import fsync_and_record
from samcore.errors import LostWorkError
from samcore.masks.table import MaskWriter
from samcore.run.folder import RunFolder
from samcore.run.joining import seam_report
from samcore.run.partial_chunk import find_partial_chunk, save_partial_chunk
from tasks.encode_prompts import encode_prompts
from tasks.fetch_chunks import fetch_chunks
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.publish_part import publish_part, staging_dir
from tasks.request.segment_request import SegmentRequest, validate_request
from tasks.results.open import open_result_store
from tasks.run.refs import RunRef
from tasks.sources.opened import open_run_source
from tasks.track_chunk import track_chunk
from tasks.tracking.open_run import open_run
from tests.servers.swift import SwiftServer

Ask = Callable[..., SegmentRequest]
TrackChunks = Callable[..., RunRef]

THREE_CHUNKS = {
    "stop": 14,
    "chunk_frames": 6,
    "overlap": 2,
    "image_size": 64,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
}
"""[0, 6) [4, 10) [8, 14)"""


def _flip(path: Path, seed: int = 0) -> None:
    """Change one bit somewhere in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(len(data) // 4, 3 * len(data) // 4)] ^= 4
    path.write_bytes(data)


@pytest.fixture(scope="module")
def tracked(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the work of all three chunks, nothing published; not to be changed."""
    place = tmp_path_factory.mktemp("tracked")
    run = _run(clip, place)
    folder = RunFolder.from_ref(run)
    encode_prompts.fn(run)
    for chunk in folder.record().chunks:
        track_chunk.fn(run, chunk.index)
        publish_part.fn(run, chunk.index)
    return place


def _request(clip: Path, place: Path) -> SegmentRequest:
    return validate_request(
        source=str(clip),
        destination=str(place / "out"),
        work_dir=str(place / "work"),
        model="nano",
        settings={"device": "cpu"},
        report=False,
        **THREE_CHUNKS,
    )


def _run(clip: Path, place: Path) -> RunRef:
    return plan_run.fn(_request(clip, place))


@pytest.fixture
def copy(tracked: Path, clip: Path, tmp_path: Path) -> tuple[SegmentRequest, RunRef, RunFolder]:
    """A copy of that work of one's own."""
    shutil.copytree(tracked, tmp_path, dirs_exist_ok=True)
    run = _run(clip, tmp_path)
    return _request(clip, tmp_path), run, RunFolder.from_ref(run)


@pytest.fixture(scope="module")
def calm(tracked: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The masks that a run publishes which nobody disturbs."""
    place = tmp_path_factory.mktemp("calm")
    shutil.copytree(tracked, place, dirs_exist_ok=True)
    publish.fn(_run(clip, place), _request(clip, place))
    return (place / "out" / "masks.parquet").read_bytes()


def test_a_chunk_s_record_over_another_s(
    copy: tuple[SegmentRequest, RunRef, RunFolder], calm: bytes
) -> None:
    """A chunk's record, masks and state, whole as they are, are nothing in another one's place."""
    request, run, folder = copy
    for name in ("done.json", "masks.parquet", "state.safetensors"):
        shutil.copy(folder.chunk_path(1) / name, folder.chunk_path(2) / name)
    assert folder.plan_work(with_states=True) == [2]
    with pytest.raises(LostWorkError, match=r"chunk 2 .* run again"):
        publish.fn(run, request)
    assert not (Path(run.destination) / "manifest.json").exists()
    track_chunk.fn(run, 2)
    publish.fn(run, request)
    assert (Path(run.destination) / "masks.parquet").read_bytes() == calm


@pytest.mark.parametrize("name", ["done.json", "prompts.done.json", "seam.json"])
def test_no_flipped_bit_of_a_record_is_believed(
    copy: tuple[SegmentRequest, RunRef, RunFolder], name: str
) -> None:
    """Each of 100 flips makes the record none, or changes nothing that it says."""
    _, _, folder = copy
    seam_report(folder, 1)
    path = folder.path / name if name.startswith("prompts") else folder.chunk_path(1) / name
    read: Callable[[], object] = {
        "done.json": lambda: folder.finished_chunk(1),
        "prompts.done.json": folder.prompt_pass,
        "seam.json": lambda: folder.seam(1),
    }[name]
    whole, data = read(), path.read_bytes()
    assert whole is not None
    chance = random.Random(1)
    for _ in range(100):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        assert read() in (None, whole)


@pytest.mark.parametrize("index", [0, 1])
def test_a_damaged_part_is_written_again(
    copy: tuple[SegmentRequest, RunRef, RunFolder], calm: bytes, index: int
) -> None:
    """A part beside the destination with a flipped bit, and one that is another chunk's."""
    request, run, _ = copy
    parts = sorted(staging_dir(run).glob("*.parquet"))
    if index:
        shutil.copy(parts[1], parts[0])
        shutil.copy(parts[1].with_suffix(".json"), parts[0].with_suffix(".json"))
    else:
        _flip(parts[0])
    publish.fn(run, request)
    assert (Path(run.destination) / "masks.parquet").read_bytes() == calm


@pytest.mark.parametrize("name", ["prompts.safetensors", "state.safetensors"])
def test_a_state_that_is_damaged_when_it_is_wanted(
    copy: tuple[SegmentRequest, RunRef, RunFolder], name: str
) -> None:
    """A state is held against its record at the very moment that it is read: it is not gone on
    from, and is gone, so that it is made again."""
    _, run, folder = copy
    wanted = 0 if name.startswith("prompts") else 2
    path = folder.prompt_state_path if wanted == 0 else folder.state_path(1)
    folder.discard_chunk(wanted)
    _flip(path)
    with pytest.raises(LostWorkError, match="run again"):
        track_chunk.fn(run, wanted)
    assert not path.exists()


def test_a_state_of_another_prompt_pass_is_not_gone_on_from(
    copy: tuple[SegmentRequest, RunRef, RunFolder],
) -> None:
    """A state that is whole, but is not the one that its record names, makes the pass not done."""
    _, _, folder = copy
    assert folder.prompt_pass() is not None
    shutil.copy(folder.state_path(1), folder.prompt_state_path)
    assert folder.prompt_pass() is None


def _all_files(folder: RunFolder) -> list[Path]:
    """Everything of the run that is read back."""
    kinds = {".json", ".parquet", ".safetensors"}
    return sorted(path for path in folder.path.rglob("*") if path.suffix in kinds)


def test_a_run_goes_on_over_any_damage(
    copy: tuple[SegmentRequest, RunRef, RunFolder],
    calm: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a flipped bit in every file of the run, in the middle of the flow's own work, the flow
    makes anew what is gone and publishes the very masks of a run that nobody disturbed."""
    request, run, folder = copy
    folder.discard_chunk(2)
    done: list[int] = []

    def spoil(run: RunRef, index: int) -> object:
        if not done:
            for seed, path in enumerate(_all_files(folder)):
                _flip(path, seed)
        done.append(index)
        return track_chunk.fn(run, index)

    for name, task in (("track_chunk", spoil), ("encode_prompts", encode_prompts.fn)):
        monkeypatch.setattr(flow, name, task)
    for name in ("plan_run", "publish"):
        monkeypatch.setattr(flow, name, getattr(flow, name).fn)
    # What a flow's tasks tell a server is not needed here, and would start one.
    monkeypatch.setattr(flow, "tracking_artifact", lambda key: lambda progress: None)
    monkeypatch.setattr(flow, "ChunkChecks", _Unchecked)
    flow._track_and_publish(run, request, folder, lambda: None)
    assert (Path(run.destination) / "masks.parquet").read_bytes() == calm
    assert any("work was lost" in record.getMessage() for record in caplog.records)


class _Unchecked:
    """In the place of `ChunkChecks`: no seam is checked, and no chunk published ahead."""

    def __init__(self, run: RunRef, request: SegmentRequest) -> None:
        pass

    def begin(self, index: int) -> None:
        pass

    def wait(self) -> None:
        pass


def _stop_in_chunk_0(run: RunRef) -> None:
    """Leave a checkpoint after five frames, with the state for the next chunk."""
    folder = RunFolder.from_ref(run)
    bench = open_run(folder)
    tracker = bench.new_tracker(folder.prompts(), start=0)
    with (
        MaskWriter(folder.masks_path(0), height=96, width=128) as writer,
        open_run_source(folder).read(0, 5) as frames,
    ):
        for output in tracker.track(frames):
            writer.write(output, output.frame_idx)
            if output.frame_idx == 3:
                tracker.state().save(folder.state_path(0))
    handed_on = fsync_and_record(folder.state_path(0))
    save_partial_chunk(
        folder, 0, tracker.state(), handed_on=handed_on, degradations=(), seconds=1.0
    )


@pytest.mark.parametrize(
    "name", ["partial.json", "partial.parquet", "partial.safetensors", "state.safetensors"]
)
def test_partial_chunk_that_is_damaged_is_none(clip: Path, tmp_path: Path, name: str) -> None:
    """Whatever of a checkpoint is damaged, the state that it hands on included, it is none; and it
    is none in another chunk's place."""
    run = _run(clip, tmp_path)
    folder = RunFolder.from_ref(run)
    folder.chunk_path(0).mkdir()
    _stop_in_chunk_0(run)
    assert find_partial_chunk(folder, 0) is not None
    shutil.copytree(folder.chunk_path(0), folder.chunk_path(1))
    assert find_partial_chunk(folder, 1) is None
    _flip(folder.chunk_path(0) / name)
    assert find_partial_chunk(folder, 0) is None


def test_damage_in_the_bucket_is_made_again(
    bucket: str,
    ask: Ask,
    track_chunks: TrackChunks,
    swift: SwiftServer,
    tmp_path: Path,
    calm: bytes,
) -> None:
    """With a flipped bit in every object of the run, another machine fetches nothing, makes all of
    it again and publishes the very masks; and the index in the bucket is whole again."""
    asked = {**THREE_CHUNKS, "destination": f"s3://{bucket}/out"}
    first = track_chunks(ask(**asked, work_dir=str(tmp_path / "first")))
    client = swift.client()
    listed = client.list_objects_v2(Bucket=bucket, Prefix="out/.longtake/")["Contents"]
    names = [item["Key"] for item in listed]
    assert {name.rpartition("/")[2] for name in names} >= {"done.json", "masks.parquet"}
    (index,) = (name for name in names if "/index/" in name)
    for seed, name in enumerate(names):
        data = bytearray(client.get_object(Bucket=bucket, Key=name)["Body"].read())
        data[random.Random(seed).randrange(len(data) // 4, 3 * len(data) // 4)] ^= 4
        client.put_object(Bucket=bucket, Key=name, Body=bytes(data))

    request = ask(**asked, work_dir=str(tmp_path / "second"))
    second = plan_run.fn(request)
    assert second.key == first.key
    assert fetch_chunks.fn(second) == 0
    track_chunks(request)
    result = publish.fn(second, request)
    assert not result.was_there
    assert open_result_store(result).fetch("masks.parquet").read_bytes() == calm
    whole = client.get_object(Bucket=bucket, Key=index)["Body"].read()
    (here,) = (tmp_path / "second" / "index").glob("*.parquet")
    assert whole == here.read_bytes()
