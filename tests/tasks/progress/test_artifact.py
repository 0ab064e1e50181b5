"""What Prefect's UI shows while a run goes on."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from samcore.chunks.plan import Chunk
from samcore.disk.files import file_record
from samcore.machine.meters import MemoryReading
from samcore.progress import ChunkProgress, Progress, listening, report
from tasks.progress import artifact
from tasks.progress.artifact import steps_artifact, tracking_artifact
from tasks.request.resolve import resolve_request
from tasks.request.segment_request import SegmentRequest
from tasks.settings import load_settings
from tasks.store.locations import S3Location
from tasks.store.object_store import ObjectStore

FLOW_RUN = "01234567-89ab-cdef-0123-456789abcdef"
Posted = list[tuple[str, float, str]]


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Posted:
    """Key, percent and text of what is sent to the server, without a wait between reports."""
    sent: Posted = []

    def create(percent: float, key: str, text: str) -> UUID:
        sent.append((key, percent, text))
        return UUID(FLOW_RUN)

    def update(made: UUID, percent: float, text: str) -> None:
        sent.append(("", percent, text))

    monkeypatch.setattr(artifact, "create_progress_artifact", create)
    monkeypatch.setattr(artifact, "update_progress_artifact", update)
    monkeypatch.setattr(artifact, "_INTERVAL_S", 0.0)
    return sent


def test_downloads_and_scans_are_shown(
    ask: Callable[..., SegmentRequest],
    clip: Path,
    bucket: str,
    posted: Posted,
) -> None:
    """While a run is planned, its page shows how much of the video is downloaded and scanned."""
    place = S3Location(bucket, "clip.mp4")
    ObjectStore().put_file(clip, place, sha256=file_record(clip).sha256)
    with listening(steps_artifact(FLOW_RUN)):
        resolve_request(ask(source=place.uri), cache_dir=load_settings().cache_dir)

    assert posted[0][0] == "longtake-0123456789ab-steps"
    texts = [text for _, _, text in posted]
    assert any(text.startswith("downloading the video: ") for text in texts)
    assert (100.0, "scanning the video: 66 of 66 frames") in [item[1:] for item in posted]


def test_tracking_has_an_artifact_of_its_own(posted: Posted) -> None:
    """Reports of frames go to the one of the run's key, all others to that of steps; each report
    is one event on one channel."""
    memory = MemoryReading(
        rss_bytes=1, peak_rss_bytes=2_000_000_000, vram_bytes=None, peak_vram_bytes=None
    )
    with listening(tracking_artifact("f" * 32)), listening(steps_artifact(FLOW_RUN)):
        ChunkProgress("clip.mp4", (Chunk(0, 0, 10),), 0).tracked(9, memory)
        for done in (4, 8):
            report(Progress("writing coco", done, 8, "steps"))
    (tracked,) = [item for item in posted if item[0] == "longtake-ffffffffffff"]
    assert tracked[1] == 100
    assert tracked[2].startswith("clip.mp4: frame 10 of 10, chunk 1 of 1, ")
    others = [item[2] for item in posted if item != tracked]
    assert others == ["writing coco: 4 of 8 steps", "writing coco: 8 of 8 steps"]
