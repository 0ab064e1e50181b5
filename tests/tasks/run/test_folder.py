"""What a run's folder promises: a chunk is whole or does not exist."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from samcore.chunks.plan import Chunk
from samcore.disk.janitor import remove_half_written
from samcore.errors import LostWorkError
from samcore.masks.table import table_digest
from samcore.result.records import RunRecord
from samcore.run.folder import RunFolder
from tasks.encode_prompts import encode_prompts
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import RunRef
from tasks.settings import load_settings
from tasks.track_chunk import track_chunk

Ask = Callable[..., SegmentRequest]
TrackChunks = Callable[..., RunRef]

SMALL = {"image_size": 64, "stop": 32, "chunk_frames": 8, "overlap": 2}
"""Five chunks: [0, 8) [6, 14) [12, 20) [18, 26) [24, 32), and all prompts of the clip."""


@pytest.fixture
def tracked(ask: Ask, track_chunks: TrackChunks) -> tuple[SegmentRequest, RunRef, RunFolder]:
    """A run whose chunks are all tracked, and nothing published; it keeps no more states than it
    needs to go on."""
    request = ask(**SMALL, keep_states=False)
    run = track_chunks(request)
    return request, run, RunFolder.from_ref(run)


def test_damage_is_tracked_again(
    tracked: tuple[SegmentRequest, RunRef, RunFolder], track_chunks: TrackChunks
) -> None:
    """A chunk without its record, with a damaged table, or before a chunk that needs its lost
    state does not exist; what is tracked again is what was there, and the rest is left alone."""
    request, _, folder = tracked
    last = len(folder.record().chunks) - 1
    digests = [table_digest(folder.masks_path(index)) for index in range(last + 1)]
    assert folder.plan_work(with_states=True) == []
    assert [index for index in range(last) if folder.has_state(index)] == [last - 1]

    # The state that the last chunk began from is kept: it alone is tracked again.
    table = folder.masks_path(last)
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    assert folder.finished_chunk(last) is None
    assert folder.plan_work(with_states=True) == [last]

    # The first chunk needs no state, and nobody needs the one that it leaves.
    (folder.chunk_path(0) / "done.json").unlink()
    assert folder.plan_work(with_states=True) == [0, last]

    # Chunk 1's state is gone, so the way to chunk 2 begins at the start.
    (folder.chunk_path(2) / "done.json").unlink()
    assert folder.plan_work(with_states=True) == [0, 1, 2, last]

    untouched = (folder.chunk_path(3) / "done.json").stat().st_mtime_ns
    track_chunks(request)
    assert [table_digest(folder.masks_path(index)) for index in range(last + 1)] == digests
    assert (folder.chunk_path(3) / "done.json").stat().st_mtime_ns == untouched


def test_a_damaged_prompt_pass_is_none(ask: Ask, track_chunks: TrackChunks) -> None:
    """The state after the prompts is believed only with the digest that was written for it: one
    that is flipped, cut off or gone is made again, the same to the last byte."""
    run = track_chunks(ask(**SMALL), only=0)
    folder = RunFolder.from_ref(run)
    path = folder.prompt_state_path
    content = path.read_bytes()
    assert folder.prompt_pass() is not None

    flipped = bytes([*content[:-1], content[-1] ^ 1])
    for damaged in (flipped, content[:-1], None):
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        assert folder.prompt_pass() is None
    encode_prompts.fn(run)
    assert folder.prompt_pass() is not None
    assert path.read_bytes() == content


def test_finished_chunks_are_resumed(
    tracked: tuple[SegmentRequest, RunRef, RunFolder],
) -> None:
    """The task of a chunk that is done tracks nothing and ends as Resumed."""
    _, run, folder = tracked
    before = (folder.chunk_path(1) / "done.json").stat().st_mtime_ns

    state = track_chunk.fn(run, 1)

    assert state.name == "Resumed"
    assert (folder.chunk_path(1) / "done.json").stat().st_mtime_ns == before


def test_publishing_needs_every_chunk_and_then_frees_the_states(
    tracked: tuple[SegmentRequest, RunRef, RunFolder],
) -> None:
    """Nothing is published while a chunk lacks; afterwards no state takes up the disk."""
    request, run, folder = tracked
    done = folder.chunk_path(2) / "done.json"
    content = done.read_bytes()
    done.unlink()
    with pytest.raises(OSError, match=r"chunk 2 .* is not done"):
        publish.fn(run, request)
    assert not (Path(run.destination) / "manifest.json").exists()

    done.write_bytes(content)
    publish.fn(run, request)
    assert not list(folder.path.rglob("*.safetensors"))
    assert not list(Path(run.destination).rglob("*.tmp"))


def test_half_written_files_are_swept(ask: Ask) -> None:
    """What a killed process left half written goes, what is whole stays."""
    folder = RunFolder.from_ref(plan_run.fn(ask(**SMALL)))
    half = folder.chunk_path(0) / ".masks.parquet.abc.tmp"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")

    remove_half_written(folder.path)

    assert not half.exists()
    assert folder.record().stop == 32


@pytest.mark.parametrize(
    "change",
    [
        {"handoff": "mask"},
        {"image_size": 96},
        {"plain_engine": True},
        {"stop": 33},
        {"settings": {"device": "cpu", "fill_hole_area": 8}},
        {"settings": {"device": "cpu", "object_batch": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_result_key_follows_what_changes_masks(ask: Ask, change: dict[str, object]) -> None:
    """Whatever changes masks changes the key of the result, and with it that of the work."""
    cache = load_settings().cache_dir
    before = resolve_request(ask(**SMALL), cache_dir=cache).record
    after = resolve_request(ask(**{**SMALL, **change}), cache_dir=cache).record
    assert after.result_key != before.result_key
    assert after.work_key != before.work_key


@pytest.mark.parametrize("change", [{"chunk_frames": 9}, {"overlap": 3}], ids=str)
@pytest.mark.parametrize(("handoff", "is_exact"), [("memory", True), ("mask", False)])
def test_plan_is_part_of_the_work(
    ask: Ask, change: dict[str, int], handoff: str, is_exact: bool
) -> None:
    """Another plan of chunks is other work, and another result only if masks depend on the cuts."""
    cache = load_settings().cache_dir
    asked = {**SMALL, "handoff": handoff}
    before = resolve_request(ask(**asked), cache_dir=cache).record
    after = resolve_request(ask(**{**asked, **change}), cache_dir=cache).record
    assert after.work_key != before.work_key
    assert (after.result_key == before.result_key) is is_exact


def test_prompts_of_a_run_are_a_prompts_file(ask: Ask, tmp_path: Path) -> None:
    """The run's own prompts, masks and labels included, ask for the same result elsewhere; changed
    by a byte they are not the run's any more."""
    cache = load_settings().cache_dir
    mask = {"size": [96, 128], "counts": [2000, 300, 9988]}
    entries = [{"frame": 0, "mask": mask}, {"time": 0.5, "points": [[30, 20.25, 1], [1, 2, 0]]}]
    named = {"id": 4, "label": "dog", "prompts": entries}
    run = plan_run.fn(ask(**SMALL, prompts={"objects": [named]}))
    folder = RunFolder.from_ref(run)
    path = folder.path / "prompts.json"
    copy = tmp_path / "again.json"
    copy.write_bytes(path.read_bytes())

    again = resolve_request(ask(**SMALL, prompts=str(copy)), cache_dir=cache).record

    assert again.work_key == run.work_key
    assert again.objects == folder.record().objects
    assert folder.prompts()[0].mask_hw is not None
    path.write_text(path.read_text().replace("20.25", "20.5"))
    with pytest.raises(LostWorkError, match=r"prompts\.json is gone or damaged"):
        folder.prompts()
    path.write_text("{")
    with pytest.raises(LostWorkError):
        folder.prompts()


