"""The flow as Prefect runs it."""

import io
import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import FlowRunSort

from flows.commands.console import Terminal
from flows.commands.run_local import run_local
from flows.segment_video import segment_video
from samcore.errors import SeamError
from samcore.masks.table import MaskReader
from samcore.result.manifest import MASKS
from tasks.progress.artifact import artifact_key
from tasks.request.resolve import ResolvedRun, resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.settings import load_settings
from tests.held_scan import SMALL, held_scan

Ask = Callable[..., SegmentRequest]

TWO_CHUNKS = {
    "image_size": 64,
    "stop": 14,
    "chunk_frames": 8,
    "overlap": 2,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
}


def _last_run(api: str) -> tuple[str, list[TaskRun]]:
    """Name of the last flow run, and its task runs."""
    with get_client(sync_client=True) as client:
        assert str(client.api_url).rstrip("/") == api.rstrip("/")
        (run,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_="segment")),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id={"any_": [run.id]}),  # type: ignore[arg-type]
        )
    return run.name, tasks


def test_a_run_and_the_same_run_again(
    prefect_api: str, live_database: str, ask: Ask, tmp_path: Path
) -> None:
    """The run's tasks say video and chunk; the same request again tracks nothing; and nothing of
    the video or its masks is in Prefect's database."""
    request = ask(**TWO_CHUNKS)
    result = segment_video(request)
    assert not result.was_there
    assert result.seams_identical

    name, tasks = _last_run(prefect_api)
    assert name == "clip.mp4: segment"
    assert sorted(task.name for task in tasks) == [
        "clip.mp4: check seam before chunk 1",
        "clip.mp4: encode prompts",
        "clip.mp4: plan",
        "clip.mp4: publish",
        "clip.mp4: publish chunk 0",
        "clip.mp4: publish chunk 1",
        "clip.mp4: track chunk 0",
        "clip.mp4: track chunk 1",
    ]
    assert {task.state_name for task in tasks} == {"Completed"}

    manifest = Path(result.destination) / "manifest.json"
    before = manifest.stat().st_mtime_ns
    again = segment_video(request)
    assert again.was_there
    assert manifest.stat().st_mtime_ns == before
    _, tasks = _last_run(prefect_api)
    assert sorted(task.name for task in tasks) == ["clip.mp4: plan"]

    _check_database(live_database, Path(result.destination) / MASKS)


