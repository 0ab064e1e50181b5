"""Everything that the page shows, from the masks and one pass over the video."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from samcore.masks.table import MaskReader
from samcore.report.facts import ReportFacts
from samcore.report.findings import Finding, Findings
from samcore.report.lanes import LaneReport, read_lanes
from samcore.report.pictures import Picture, draw_picture
from samcore.report.prompted import watch_prompts
from samcore.video import VideoSource
from samcore.video.cuts import CutFinder

Progress = Callable[[int, int], None]
"""Called with the frames looked at so far, and all of them."""

MAX_PICTURES = 60
_TIMELINE = 12
_BEGINNINGS = 6
"""First frames of objects that are shown."""
_OF_EACH_KIND = 7
"""Findings of each kind that are listed: with the others they make `MAX_PICTURES`."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is to show."""

    lanes: LaneReport
    """The objects."""
    findings: Findings
    """What to look at."""
    pictures: tuple[Picture, ...]
    """By ascending frame: some along the whole video, the first ones of objects, and one of each
    finding that is listed."""
    times_s: Mapping[int, float]
    """When each of these frames appears, in seconds from the first one of the video."""


def gather(
    facts: ReportFacts, table: Path, video: VideoSource, *, on_progress: Progress | None = None
) -> Gathered:
    """Read the masks' numbers, then the video once; hold some pictures and bins, no more.

    Args:
        facts: What is known of the run.
        table: Its masks.
        video: The video that was tracked.
        on_progress: Called with the frames looked at so far, and all of them.

    Raises:
        VideoError: A frame cannot be read.
        StorageError: The masks cannot be read.
    """
    findings = Findings(_OF_EACH_KIND)
    lanes = read_lanes(
        table,
        findings,
        start=facts.start,
        stop=facts.stop,
        rate=facts.rate,
        size_hw=(facts.height, facts.width),
    )
    asked = [item for item in facts.prompts if facts.start <= item.frame_idx < facts.stop]
    begins = sorted({item.first_frame for item in lanes.objects})[:_BEGINNINGS]
    with MaskReader(table) as reader:
        watch_prompts(asked, reader, findings)
        wanted = {*findings.frames(), *begins, *spread(facts.start, facts.stop, _TIMELINE)}
        pictures = {
            picture.frame: picture
            for picture in _pass(facts, reader, video, wanted, findings, on_progress)
        }
        # Which frames begin a scene is known only after they went by.
        for frame_idx in sorted(findings.frames() - pictures.keys()):
            image = video.frame(frame_idx).image_rgb_hwc_u8
            pictures[frame_idx] = draw_picture(frame_idx, image, reader.masks(frame_idx))
    return Gathered(
        lanes,
        findings,
        pictures=tuple(pictures[number] for number in sorted(pictures)),
        times_s={number: float(video.time_s(number)) for number in pictures},
    )


def spread(start: int, stop: int, count: int) -> list[int]:
    """At most `count` frames of [start, stop), the first and the last one and some evenly spaced
    between them; ascending, each once."""
    steps = max(min(count, stop - start) - 1, 1)
    return sorted({start + i * (stop - start - 1) // steps for i in range(steps + 1)})


def _pass(
    facts: ReportFacts,
    reader: MaskReader,
    video: VideoSource,
    wanted: Iterable[int],
    findings: Findings,
    on_progress: Progress | None,
) -> Iterator[Picture]:
    """Give the wanted pictures, and add the cuts to the findings."""
    frames = set(wanted)
    with video.read(facts.start, facts.stop) as images, CutFinder() as cuts:
        for image in images:
            cuts.show(image)
            if on_progress is not None:
                on_progress(image.frame_idx + 1 - facts.start, facts.stop - facts.start)
            if image.frame_idx in frames:
                yield draw_picture(
                    image.frame_idx, image.image_rgb_hwc_u8, reader.masks(image.frame_idx)
                )
    for cut in cuts.cuts:
        text = f"the scene changes (by {cut.score:.0f} of 100)"
        findings.add(Finding("cut", cut.frame, None, cut.score, text))
