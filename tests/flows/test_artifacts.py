"""What a run shows in Prefect's UI."""

import sqlite3
from pathlib import Path

from prefect.client.orchestration import get_client

from flows.segment_video import WITH_FINDINGS, end_state, segment_video
from samcore.masks.table import MaskReader
from samcore.result.manifest import MASKS, REPORT
from samcore.result.published import FindingList
from tasks.progress.artifact import artifact_key
from tasks.run.refs import ResultRef

TWO_CHUNKS = {
    "stop": 14,
    "chunk_frames": 8,
    "overlap": 2,
    "image_size": 64,
    "report": True,
    "prompts": {
        "objects": [
            {"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]},
            {"id": 2, "prompts": [{"frame": 3, "box": [1, 1, 5, 5]}]},  # nothing is there
        ]
    },
}


def test_a_run_shows_its_result(prefect_api, live_database, ask, monkeypatch):
    """Beside its progress a run has a table of objects, one of seams, and a page with a picture
    and a link to the report; all of it small, and none of it masks. Steps beside tracking show how
    far they are, too, the report last."""
    monkeypatch.setattr("tasks.progress.artifact._INTERVAL_S", 0.0)
    result = segment_video(ask(**TWO_CHUNKS))

    assert result.has_report
    key = artifact_key(result.key)
    with get_client(sync_client=True) as client:
        artifacts = client.request(
            "POST", "/artifacts/filter", json={"artifacts": {"key": {"like_": f"{key}%"}}}
        ).json()
    found = {artifact["key"].removeprefix(key): artifact for artifact in artifacts}
    assert {name: artifact["type"] for name, artifact in found.items()} == {
        "": "progress",
        "-objects": "table",
        "-seams": "table",
        "-result": "markdown",
    }
    assert len(key) <= 24  # what a card of the UI has room for
    assert found["-objects"]["description"] == "2 objects of clip.mp4"
    assert found["-seams"]["description"] == "How far chunks agree at 1 seam"
    assert {artifact["flow_run_id"] for artifact in artifacts} != {None}
    _check_steps(artifacts[0]["flow_run_id"])
    report = Path(result.destination) / REPORT
    assert report.as_uri() in found["-result"]["data"]
    assert "data:image/jpeg;base64," in found["-result"]["data"]
    _check_findings(result, found["-result"]["data"], artifacts[0]["flow_run_id"])

    connection = sqlite3.connect(live_database)
    try:
        (largest,) = connection.execute("select max(length(data)) from artifact").fetchone()
    finally:
        connection.close()
    assert largest < 15_000  # and that three times
    with MaskReader(Path(result.destination) / MASKS) as reader:
        counts = max((row.counts for row in reader.rows()), key=len)
    content = b"".join(path.read_bytes() for path in Path(live_database).parent.glob("*.db*"))
    assert counts not in content

    again = segment_video(ask(**TWO_CHUNKS))
    assert again.was_there
    assert again.has_report
    assert again.findings == result.findings


def _check_steps(flow_run_id):
    with get_client(sync_client=True) as client:
        (steps,) = client.request(
            "POST",
            "/artifacts/filter",
            json={
                "artifacts": {"key": {"like_": "%-steps"}},
                "flow_runs": {"id": {"any_": [flow_run_id]}},
            },
        ).json()
    assert (steps["type"], steps["data"]) == ("progress", 100)
    assert steps["description"] == "writing the report: 14 of 14 frames"


def _check_findings(result, page, flow_run_id):
    """The state's name tells that there is something to look at, its message and the page what."""
    findings = result.findings
    assert findings.total > 0
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
    assert (state.type.value, state.name) == ("COMPLETED", WITH_FINDINGS)
    assert f"{findings.total} finding" in state.message
    assert str(findings.worst[0]) in state.message
    assert f"frame {findings.worst[0].frame}" in page


def test_a_result_without_findings_is_told_apart():
    """Its state is Completed by name, too, and says that nothing was found; one whose masks nobody
    looked through says nothing."""
    clean = ResultRef(
        destination="/out",
        key="0" * 32,
        frames=3,
        objects=1,
        seam_agreement=None,
        seams_identical=None,
        findings=FindingList(total=0, counts={}, worst=()),
        has_overlay=False,
        was_there=False,
    )

    state = end_state(clean)
    assert (state.name, state.data) == ("Completed", clean)
    assert "nothing odd" in state.message
    assert end_state(clean.model_copy(update={"findings": None})).message is None
