"""What a page says that a run with other prompts would track."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.page.redo import what_to_redo, why_everything
from samcore.prompts.file import parse_prompts
from samcore.prompts.kept import from_file
from samcore.result.manifest import Manifest, read_manifest
from tasks.publish import publish
from tasks.request.segment_request import SegmentRequest
from tests.tasks.conftest import _track_chunks

BOX = {"frame": 0, "box": [10, 10, 60, 60]}
OTHER = {"frame": 0, "box": [60, 5, 120, 50]}
CLICK = {"points": [[80, 60, 1]], "from_here": True}


@pytest.fixture
def said(ask: Callable[..., SegmentRequest], tmp_path: Path) -> Callable[..., str]:
    """The line about two objects on 24 frames in chunks of 10, asked for with other prompts."""
    before = {"objects": [{"id": 1, "prompts": [BOX]}, {"id": 2, "prompts": [OTHER]}]}
    request = ask(prompts=before, stop=24, chunk_frames=10, overlap=2, image_size=64)
    publish.fn(_track_chunks(request), request)
    manifest: Manifest = read_manifest(tmp_path / "out")
    work = request.work_path

    def say(*objects: list[dict[str, Any]]) -> str:
        items = [{"id": n, "prompts": entries} for n, entries in enumerate(objects, 1) if entries]
        prompts = from_file(parse_prompts({"objects": items}))
        why = why_everything(manifest, work, in_bucket=False)
        found = what_to_redo(manifest, prompts, work, why=why)
        assert found["changed"] == bool(found["text"])
        return str(found["text"])

    return say


def test_the_line_says_what_is_touched(said: Callable[..., str], tmp_path: Path) -> None:
    """Nothing where the prompts are the same; one object from its correction on; a new one; one
    that is dropped; and everything, with the reason, where the run's folder is gone."""
    assert said([BOX], [OTHER]) == ""
    corrected = {"frame": 13, **CLICK}
    assert said([BOX], [OTHER, corrected]) == "tracks object 2 from frame 13: 11 frames"
    both = said([BOX, corrected], [OTHER, {"frame": 20, **CLICK}])
    assert (
        both == "tracks object 1 from frame 13: 11 frames; tracks object 2 from frame 20: 4 frames"
    )
    assert "drops object 2" in said([BOX], [])
    shutil.rmtree(tmp_path / "out" / ".longtake" / "runs")
    gone = said([BOX], [OTHER, corrected])
    assert gone.startswith(
        "tracks all 24 frames again: the work folder of the finished run is gone"
    )
