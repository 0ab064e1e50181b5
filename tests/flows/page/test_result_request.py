"""A result is asked for again as it was made."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.cli.command_line import track_words
from flows.page.result_request import bring_prompts, request_fields
from samcore.run.folder import RunFolder
from tasks.plan_run import plan_run
from tasks.request.segment_request import SegmentRequest, validate_request


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stop": 40, "chunk_frames": 30, "overlap": 3, "handoff": "mask"},
        {"stop": 60, "chunk_frames": 100, "image_size": 64, "plain_engine": True},
        {
            "settings": {
                "device": "cpu",
                "memory_policy": "samurai",
                "memory_policy_options": {"stable_iou": 0.5},
                "retire_after": 30,
                "look_for_every": 5,
                "encode_every": 2,
            }
        },
        {"every": 5, "stop": 58, "chunk_frames": 8, "overlap": 2, "further_parts": ["again"]},
        {"fps": 12.0, "chunk_frames": 8, "overlap": 2},
        {"direction": "both"},
        {"shards": 2},
    ],
)
def test_a_result_is_asked_for_again(
    ask: Callable[..., SegmentRequest], clip: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """From what a manifest says, and the prompts that its run keeps, comes a request, and a command
    line, with the very same keys: nothing would be tracked again."""
    further = [str(clip) for _ in changes.get("further_parts", ())]
    request = ask(**{**changes, "further_parts": further})
    folder = RunFolder.from_ref(plan_run.fn(request))
    manifest: Any = SimpleNamespace(
        request=folder.record(), video=folder.video(), files=(), exports=("mot-txt",)
    )
    prompts = tmp_path / "page" / "prompts.json"
    assert bring_prompts(manifest, request.work_path, prompts)

    again = validate_request(
        **request_fields(manifest), destination=str(tmp_path / "again"), prompts=str(prompts)
    )

    assert (again.report, again.formats) == (False, ("mot-txt",))
    record = RunFolder.from_ref(plan_run.fn(again)).record()
    assert record.result_key == folder.record().result_key
    assert record.work_key == folder.record().work_key
    words = track_words(again)
    assert words[: 2 + len(further)] == ["track", request.source, *further]
    assert ("--join" in words) == bool(further)
    prompts.write_text(json.dumps({"objects": []}))
    assert bring_prompts(manifest, request.work_path, prompts)  # what is there stays
    assert json.loads(prompts.read_text()) == {"objects": []}
    assert not bring_prompts(manifest, tmp_path / "gone", tmp_path / "other.json")


def test_chunks_that_found_their_objects_themselves_are_not_asked_for(
    ask: Callable[..., SegmentRequest],
) -> None:
    """A page has prompts alone, and the hand-off wants a detector: it would be refused."""
    request = ask(handoff="match", automatic={"max_objects": 2})
    folder = RunFolder.from_ref(plan_run.fn(request))
    manifest: Any = SimpleNamespace(
        request=folder.record(), video=folder.video(), files=(), exports=()
    )
    assert request_fields(manifest)["handoff"] == "memory"