def test_record_keeps_its_plan(ask: Ask) -> None:
    """The chunks are read from the record, as they were planned, whatever plans are made of."""
    record = resolve_request(ask(**SMALL), cache_dir=load_settings().cache_dir).record
    plan = (Chunk(0, 0, 5), Chunk(1, 4, 30), Chunk(2, 27, 32))
    uneven = record.model_copy(update={"chunks": plan})

    read = RunRecord.model_validate_json(uneven.model_dump_json())

    assert read.chunks == plan
    assert [read.overlap(index) for index in range(3)] == [0, 1, 3]
    assert read.result_key == record.result_key
    assert read.work_key == uneven.work_key != record.work_key
    with pytest.raises(ValidationError, match="format"):
        RunRecord.model_validate({**record.model_dump(mode="json"), "format": 1})


def test_key_ignores_places(ask: Ask, clip: Path, tmp_path: Path) -> None:
    """Where the video lies, where results go and which of several GPUs is used is no part of it."""
    cache = load_settings().cache_dir
    record = resolve_request(ask(**SMALL), cache_dir=cache).record
    copy = tmp_path / "other name.mp4"
    copy.write_bytes(clip.read_bytes())
    moved = ask(**SMALL, source=str(copy), destination=str(tmp_path / "else"), overlay=True)
    assert resolve_request(moved, cache_dir=cache).record.result_key == record.result_key
    assert resolve_request(moved, cache_dir=cache).record.work_key == record.work_key

    keys = {
        record.model_copy(
            update={"settings": record.settings.model_copy(update={"device": device})}
        ).result_key
        for device in ("cuda:0", "cuda:3")
    }
    assert len(keys) == 1
    assert record.result_key not in keys
