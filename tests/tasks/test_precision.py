"""The arithmetic of a run is chosen once; other machines continue in it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.errors import InputError
from samcore.masks.table import table_digest
from samcore.result.manifest import read_manifest
from samcore.run.folder import RunFolder
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.run.refs import ResultRef

FEW = {
    "image_size": 64,
    "stop": 12,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 70]}]}]},
}
"""What a CPU without units for bfloat16 can track."""
Ask = Callable[..., SegmentRequest]
OnCpu = Callable[..., None]
Segment = Callable[[SegmentRequest], ResultRef]


@pytest.mark.parametrize("begun_with_amx", [True, False])
def test_a_run_goes_on_in_the_arithmetic_that_it_was_begun_in(
    ask: Ask, on_cpu: OnCpu, begun_with_amx: bool
) -> None:
    """Another kind of CPU plans the same run, unless the person names a dtype."""
    request = ask(**FEW)
    on_cpu(amx=begun_with_amx)
    begun = plan_run.fn(request)
    on_cpu(amx=not begun_with_amx)
    went_on = plan_run.fn(request)

    begun_in, other = ("bfloat16", "float32") if begun_with_amx else ("float32", "bfloat16")
    assert went_on == begun
    assert RunFolder.from_ref(begun).record().settings.dtype == begun_in
    named = ask(**FEW, settings={"device": "cpu", "dtype": other})
    assert plan_run.fn(named).key != begun.key


def test_a_result_of_another_kind_of_cpu_is_the_result(
    ask: Ask, segment: Segment, on_cpu: OnCpu, tmp_path: Path
) -> None:
    """What was finished in bfloat16 is found by a machine without units for it; the result says
    its arithmetic; to ask for float32 is another request."""
    request = ask(**FEW)
    on_cpu(amx=True)
    result = segment(request)
    on_cpu(amx=False)

    assert plan_run.fn(request).key == result.key
    manifest = read_manifest(Path(result.destination))
    assert manifest.request.settings.dtype == "bfloat16"
    assert all("bfloat16" in chunk.device for chunk in manifest.chunks)
    elsewhere = ask(**FEW, work_dir=str(tmp_path / "elsewhere"))
    assert plan_run.fn(elsewhere).key == result.key
    with pytest.raises(InputError, match="another request"):
        plan_run.fn(ask(**FEW, settings={"device": "cpu", "dtype": "float32"}))


def test_bfloat16_does_not_depend_on_chunks(ask: Ask, segment: Segment, tmp_path: Path) -> None:
    """Five frames a chunk or all in one: the same masks in bfloat16 on a CPU."""
    asked = {**FEW, "settings": {"device": "cpu", "dtype": "bfloat16"}}
    whole = segment(ask(**asked, destination=str(tmp_path / "whole"), chunk_frames=99, overlap=0))
    parts = segment(ask(**asked, chunk_frames=5, overlap=2))

    digests = {table_digest(Path(one.destination) / "masks.parquet") for one in (whole, parts)}
    assert len(digests) == 1
    assert parts.seams_identical
