"""What a run shows in Prefect's UI."""

import sqlite3
from pathlib import Path

from prefect.client.orchestration import get_client

from flows.segment_video import segment_video
from samcore.masks.table import MaskReader
from tasks.manifest import MASKS, REPORT
from tasks.progress_artifact import artifact_key

TWO_CHUNKS = {
    "stop": 14,
    "chunk_frames": 8,
    "overlap": 2,
    "image_size": 64,
    "report": True,
    "prompts": {"objects": [{"id": 1, "prompts": [{"frame": 0, "box": [10, 10, 60, 60]}]}]},
}


def test_a_run_shows_its_result(prefect_api, live_database, ask):
    """Beside its progress a run has a table of objects, one of seams, and a page with a picture
    and a link to the report; all of it small, and none of it masks."""
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
    assert found["-objects"]["description"] == "1 object of clip.mp4"
    assert found["-seams"]["description"] == "How far chunks agree at 1 seam"
    assert {artifact["flow_run_id"] for artifact in artifacts} != {None}
    report = Path(result.destination) / REPORT
    assert report.as_uri() in found["-result"]["data"]
    assert "data:image/jpeg;base64," in found["-result"]["data"]

    connection = sqlite3.connect(live_database)
    try:
        (largest,) = connection.execute("select max(length(data)) from artifact").fetchone()
    finally:
        connection.close()
    assert largest < 70_000
    with MaskReader(Path(result.destination) / MASKS) as reader:
        counts = max((row.counts for row in reader.rows()), key=len)
    content = b"".join(path.read_bytes() for path in Path(live_database).parent.glob("*.db*"))
    assert counts not in content

    again = segment_video(ask(**TWO_CHUNKS))
    assert again.was_there
    assert again.has_report
