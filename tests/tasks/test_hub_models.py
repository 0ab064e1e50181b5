"""Whole runs with a model in a folder, as the hub has them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.masks.table import table_digest
from samcore.run.folder import RunFolder
from tasks.publish import publish
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import find_result
from tasks.run.refs import ResultRef, RunRef
from tests.samcore.models.transformers.small_models import small_net

Ask = Callable[..., SegmentRequest]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small SAM 2 in a folder, as it is named."""
    folder = tmp_path_factory.mktemp("models") / "small"
    small_net("sam2").save_pretrained(folder)
    return f"hf:{folder}"


def test_a_run_goes_on_and_its_masks_do_not_depend_on_the_chunks(
    ask: Ask,
    segment: Callable[[SegmentRequest], ResultRef],
    track_chunks: Callable[..., RunRef],
    model: str,
    tmp_path: Path,
) -> None:
    """One chunk gives the masks of several, of which all but the first were tracked by a second
    run that went on; the report and the record name the model."""
    whole = segment(
        ask(model=model, stop=34, chunk_frames=64, overlap=0, destination=str(tmp_path / "whole"))
    )

    request = ask(model=model, stop=34, chunk_frames=14, overlap=4, report=True)
    track_chunks(request, only=1)
    run = track_chunks(request)
    result = publish.fn(run, request)

    tables = [Path(ref.destination) / "masks.parquet" for ref in (whole, result)]
    assert table_digest(tables[0]) == table_digest(tables[1])
    assert result.seams_identical
    record = RunFolder.from_ref(run).record()
    assert record.model.family == "transformers"
    assert record.model.name == model
    found = find_result(run, record)
    assert found is not None
    assert found.was_there


def test_objects_are_found_by_it(
    ask: Ask, segment: Callable[[SegmentRequest], ResultRef], model: str
) -> None:
    """The mask generator runs on whatever model tracks."""
    found = {"points_per_side": 2, "min_predicted_iou": 0, "min_stability": 0, "max_objects": 2}

    result = segment(ask(model=model, prompts=None, automatic=found, stop=3))

    assert result.objects >= 1