def test_a_command_plans_once(prefect_api: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command hands the run that it has planned on to the flow, which does not plan again; the
    same command again finds the result and calls no flow."""
    planned: list[SegmentRequest] = []

    def counted(request: SegmentRequest, **options: Any) -> ResolvedRun:
        planned.append(request)
        return resolve_request(request, **options)

    for module in ("tasks.request.resolve", "tasks.plan_run"):
        monkeypatch.setattr(f"{module}.resolve_request", counted)
    request, terminal = ask(**TWO_CHUNKS), Terminal(io.StringIO())

    result = run_local(request, terminal, settings=load_settings(), verbose=True)

    assert not result.was_there
    assert planned == [request]
    _, tasks = _last_run(prefect_api)
    names = {task.name for task in tasks}
    assert "clip.mp4: track chunk 1" in names
    assert "clip.mp4: plan" not in names

    assert run_local(request, terminal, settings=load_settings(), verbose=True).was_there
    assert len(planned) == 2
    assert {task.id for task in _last_run(prefect_api)[1]} == {task.id for task in tasks}


def _check_database(database: str, masks: Path) -> None:
    with MaskReader(masks) as reader:
        counts = max((row.counts for row in reader.rows()), key=len)
    assert len(counts) > 20
    content = b"".join(path.read_bytes() for path in Path(database).parent.glob("*.db*"))
    assert b"segment-video" in content
    assert counts not in content
    connection = sqlite3.connect(database)
    try:
        tables = [name for (name,) in connection.execute("select name from sqlite_master")]
        assert "task_run_state" in tables
        (largest,) = connection.execute("select max(length(data)) from task_run_state").fetchone()
    finally:
        connection.close()
    # A reference to a result, not the result: a mask table is tens of thousands of bytes.
    assert (largest or 0) < 2_000


def test_progress_is_an_artifact(prefect_api: str, ask: Ask) -> None:
    """A run ends with its progress at 100 in the UI."""
    result = segment_video(ask(**TWO_CHUNKS))
    with get_client(sync_client=True) as client:
        artifacts = client.request(
            "POST",
            "/artifacts/filter",
            json={"artifacts": {"key": {"any_": [artifact_key(result.key)]}}},
        ).json()
    assert {artifact["type"] for artifact in artifacts} == {"progress"}
    assert max(artifact["data"] for artifact in artifacts) == 100
    assert "frame 14 of 14" in artifacts[0]["description"]


def test_finished_chunks_show_as_resumed(prefect_api: str, ask: Ask) -> None:
    """A result without its manifest is none; it is published again from the finished chunks, whose
    tasks say Resumed."""
    result = segment_video(ask(**TWO_CHUNKS))
    destination = Path(result.destination)
    masks = (destination / MASKS).read_bytes()
    (destination / "manifest.json").unlink()

    again = segment_video(ask(**TWO_CHUNKS))

    assert not again.was_there
    assert (destination / MASKS).read_bytes() == masks
    _, tasks = _last_run(prefect_api)
    states = {task.name: task.state_name for task in tasks if "track" in task.name}
    assert states == {"clip.mp4: track chunk 0": "Resumed", "clip.mp4: track chunk 1": "Resumed"}


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no header's claim without it")
def test_early_chunks_show_as_resumed(
    prefect_api: str, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """What was tracked while the video was scanned shows as after a resume; the log says why, and
    how far tracking was showed meanwhile."""
    caplog.set_level(logging.INFO, logger="tasks")
    with held_scan() as scan:
        result = segment_video(ask(**SMALL, stop=31))
        assert scan.early >= 15
    _, tasks = _last_run(prefect_api)
    states = {task.name[-7:]: task.state_name for task in tasks if "track" in task.name}
    assert states == {
        "chunk 0": "Resumed",
        **{f"chunk {index}": "Completed" for index in (1, 2, 3)},
    }
    assert "encode prompts" not in " ".join(task.name for task in tasks)
    assert "1 chunk tracked while the video was scanned" in caplog.text
    with get_client(sync_client=True) as client:
        made = {"artifacts": {"key": {"any_": [artifact_key(result.key)]}}}
        artifacts = client.request("POST", "/artifacts/filter", json=made).json()
    assert len({artifact["task_run_id"] for artifact in artifacts}) == 2


def test_disagreement_ends_the_run(prefect_api: str, ask: Ask) -> None:
    """A seam below the bar fails the run once, without a retry and with nothing published."""
    request = ask(**TWO_CHUNKS, handoff="mask", min_agreement=1.0, on_disagreement="fail")
    with pytest.raises(SeamError):
        segment_video(request)

    assert not (request.destination_place / "manifest.json").exists()
    _, tasks = _last_run(prefect_api)
    (failed,) = [task for task in tasks if task.state_name == "Failed"]
    assert failed.name == "clip.mp4: check seam before chunk 1"
    assert failed.run_count == 1


def test_two_runs_of_one_request_take_turns(
    prefect_api: str, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """A run waits, and says so, while another process works on the same request."""
    request = ask(**TWO_CHUNKS)
    folder = resolve_request(request, cache_dir=load_settings().cache_dir).folder
    held = folder.lock()
    held.__enter__()
    said = threading.Event()
    before: list[bool] = []

    def release() -> None:
        while not any("waiting" in record.getMessage() for record in list(caplog.records)):
            if said.wait(0.05):
                return
        before.append((request.destination_place / "masks.parquet").exists())
        held.__exit__(None, None, None)

    other = threading.Thread(target=release)
    other.start()
    try:
        result = segment_video(request)
    finally:
        said.set()
        other.join()

    assert before == [False]
    assert not result.was_there


def test_form_describes_every_field() -> None:
    """The UI's form is made of the flow's schema: each field of a request says what it is."""
    schema = segment_video.parameters.model_dump()
    fields = schema["definitions"]["SegmentRequest"]["properties"]
    assert set(fields) == set(SegmentRequest.model_fields)
    assert [name for name, field in fields.items() if not field.get("description")] == []


def test_both_directions(prefect_api: str, ask: Ask, prompts: dict[str, Any]) -> None:
    """The frames before a first prompt are a pass of their own, whose tasks say so."""
    later = {"objects": [prompts["objects"][1]]}
    request = ask(**{**TWO_CHUNKS, "prompts": later, "direction": "both"})

    result = segment_video(request)

    assert result.seams_identical
    _, tasks = _last_run(prefect_api)
    assert sorted(task.name for task in tasks if "backward" in task.name) == [
        "clip.mp4, backward: check seam before chunk 1",
        "clip.mp4, backward: encode prompts",
        "clip.mp4, backward: publish chunk 0",
        "clip.mp4, backward: publish chunk 1",
        "clip.mp4, backward: track chunk 0",
        "clip.mp4, backward: track chunk 1",
    ]
