"""What lies at the destination is a whole result or none."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from samcore.errors import InputError, SeamError
from samcore.result.manifest import published_key
from samcore.run.folder import RunFolder
from tasks.add_output import add_output
from tasks.check_seam import check_seam
from tasks.plan_run import plan_run
from tasks.publish import publish
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import find_result
from tasks.run.refs import ResultRef, RunRef

Ask = Callable[..., SegmentRequest]
Segment = Callable[[SegmentRequest], ResultRef]

TINY = {
    "image_size": 64,
    "stop": 12,
    "chunk_frames": 7,
    "overlap": 2,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
}


def test_manifest_lists_what_is_there(ask: Ask, segment: Segment) -> None:
    """Every file is listed with its true size and digest, the overlay too once it is drawn."""
    request = ask(**TINY)
    result = segment(request)
    run = plan_run.fn(request)
    add_output.fn(run, "overlay")

    folder = Path(result.destination)
    manifest = json.loads((folder / "manifest.json").read_text())
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert {file["name"] for file in manifest["files"]} == visible - {"manifest.json"}
    assert "overlay.mp4" in visible
    for file in manifest["files"]:
        content = (folder / file["name"]).read_bytes()
        assert file["size"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["frames"] == 12
    assert [chunk["index"] for chunk in manifest["chunks"]] == [0, 1]
    assert len(json.loads((folder / "seams.json").read_text())["seams"]) == 1
    found = find_result(run, RunFolder.from_ref(run).record())
    assert found is not None
    assert found.has_overlay


def test_peaks_are_those_of_all_that_was_done(
    ask: Ask, track_chunks: Callable[..., RunRef]
) -> None:
    """The most memory of any chunk or of the prompt pass, which may need more than tracking."""
    request = ask(**TINY)
    run = track_chunks(request)
    folder = RunFolder.from_ref(run)
    done = folder.prompt_pass()
    assert done is not None
    assert done.peak_rss_bytes is not None
    assert done.peak_rss_bytes > 100e6  # torch is there
    folder.finish_prompt_pass(done.model_copy(update={"peak_rss_bytes": 10**15}))

    publish.fn(run, request)

    manifest = json.loads((Path(run.destination) / "manifest.json").read_text())
    assert manifest["peaks"]["rss_bytes"] == 10**15


def test_damaged_result_is_published_again(ask: Ask, segment: Segment) -> None:
    """A result whose masks have changed is none; publishing again brings the same bytes back."""
    request = ask(**TINY)
    masks = Path(segment(request).destination) / "masks.parquet"
    content = masks.read_bytes()
    masks.write_bytes(content[:-4] + b"PAR?")

    run = plan_run.fn(request)
    assert find_result(run, RunFolder.from_ref(run).record()) is None
    publish.fn(run, request)

    assert masks.read_bytes() == content
    assert find_result(run, RunFolder.from_ref(run).record()) is not None


def test_another_plan_finds_the_result(ask: Ask, segment: Segment) -> None:
    """The same request with chunks of another length has the result that is there already; not so
    if the hand-off makes masks depend on the cuts."""
    segment(ask(**TINY))
    run = plan_run.fn(ask(**{**TINY, "chunk_frames": 5, "overlap": 2}))

    found = find_result(run, RunFolder.from_ref(run).record())

    assert found is not None
    assert found.was_there
    assert not found.superseded
    segment(ask(**TINY, handoff="mask", force=True))
    with pytest.raises(InputError, match="another request"):
        plan_run.fn(ask(**{**TINY, "chunk_frames": 5}, handoff="mask"))


def test_another_result_is_not_replaced_unasked(ask: Ask, segment: Segment) -> None:
    """Another request's result is refused with the way out, and replaced whole with `force`."""
    first = segment(ask(**TINY))
    add_output.fn(plan_run.fn(ask(**TINY)), "overlay")
    other = {**TINY, "stop": 10}

    with pytest.raises(InputError, match=r"another request.*-o.*--force"):
        plan_run.fn(ask(**other))
    second = segment(ask(**other, force=True))

    assert published_key(Path(first.destination)) == second.key != first.key
    # The first one's overlay does not show what is there now.
    assert not (Path(first.destination) / "overlay.mp4").exists()


def test_disagreement_fails_if_asked(
    ask: Ask, track_chunks: Callable[..., RunRef], caplog: pytest.LogCaptureFixture
) -> None:
    """Chunks that disagree are a warning, or an error that names the seam, as asked."""
    loose = ask(**TINY, handoff="mask", min_agreement=1.0)
    run = track_chunks(loose)  # a hand-off by masks never agrees to the last bit
    assert any("disagree" in record.getMessage() for record in caplog.records)

    strict = ask(**TINY, handoff="mask", min_agreement=1.0, on_disagreement="fail")
    with pytest.raises(SeamError, match="chunks 0 and 1 disagree"):
        check_seam.fn(run, strict, 1)


def test_new_labels_need_no_tracking(ask: Ask, segment: Segment) -> None:
    """Objects can be named anew: the masks are published again from the chunks, as they were."""
    masks = Path(segment(ask(**TINY)).destination) / "masks.parquet"
    before = masks.read_bytes()
    run = plan_run.fn(ask(**TINY))
    done = RunFolder.from_ref(run).chunk_path(0) / "done.json"
    tracked = done.stat().st_mtime_ns

    named = {"objects": [{**TINY["prompts"]["objects"][0], "label": "dog"}]}
    request = ask(**{**TINY, "prompts": named})
    run = plan_run.fn(request)
    assert find_result(run, RunFolder.from_ref(run).record()) is None
    segment(request)

    found = find_result(run, RunFolder.from_ref(run).record())
    assert found is not None
    assert masks.read_bytes() == before
    assert done.stat().st_mtime_ns == tracked
    manifest = json.loads((masks.parent / "manifest.json").read_text())
    assert [item["label"] for item in manifest["request"]["objects"]] == ["dog"]
