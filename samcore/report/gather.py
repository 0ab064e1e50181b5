"""Everything that the page shows, from the masks and one pass over the video."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from samcore.findings.check import CHECKS
from samcore.findings.checks import check_result
from samcore.findings.finding import Findings
from samcore.findings.lanes import LaneReport
from samcore.masks.table import MaskReader
from samcore.prompts.prompt import Prompt
from samcore.report.facts import ReportFacts
from samcore.report.pictures import Picture, draw_picture
from samcore.video import Frame, VideoSource
from samcore.video.viewers import Show

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


@contextlib.contextmanager
def gathering(
    facts: ReportFacts, table: Path, video: VideoSource, then: Callable[[ReportContent], None]
) -> Iterator[Show]:
    """Read the masks' numbers, then the video once; hold some pictures and bins, no more.

    Args:
        facts: What is known of the run.
        table: Its masks.
        video: The video that was tracked.
        then: Gets what was gathered, after the last frame.

    Returns:
        A viewer of all frames that were tracked.

    Raises:
        VideoError: A frame cannot be read.
        StorageError: The masks cannot be read.
    """
    lanes, findings = check_result(facts, table, limit=_OF_EACH_KIND)
    prompts = _by_frame(facts)
    begins = sorted({item.first_frame for item in lanes.objects})[:_BEGINNINGS]
    wanted = {
        *findings.frames(),
        *begins,
        *sorted(prompts)[:_PROMPTED],
        *_along(facts),
    }
    pictures: dict[int, Picture] = {}
    with MaskReader(table) as reader:

        def draw(frame: Frame) -> None:
            number = frame.frame_idx
            masks, given = reader.masks(number), prompts.get(number, ())
            pictures[number] = draw_picture(number, frame.image_rgb_hwc_u8, masks, prompts=given)

        with contextlib.ExitStack() as stack:
            checks = [
                stack.enter_context(entry.load()(findings.add))
                for entry in CHECKS
                if entry.sees == "pictures"
            ]

            def show(frame: Frame) -> None:
                for check in checks:
                    check.show(frame)
                if frame.frame_idx in wanted:
                    draw(frame)

            yield show
        # Some checks know only after all frames went by which ones to look at.
        for frame_idx in sorted(findings.frames() - pictures.keys()):
            draw(video.frame(frame_idx))
    content = ReportContent(
        lanes,
        findings,
        pictures=tuple(pictures[number] for number in sorted(pictures)),
        times_s={number: float(video.time_s(number)) for number in pictures},
    )
    then(content)


def _along(facts: ReportFacts) -> list[int]:
    """Some frames that were tracked, from the first to the last one."""
    if facts.tracked is None:
        return spread(facts.start, facts.stop, _TIMELINE)
    return [facts.tracked.number(step) for step in spread(0, len(facts.tracked), _TIMELINE)]


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
