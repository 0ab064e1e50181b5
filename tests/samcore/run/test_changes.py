"""What other prompts change of a finished run."""

from dataclasses import replace

import pytest

from samcore.chunks.plan import plan_chunks
from samcore.config import TrackSettings
from samcore.models.registry import resolve_model
from samcore.prompts.prompt import Prompt
from samcore.result.records import RunRecord, WarmStartRecord
from samcore.run.changes import Changes, compare_prompts, differ_in_prompts, why_not_taken

BOX = (10.0, 10.0, 60.0, 60.0)
BEFORE = (
    Prompt(1, 0, box_xyxy_px=BOX),
    Prompt(2, 6, box_xyxy_px=BOX),
    Prompt(2, 20, box_xyxy_px=BOX, from_here=True),
)
HERE = Prompt(1, 14, box_xyxy_px=BOX, from_here=True)
NOW = replace(HERE, from_here=False)
NEW = Prompt(3, 9, box_xyxy_px=BOX)


@pytest.fixture
def record(tmp_path):
    return RunRecord(
        source="/video.mp4",
        source_digest="sha256:" + "0" * 64,
        objects=(),
        prompts_digest="a",
        model=resolve_model("nano", cache_dir=tmp_path),
        settings=TrackSettings(device="cpu", dtype="float32", encode_batch=1, object_batch=16),
        start=0,
        stop=30,
        chunks=plan_chunks(0, 30, chunk_frames=8, overlap=3),
        handoff="memory",
    )


def with_settings(record, **changes):
    return record.model_copy(update={"settings": record.settings.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("settings", "after", "expected"),
    [
        ({}, BEFORE, Changes({}, frozenset(), (1, 2), ())),
        ({}, (*BEFORE, HERE), Changes({1: 14}, frozenset(), (2,), ())),
        ({}, BEFORE[:2], Changes({2: 20}, frozenset(), (1,), ())),
        ({}, (*BEFORE, NOW), Changes({1: 0, 2: 0}, frozenset({1}), (), (), 0)),
        ({}, (*BEFORE, NEW), Changes({1: 9, 2: 9, 3: 9}, frozenset({3}), (), (), 9)),
        ({}, BEFORE[:1], Changes({1: 6}, frozenset(), (), (2,), 6)),
        ({"object_batch": 1}, (*BEFORE, NOW), Changes({1: 0}, frozenset({1}), (2,), ())),
        ({"object_batch": 1}, (*BEFORE, NEW), Changes({3: 9}, frozenset({3}), (1, 2), ())),
        ({"object_batch": 1}, BEFORE[:1], Changes({}, frozenset(), (1,), (2,))),
        # What this policy reads follows from the masks, so no other object can stand in for it.
        (
            {"memory_policy": "samurai"},
            (*BEFORE, HERE),
            Changes({1: 14, 2: 14}, frozenset(), (), (), 14),
        ),
    ],
)
def test_what_can_be_others(record, settings, after, expected):
    """A prompt that holds from its frame on touches its object from there on; any other change all
    frames of its object, and the last bits of those that share batches with it."""
    assert compare_prompts(with_settings(record, **settings), BEFORE, after) == expected


def test_only_prompts_may_differ(record):
    """Runs with another model, other frames or other chunks have nothing in common."""
    other = record.model_copy(update={"prompts_digest": "b"})

    assert differ_in_prompts(record, other)
    assert not differ_in_prompts(record, record)
    for change in (
        {"settings": record.settings.model_copy(update={"encode_every": 2})},
        {"chunks": plan_chunks(0, 30, chunk_frames=9, overlap=3)},
        {"source_digest": "sha256:" + "1" * 64},
    ):
        assert not differ_in_prompts(record.model_copy(update=change), other)


def test_objects_that_are_not_independent(record):
    """Where objects depend on each other the reason is one line."""
    warm = WarmStartRecord.model_construct(source="x", objects=(1,))

    assert why_not_taken(record) is None
    assert "hand-off mask" in str(why_not_taken(record.model_copy(update={"handoff": "mask"})))
    assert "retire" in str(why_not_taken(with_settings(record, retire_after=5)))
    assert "another video" in str(why_not_taken(record.model_copy(update={"warm_start": warm})))
