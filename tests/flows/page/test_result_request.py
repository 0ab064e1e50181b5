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
    ],
)
def test_a_result_is_asked_for_again(
    ask: Callable[..., SegmentRequest], tmp_path: Path, changes: dict[str, Any]
) -> None:
    """From what a manifest says, and the prompts that its run keeps, comes a request, and a command
    line, with the very same keys: nothing would be tracked again."""
    request = ask(**changes)
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
    assert track_words(again)[:2] == ["track", request.source]
    prompts.write_text(json.dumps({"objects": []}))
    assert bring_prompts(manifest, request.work_path, prompts)  # what is there stays
    assert json.loads(prompts.read_text()) == {"objects": []}
    assert not bring_prompts(manifest, tmp_path / "gone", tmp_path / "other.json")
