"""Whole runs with a model in a folder, as the hub has them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from samcore.errors import InputError
from samcore.masks.table import MaskReader, table_digest
from samcore.progress import Progress, listening
from samcore.result.reader import Result
from samcore.run.folder import RunFolder
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.request.early_checks import check_request
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import find_result
from tasks.run.refs import ResultRef, RunRef
from tests.samcore.models.transformers.small_models import save_sam3_video, small_net

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


def test_what_texts_say_is_found_by_the_model_that_tracks(
    ask: Ask,
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Without a detector SAM 3's own looks for several texts on the first frame: each object has
    its text as the label, and is tracked. What was found is kept for another plan of chunks."""
    folder = save_sam3_video(tmp_path_factory.mktemp("models") / "sam3")
    texts = ("red car", "person")
    found = {"text": texts, "min_score": 0.05, "min_area": 0.0001}
    request = ask(model=f"hf:{folder}", prompts=None, automatic=found, stop=10, chunk_frames=6)
    heard: list[Progress] = []

    with listening(heard.append):
        result = segment(request)

    searches = [step for step in heard if step.what == "looking for objects"]
    assert [(step.done, step.total, step.unit) for step in searches] == [(1, 1, "pictures")]
    told = Result(result.destination)
    assert {one.label for one in told.objects} == set(texts)
    with MaskReader(Path(result.destination) / "masks.parquet") as reader:
        assert all(reader.masks(frame) for frame in (0, 9))
    assert result.seams_identical
    heard.clear()
    with listening(heard.append):
        plan_run.fn(request.model_copy(update={"chunk_frames": 7}))
    assert "looking for objects" not in {step.what for step in heard}


def test_a_text_for_a_model_that_finds_none_is_refused_early(
    ask: Ask, model: str, tmp_path: Path
) -> None:
    """By its name before it is downloaded, and by its folder."""
    for name in ("sam2.1-large", "nano", model, None):
        request = ask(model=name, prompts=None, automatic={"text": ["person"]})
        with pytest.raises(InputError, match="does not look for what a text says; take") as caught:
            check_request(request, cache_dir=tmp_path)
        assert "\n" not in str(caught.value)


def test_texts_are_looked_for_throughout_whatever_the_chunks(
    ask: Ask,
    segment: Callable[[SegmentRequest], ResultRef],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """On every second frame, by the features that the tracker has of it: the trunk of the image
    encoder sees each frame once a chunk. One chunk gives the masks of several."""
    folder = save_sam3_video(tmp_path_factory.mktemp("models") / "sam3")
    found = {"text": ("red car", "person"), "min_score": 0.05, "min_area": 0.0001}
    found |= {"detect_every": 2, "association_options": {"hot_start": 3}}
    passes: list[int] = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: (
            passes.append(len(given[0])) if type(module).__name__ == "Sam3ViTModel" else None
        )
    )
    tables = []
    try:
        for chunk_frames, overlap in ((64, 0), (7, 3)):
            passes.clear()
            request = ask(
                model=f"hf:{folder}",
                prompts=None,
                automatic=found,
                stop=16,
                chunk_frames=chunk_frames,
                overlap=overlap,
                destination=str(tmp_path / f"by-{chunk_frames}"),
            )
            result = segment(request)
            tables.append(table_digest(Path(result.destination) / "masks.parquet"))
            if chunk_frames == 64:
                assert passes == [1] * 16
                assert {one.label for one in Result(result.destination).objects} >= {"person"}
    finally:
        hook.remove()
    assert tables[0] == tables[1]
