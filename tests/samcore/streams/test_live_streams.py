"""Streams over the network, cut and restored: nothing twice, and each gap is marked."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from samcore.progress import Progress, listening
from samcore.streams.session import WatchSession
from tests.samcore.streams.watching import frames_of, next_frame, plan_of, published
from tests.servers.live_streams import HlsStream, RtspStream, fed, has_rtsp_server

CUTS = 3
NEEDS_RTSP = pytest.mark.skipif(
    not has_rtsp_server(),
    reason="needs GStreamer's RTSP server: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 "
    "gstreamer1.0-plugins-good",
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hls", pytest.param("rtsp", marks=NEEDS_RTSP)])
def test_a_source_that_goes_and_comes_back_leaves_a_marked_gap(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The tracker goes on with the same object and the next number; the gap is in the table and in
    the counts, no frame comes twice, and no password is said or written. Each time the source
    comes back in another size, and its pictures are scaled to the first one's."""
    stream = RtspStream() if kind == "rtsp" else HlsStream(tmp_path / "live")
    out = tmp_path / "out"
    plan = plan_of(out, source=stream.url, size=None, rate=None, chunk="1s")
    plan = replace(plan, roll_s=3600.0, chunk_s=0.5, stall_s=3.0, patient=True)
    stop, cuts = threading.Event(), []

    def on_progress(progress: Progress) -> None:
        # Told once a second, between two frames.
        gaps = int(progress.text.rpartition(", ")[2].partition(" ")[0])
        if gaps < len(cuts) or progress.done < (cuts[-1] if cuts else 0) + 5 + 5 * gaps:
            return
        if gaps == CUTS:
            stop.set()
            return
        cuts.append(progress.done)
        stream.cut()
        stream.restore()

    with fed(stream), listening(on_progress):
        summary = WatchSession(plan, stop, destination="out").run()

    results = published(out)
    stamps = frames_of(results)
    assert [row["frame"] for row in stamps] == [*range(summary.frames)]
    assert next_frame(plan) == summary.frames
    received = [row["received"] for row in stamps]
    assert received == sorted(set(received))
    gaps = [row["frame"] for row in stamps if row["gap"] == "reconnected"]
    assert len(gaps) == summary.gaps == CUTS
    assert all(gap >= cut for gap, cut in zip(gaps, cuts, strict=True))
    counts = [one.manifest.stream.counts for one in results if one.manifest.stream is not None]
    assert sum(one.reconnected for one in counts) == CUTS
    assert sum(one.received - one.dropped for one in counts) == summary.frames
    assert {(one.video.width, one.video.height) for one in results} == {(64, 48)}
    assert {item.id for one in results for item in one.objects} == {3}
    assert "connecting again" in caplog.text
    written = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert "geheim" not in caplog.text
    assert not any(b"geheim" in content for content in written)
