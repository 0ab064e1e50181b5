"""Everything that the page shows, from the masks and one pass over the video."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samcore.findings.check import CHECKS
from samcore.findings.checks import check_result
from samcore.findings.finding import Findings
from samcore.findings.lanes import LaneReport
from samcore.masks.table import MaskReader
from samcore.prompts.prompt import Prompt
from samcore.report.facts import ReportFacts
from samcore.report.pictures import Picture, draw_picture
from samcore.video import VideoSource

Progress = Callable[[int, int], None]
"""Called with the frames looked at so far, and all of them."""

MAX_PICTURES = 80
_TIMELINE = 12
_BEGINNINGS = 6
"""First frames of objects that are shown."""
_PROMPTED = 6
"""Prompted frames that are shown, besides those of findings."""
_OF_EACH_KIND = 7
"""Findings of each kind that are listed; of the video's damage there is one at most. With the other
pictures those of our own checks make `MAX_PICTURES`."""


@dataclass(frozen=True, slots=True)
class ReportContent:
    """What there is to show."""

    lanes: LaneReport
    """The objects."""
    findings: Findings
    """What to look at."""
    pictures: tuple[Picture, ...]
    """By ascending frame: some along the whole video, the first ones of objects and of prompts, and
    one of each finding that is listed; with the prompts on these frames drawn in."""
    times_s: Mapping[int, float]
    """When each of these frames appears, in seconds from the first one of the video."""


def gather(
    facts: ReportFacts, table: Path, video: VideoSource, *, on_progress: Progress | None = None
) -> ReportContent:
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
    lanes, findings = check_result(facts, table, limit=_OF_EACH_KIND)
    prompts = _by_frame(facts)
    begins = sorted({item.first_frame for item in lanes.objects})[:_BEGINNINGS]
    with MaskReader(table) as reader:
        wanted = {
            *findings.frames(),
            *begins,
            *sorted(prompts)[:_PROMPTED],
            *spread(facts.start, facts.stop, _TIMELINE),
        }

        def draw(frame_idx: int, image_hwc: NDArray[np.uint8]) -> Picture:
            given = prompts.get(frame_idx, ())
            return draw_picture(frame_idx, image_hwc, reader.masks(frame_idx), prompts=given)

        pictures = {
            picture.frame: picture
            for picture in _pass(facts, video, wanted, findings, draw, on_progress)
        }
        # Some checks know only after all frames went by which ones to look at.
        for frame_idx in sorted(findings.frames() - pictures.keys()):
            pictures[frame_idx] = draw(frame_idx, video.frame(frame_idx).image_rgb_hwc_u8)
    return ReportContent(
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


def _by_frame(facts: ReportFacts) -> dict[int, list[Prompt]]:
    """The prompts on frames that were tracked, by frame."""
    found: dict[int, list[Prompt]] = {}
    for prompt in facts.prompts:
        if facts.start <= prompt.frame_idx < facts.stop:
            found.setdefault(prompt.frame_idx, []).append(prompt)
    return found


def _pass(
    facts: ReportFacts,
    video: VideoSource,
    wanted: Iterable[int],
    findings: Findings,
    draw: Callable[[int, NDArray[np.uint8]], Picture],
    on_progress: Progress | None,
) -> Iterator[Picture]:
    """Give the wanted pictures, and show all of them to the checks that see pictures."""
    frames = set(wanted)
    with video.read(facts.start, facts.stop) as images, ExitStack() as stack:
        checks = [
            stack.enter_context(entry.load()(findings.add))
            for entry in CHECKS
            if entry.sees == "pictures"
        ]
        for image in images:
            for check in checks:
                check.show(image)
            if on_progress is not None:
                on_progress(image.frame_idx + 1 - facts.start, facts.stop - facts.start)
            if image.frame_idx in frames:
                yield draw(image.frame_idx, image.image_rgb_hwc_u8)
