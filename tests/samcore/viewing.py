"""What shows frames, in a pass over the video of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path

from samcore.exports.overlay import view_masks
from samcore.failures import Failures
from samcore.masks.table import MaskReader
from samcore.report.facts import ReportFacts
from samcore.report.gather import ReportContent, gathering
from samcore.report.page import view_report
from samcore.video import VideoSource
from samcore.video.viewers import Viewer, show_frames


def write_overlay(
    video: VideoSource,
    table: Path,
    out: Path,
    *,
    labels: Mapping[int, str] | None = None,
    start: int | None = None,
    stop: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Draw the masks of these frames, or of all that have some, into a video; how many frames."""
    with MaskReader(table) as reader:
        first, last = reader.frames or (0, 0)
    start = first if start is None else start
    stop = last if stop is None else stop
    viewer = view_masks(video, table, out, labels=labels or {}, start=start, stop=stop)
    _show(video, start, stop, viewer, on_progress)
    return stop - start


def write_report(facts: ReportFacts, table: Path, video: VideoSource, out: Path) -> None:
    """Make a run's report."""
    _show(video, facts.start, facts.stop, view_report(facts, table, video, out))


def gather(facts: ReportFacts, table: Path, video: VideoSource) -> ReportContent:
    """What a run's report shows."""
    gathered: list[ReportContent] = []
    viewer = gathering(facts, table, video, gathered.append)
    _show(video, facts.start, facts.stop, viewer)
    return gathered[0]


def _show(
    video: VideoSource,
    start: int,
    stop: int,
    viewer: Viewer,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    failures = Failures()
    show_frames(video, start, stop, [viewer], failures, on_progress=on_progress)
    failures.say()
