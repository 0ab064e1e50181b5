"""Units of work: shares of objects, and chunks that find their own."""

import numpy as np
import pytest

from samcore.chunks.plan import Chunk
from samcore.config import TrackSettings
from samcore.disk.files import FileRecord
from samcore.errors import InputError
from samcore.machine.rung import Rung
from samcore.models.registry import resolve_model
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest
from samcore.result.records import ChunkRecord, ObjectRecord, RunRecord
from samcore.run.sharded_chunks import combined
from samcore.run.units import chunk_run, count_shards, plan_shards, shard_run, unit_indices


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_shards_have_each_object_once_and_keep_batches_whole(count: int, batch: int) -> None:
    """No share is empty; where there are batches enough, no batch is cut."""
    ids = [3, 4, 5, 7, 8, 20, 21]
    shards = plan_shards(ids, count, batch=batch)
    assert [one for shard in shards for one in shard] == ids
    assert len(shards) == count
    assert all(shards)
    if -(-len(ids) // batch) >= count:
        assert all(len(shard) % batch == 0 for shard in shards[:-1])


def test_shards_are_counted_by_workers_and_batches() -> None:
    """`auto` is a share for each worker, as long as each has a batch; more shares than objects are
    refused."""
    assert count_shards(None, objects=5, batch=2, workers=4) == 1
    assert count_shards("auto", objects=5, batch=2, workers=8) == 3
    assert count_shards("auto", objects=50, batch=2, workers=8) == 8
    assert count_shards("auto", objects=5, batch=2, workers=None) == 3
    assert count_shards("auto", objects=0, batch=2, workers=4) == 1
    assert count_shards(5, objects=5, batch=2, workers=1) == 5
    with pytest.raises(InputError, match="6 are more than there are objects, which are 5"):
        count_shards(6, objects=5, batch=2, workers=1)


@pytest.fixture
def record(tmp_path) -> RunRecord:
    return RunRecord(
        source="/video.mp4",
        source_digest="sha256:" + "0" * 64,
        objects=tuple(
            ObjectRecord(id=one, label=None, prompted_frames=(frame,))
            for one, frame in ((2, 0), (5, 12))
        ),
        prompts_digest=prompts_digest(PROMPTS),
        model=resolve_model("random-tiny", cache_dir=tmp_path),
        settings=TrackSettings(device="cpu", dtype="float32"),
        start=0,
        stop=20,
        chunks=(Chunk(0, 0, 12), Chunk(1, 8, 20)),
        handoff="match",
    )


MASKS = FileRecord(name="masks.parquet", size=1, sha256="0" * 64)
PROMPTS = (
    Prompt(2, 0, box_xyxy_px=(0, 0, 10, 10)),
    Prompt(5, 12, points_xy_px=((4, 4),), point_labels=(1,)),
)


def test_a_shard_is_a_run_of_its_objects(record: RunRecord) -> None:
    """Its prompts and objects are its share's, and its work lies elsewhere."""
    record = record.model_copy(update={"handoff": "memory", "shards": ((2,), (5,))})
    assert list(unit_indices(record)) == [0, 1]
    units = [shard_run(record, PROMPTS, index) for index in range(2)]
    for (unit, prompts), obj_id in zip(units, (2, 5), strict=True):
        assert [item.id for item in unit.objects] == [p.obj_id for p in prompts] == [obj_id]
        assert unit.prompts_digest == prompts_digest(prompts)
        assert unit.chunks == record.chunks
        assert not unit_indices(unit)
    assert len({record.work_key, *(unit.work_key for unit, _ in units)}) == 3
    assert record.result_key != record.model_copy(update={"shards": ()}).result_key


def test_a_chunk_is_a_run_of_its_frames(record: RunRecord) -> None:
    """It has a person's prompts on its frames, and what was found beside them, under numbers that
    no person gave."""
    mask_hw = np.zeros((30, 30), np.bool_)
    mask_hw[2:8, 2:8] = True
    found = (
        Prompt(1, 0, box_xyxy_px=(1, 1, 11, 11)),  # the person's own
        Prompt(2, 0, box_xyxy_px=(15, 15, 25, 25), label="dog"),
    )
    unit, prompts = chunk_run(record, PROMPTS, 0, found)
    assert (unit.start, unit.stop, unit.chunks) == (0, 12, (Chunk(0, 0, 12),))
    assert [(item.id, item.label, item.source) for item in unit.objects] == [
        (2, None, "prompt"),
        (6, "dog", "automatic"),
    ]
    assert [p.obj_id for p in prompts] == [2, 6]
    # A click in what was found on that frame says that it is the person's.
    on_it, beside = Prompt(1, 12, mask_hw=mask_hw), Prompt(1, 12, mask_hw=~mask_hw)
    assert [p.obj_id for p in chunk_run(record, PROMPTS, 1, (on_it,))[1]] == [5]
    assert [p.obj_id for p in chunk_run(record, PROMPTS, 1, (beside,))[1]] == [5, 6]


def test_a_chunk_of_units_says_what_became_of_them(record: RunRecord) -> None:
    """Its record adds up what was lost, too, has the lowest rung, and counts tracked frames."""
    parts = [
        ChunkRecord(
            index=0,
            start=0,
            stop=12,
            masks=MASKS,
            state=None,
            attempts=1,
            degradations=(),
            rung=rung,
            device="cpu",
            seconds=2.0,
            frames_per_second=3.0,
            lost_seconds=lost,
            peak_rss_bytes=1,
            peak_vram_bytes=None,
            finished_at="2026-11-29T20:00:00+00:00",
        )
        for rung, lost in (
            (None, 0.0),
            (Rung(encode_batch=1, object_batch=4, image_size=64), 1.5),
            (Rung(encode_batch=1, object_batch=2, image_size=64), 2.0),
        )
    ]
    found = combined(parts, record.chunks[0], MASKS, frames=4)
    assert (found.seconds, found.lost_seconds, found.frames_per_second) == (6.0, 3.5, 4 / 6)
    assert found.rung == parts[2].rung
    assert combined(parts[:1], record.chunks[0], MASKS, frames=4).rung is None
