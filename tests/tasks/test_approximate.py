"""Approximate options through the tasks: in record, key and report, whatever the cut."""

from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.machine import compiling
from samcore.masks.table import table_digest
from samcore.models.loader import unload_model
from samcore.report.of_manifest import report_facts
from samcore.result.manifest import read_manifest
from tasks.request.early_checks import check_request
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]
APPROXIMATE = {"device": "cpu", "encode_every": 3, "memory_pool": 2}


def test_masks_do_not_depend_on_chunks(ask: Ask, segment: Segment, tmp_path: Path) -> None:
    """Chunks that begin between two encoded frames give the masks of a single one."""
    asked = {"image_size": 64, "stop": 32, "settings": APPROXIMATE}
    whole = segment(ask(**asked, destination=str(tmp_path / "whole"), chunk_frames=99, overlap=0))
    parts = segment(ask(**asked, chunk_frames=10, overlap=2))

    digests = {table_digest(Path(one.destination) / "masks.parquet") for one in (whole, parts)}
    assert len(digests) == 1
    assert parts.seams_identical


def test_a_result_says_that_it_is_approximate(ask: Ask, segment: Segment) -> None:
    """In its record, its key and its report; an exact result has the key that it always had."""
    result = segment(ask(image_size=64, stop=32, settings=APPROXIMATE))

    manifest = read_manifest(Path(result.destination))
    record = manifest.request
    assert record.settings.approximations == {"encode_every": 3, "memory_pool": 2}
    about = dict(report_facts(manifest, ()).about)
    assert about["approximate"] == "encode_every 3, memory_pool 2"
    keys = {
        record.model_copy(update={"settings": record.settings.model_copy(update=change)}).result_key
        for change in ({}, {"encode_every": 1}, {"memory_pool": 1}, {"encode_every": 2})
    }
    assert len(keys) == 4
    assert not TrackSettings().approximations


@pytest.mark.parametrize("model", ["edgetam", "sam3", "hf:some/model"])
def test_what_other_families_cannot_is_refused_at_once(
    ask: Ask, tmp_path: Path, model: str
) -> None:
    """One line, before a model is looked for."""
    with pytest.raises(InputError, match="memory_pool 2 is for models of the family sam2"):
        check_request(ask(model=model, settings=APPROXIMATE), cache_dir=tmp_path)
    with pytest.raises(InputError, match="compile is for models of the family sam2, got one of tr"):
        check_request(ask(model=model, compile=True), cache_dir=tmp_path)


def test_a_part_that_cannot_be_compiled_is_recorded(
    ask: Ask, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last bits are other ones than those of a machine that can compile it: the result says so,
    of the prompt pass and of each chunk, once for each part."""

    def broken(*given: object) -> object:
        raise RuntimeError("no space for what is compiled")

    monkeypatch.setattr(compiling, "_compile", broken)
    unload_model()
    asked = {"settings": {"device": "cpu"}, "compile": True, "image_size": 64, "stop": 32}
    result = segment(ask(**asked, chunk_frames=20, overlap=2))
    unload_model()

    manifest = read_manifest(Path(result.destination))
    for chunk in manifest.chunks:
        parts = [step.partition("the ")[2].partition(" cannot")[0] for step in chunk.degradations]
        wanted = ["image encoder", "mask decoder", "memory encoder", "memory attention"]
        assert sorted(parts) == sorted(wanted)
        assert all("no space for what is compiled" in step for step in chunk.degradations)
        assert not chunk.quality_loss
        assert chunk.rung is None
