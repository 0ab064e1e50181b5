"""The records of a run, and the keys that follow from them."""

import pytest

from samcore.chunks.plan import plan_chunks
from samcore.config import TrackSettings
from samcore.models.registry import resolve_model
from samcore.result.records import ObjectRecord, RunRecord


@pytest.fixture
def record(tmp_path) -> RunRecord:
    """A run with everything chosen."""
    return RunRecord(
        source="/videos/dog.mp4",
        source_digest="d" * 64,
        objects=(ObjectRecord(id=1, label="dog", prompted_frames=(0,)),),
        prompts_digest="p" * 64,
        model=resolve_model("nano", cache_dir=tmp_path).model_copy(update={"fingerprint": "f"}),
        settings=TrackSettings(device="cpu", dtype="float32", encode_batch=4, object_batch=8),
        start=0,
        stop=100,
        chunks=plan_chunks(0, 100, chunk_frames=50, overlap=8),
        handoff="memory",
    )


def key_of(record: RunRecord, **settings: object) -> str:
    asked = TrackSettings(**{**record.settings.model_dump(), **settings})
    return record.model_copy(update={"settings": asked}).result_key


def test_keys_of_runs_without_what_came_later_stay(record):
    """What is published is found again by later versions, which have more settings."""
    assert record.result_key == "5fe819aacc557a6f19c8e64355ea27dc"


def test_retirement_is_in_the_key_with_all_its_rules(record):
    """Whether, when and how objects retire changes masks. A default that is written out is the
    default."""
    plain = key_of(record, retire_after=30)
    others = {
        record.result_key,
        plain,
        key_of(record, retire_after=31),
        key_of(record, retire_after=30, look_for_every=7),
        key_of(record, retire_after=30, archive_size=7),
    }

    assert len(others) == 5
    assert key_of(record, retire_after=30, look_for_every=10, archive_size=64) == plain


def test_a_change_of_the_rules_is_another_result(record, monkeypatch):
    """The constants that nobody sets are in the key, too."""
    before = key_of(record, retire_after=30)
    rules = TrackSettings(retire_after=30).retirement
    stricter = rules.model_copy(update={"found_iou": 0.9})
    monkeypatch.setattr(TrackSettings, "retirement", stricter)

    assert key_of(record, retire_after=30) != before
