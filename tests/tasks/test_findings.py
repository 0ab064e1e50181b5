"""What a person should look at, in the manifest and in what is shown of a result."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.commands.lines import result_lines
from flows.segment_video import end_state
from samcore.result.published import FindingList, FindingRecord
from samcore.run.folder import RunFolder
from tasks.add_output import add_output
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest
from tasks.results.artifacts import result_page
from tasks.results.open import find_result, open_result_store
from tasks.run.refs import ResultRef, RunRef

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]

LEAVES = {
    "stop": 12,
    "chunk_frames": 7,
    "overlap": 2,
    "handoff": "mask",
    "min_agreement": 1.0,
    "prompts": {
        "objects": [
            {"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]},
            {"id": 2, "prompts": [{"frame": 3, "box": [1, 1, 5, 5]}]},
        ]
    },
}
"""Object 2 is a corner without anything in it; and chunks that are handed masks only differ."""


@pytest.fixture
def published(ask: Ask, segment: Segment) -> tuple[ResultRef, RunRef]:
    """A result with findings, without a report."""
    request = ask(**LEAVES)
    return segment(request), plan_run.fn(request)


def test_findings_are_in_the_manifest_without_a_report(
    published: tuple[ResultRef, RunRef],
) -> None:
    """They are there when the masks are, with their number; the report that is made later counts
    the same, and a run that finds the result there tells of them again."""
    result, run = published

    manifest = json.loads((Path(result.destination) / "manifest.json").read_text())
    assert not result.has_report
    assert result.findings is not None
    found = manifest["findings"]
    assert found == result.findings.model_dump(mode="json")
    assert found["total"] == sum(found["counts"].values()) >= 2
    assert found["counts"]["prompt"] >= 1
    assert found["counts"]["seam"] == 1
    missed = [item for item in found["worst"] if item["kind"] == "prompt"]
    assert (3, 2) in [(item["frame"], item["object_id"]) for item in missed]
    assert max(found["counts"].values()) <= 3
    assert len(found["worst"]) == found["total"]

    page = Path(add_output.fn(run, "report")).read_text()
    assert f">{found['total']}</b><span>to look at</span>" in page
    assert "Chunks that disagree" in page
    again = find_result(run, RunFolder.from_ref(run).record())
    assert again is not None
    assert again.findings == result.findings


def test_terminal_tells_of_findings(published: tuple[ResultRef, RunRef]) -> None:
    """The number, and a line for each of the first ones, with frame and object."""
    result, _ = published
    assert result.findings is not None

    lines = list(result_lines(result, seconds=1))

    at = lines.index(f"to look at: {result.findings.total} findings")
    assert any(line.startswith("  frame 3, object 2: ") for line in lines[at + 1 :])
    clean = result.model_copy(
        update={"findings": FindingList(total=0, counts={}, worst=()), "was_there": True}
    )
    assert "nothing odd was found in these masks" in list(result_lines(clean, seconds=1))
    none = clean.model_copy(update={"objects": 0})
    told = list(result_lines(none, seconds=1))
    assert any(line.startswith("no detector found an object") for line in told)
    assert not any("odd" in line for line in told)
    assert end_state(none).message == "no detector found an object that stayed"
    assert end_state(clean).message == "nothing odd was found in the masks"
    old = list(result_lines(clean.model_copy(update={"findings": None}), seconds=1))
    assert not any("odd" in line or "to look at" in line for line in old)


def test_of_many_only_the_first_are_told() -> None:
    """However many there are, the lines are few and the last one counts the others."""
    item = FindingRecord(kind="jump", frame=5, object_id=1, text="moved")
    many = FindingList(total=900, counts={"jump": 900}, worst=(item,) * 3)
    assert many.lines(2) == ["frame 5, object 1: moved", "frame 5, object 1: moved", "and 898 more"]
    assert many.lines(9)[-1] == "and 897 more"
    assert FindingList(total=1, counts={"jump": 1}, worst=(item,)).lines(5) == [str(item)]


def test_page_in_the_ui_tells_of_findings(published: tuple[ResultRef, RunRef]) -> None:
    """As a list, without anything that the UI would take for markup."""
    _, run = published
    manifest = open_result_store(run).read_manifest(run.key)
    assert manifest is not None
    hostile = FindingRecord(
        kind="damage", frame=0, object_id=None, text="[x](javascript:alert(1))\n# <img src=x>"
    )
    one = FindingList(total=4, counts={"damage": 4}, worst=(hostile,))
    changed = manifest.model_copy(update={"findings": one})

    page = result_page(changed, None, links={}, location="/out")

    assert "**4 findings to look at**\n\n- frame 0: x javascript:alert 1 # img src=x" in page
    assert "- and 3 more" in page
    assert "](" not in page
