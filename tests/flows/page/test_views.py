"""What a page shows of a run at work, of its result, and of the result that was there before."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.commands.open_page import what_to_open
from flows.page.run_desk import RunDesk
from flows.page.views import PublishedView, RunView, keep_copy, prompts_of
from samcore.masks.table import MaskReader
from samcore.result.folder import LocalResults
from samcore.run.folder import RunFolder
from tasks.publish import publish
from tasks.request.segment_request import SegmentRequest
from tasks.results.open import open_result_store
from tasks.settings import load_settings
from tasks.track_chunk import track_chunk
from tests.tasks.conftest import _track_chunks

SMALL = {"stop": 24, "chunk_frames": 14, "overlap": 4, "image_size": 64}
"""[0, 14) and [10, 24)."""


def packed(view: RunView | PublishedView, frame: int) -> list[bytes]:
    return [row.packed() for row in view.rows(frame)]


def test_a_run_then_its_result_then_the_one_before(
    ask: Callable[..., SegmentRequest], tmp_path: Path
) -> None:
    """Lanes grow with finished chunks and end as those of the result; the result's prompts are
    found; a copy of it stays as it is, at no cost, when the result is replaced."""
    request = ask(**SMALL, prompts=_box(9))
    run = _track_chunks(request, only=1)
    view = RunView(RunFolder.from_ref(run))
    assert view.covered == [(0, 14)]
    lanes = view.lanes(24)
    assert lanes["objects"][0]["frames"] == 10  # the rest is the next chunk's
    assert lanes["bins"] == 24

    track_chunk.fn(run, 1)
    view.look()
    grown = view.lanes(24)
    assert grown["objects"][0]["frames"] == 24
    result = publish.fn(run, request)
    store = LocalResults(Path(result.destination))
    manifest = store.listed()
    assert manifest is not None
    prompts = prompts_of(manifest, request.work_path)
    assert prompts is not None
    assert [(one.obj_id, one.frame_idx) for one in prompts] == [(1, 0)]
    published = PublishedView(manifest, store.fetch, prompts)
    assert published.lanes(24)["objects"] == grown["objects"]
    assert published.covered == [(0, 24)]
    for frame in (0, 12, 23):
        assert packed(published, frame) == packed(view, frame)
    shown = [packed(published, frame) for frame in range(24)]

    before = LocalResults(tmp_path / "before")
    assert keep_copy(store, before.folder)
    assert (before.folder / "masks.parquet").samefile(store.folder / "masks.parquet")
    other = ask(**SMALL, prompts=_box(30), force=True)
    publish.fn(_track_chunks(other), other)

    kept = before.read_manifest()  # reads all bytes
    assert kept is not None
    assert kept.key == manifest.key
    old = PublishedView(kept, before.fetch)
    assert [packed(old, frame) for frame in range(24)] == shown
    with MaskReader(store.folder / "masks.parquet") as reader:
        assert [row.packed() for row in reader.rows(5, 6)] != shown[5]
    assert keep_copy(store, before.folder)  # what was kept there goes
    assert LocalResults(before.folder).published_key() == other_key(store)
    assert not keep_copy(LocalResults(tmp_path / "nothing"), tmp_path / "copy")


def _box(left: int) -> dict[str, object]:
    box = [left, 9, left + 50, 60]
    return {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": box}]}]}


def other_key(store: LocalResults) -> str:
    manifest = store.listed()
    assert manifest is not None
    return manifest.key


def test_a_result_in_a_bucket(
    bucket: str,
    clip: Path,
    ask: Callable[..., SegmentRequest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`longtake open s3://…` shows a result as one in a folder; its prompts are beside the video,
    and what a run would replace can be kept on this machine."""
    monkeypatch.chdir(tmp_path)
    video = tmp_path / "v.mp4"
    shutil.copy(clip, video)
    place = f"s3://{bucket}/out"
    request = ask(**SMALL, source=str(video), prompts=_box(9), destination=place)
    publish.fn(_track_chunks(request), request)

    asked = what_to_open(place, {}, None, load_settings())
    assert asked.folder == tmp_path / "v.mp4.longtake"
    told: list[dict[str, Any]] = []
    prompts = str(asked.folder / "prompts.json")
    again = asked.request.model_copy(update={"prompts": prompts, "automatic": None})
    desk = RunDesk(again, folder=asked.folder, tell=told.append)
    try:
        state = desk.state()
        assert (state["state"], state["covered"]) == ("done", [(0, 24)])
        assert f"--output {place}" in state["command"]
        lanes = desk.lanes(24)
        assert lanes is not None
        assert lanes["objects"][0]["frames"] == 24
        assert [row.object_id for row in desk.rows(20)] == [1]
        assert keep_copy(open_result_store(place), tmp_path / "kept")
        assert desk.rows(20, "before") == []
    finally:
        desk.close()
    kept = LocalResults(tmp_path / "kept").read_manifest()
    assert kept is not None
    assert kept.key == state["key"]
