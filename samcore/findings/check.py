"""What every check of a result is, and the list of them: the kinds of findings that there are.

A check looks at one of three things, and tells what a person should look at:

    sees        what it is given                                   called by
    rows        an object's rows of the table, piece by piece      `LaneBuilder`, for each object
    run         the run's records and its masks, once              `check_result`
    pictures    the frames of the video, one by one                the report, which reads the video

A finding's kind is its check's name. The report, the manifest, the artifacts and the lines of a
command list whatever kinds there are, in the order of this list.
"""

from __future__ import annotations  # the checks' own modules are imported when they are used

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from samcore.registry import Entry, Registry

if TYPE_CHECKING:
    from samcore.findings.finding import Finding
    from samcore.findings.rows import Rows
    from samcore.masks.table import MaskReader
    from samcore.report.facts import ReportFacts
    from samcore.video import Frame
    from samcore.video.tracked import TrackedFrames

Tell = Callable[["Finding"], None]
"""What a check calls with each finding."""


@dataclass(frozen=True, slots=True)
class WatchedObject:
    """Whose rows a check sees."""

    object_id: int
    """The caller's number."""
    rate: float
    """Frames per second of the video."""
    size_hw: tuple[int, int]
    """Rows and columns of the picture."""
    tracked: TrackedFrames | None = None
    """Which frames were tracked; None if all were."""


class RowCheck(Protocol):
    """Sees one object's rows go by. It holds a few numbers, however many rows there are."""

    def add(self, rows: Rows) -> None:
        """Take the next rows, which begin after the last ones."""

    def end(self, stop: int) -> None:
        """There are no more rows; `stop` is one past the last frame that was tracked."""


class MakesRowCheck(Protocol):
    """The home of a check that sees rows: a class."""

    def __call__(self, watched: WatchedObject, tell: Tell) -> RowCheck: ...


class RunCheck(Protocol):
    """The home of a check that sees a run: a function. It holds the masks of one frame at most."""

    def __call__(self, facts: ReportFacts, reader: MaskReader, tell: Tell) -> None: ...


class PictureCheck(Protocol):
    """Sees the frames of the video go by; tells when its block ends."""

    def show(self, frame: Frame) -> None:
        """Take the next frame; each is the one after the last."""


class MakesPictureCheck(Protocol):
    """The home of a check that sees pictures: a class."""

    def __call__(self, tell: Tell) -> AbstractContextManager[PictureCheck]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckEntry(Entry):
    """A check. What its home is depends on what it sees: see above."""

    heading: str
    """Over its findings, in the report."""
    sees: Literal["rows", "run", "pictures"]
    """What it looks at."""
    hint: bool = False
    """Whether its findings say where to look, though nothing need be wrong there: they are listed,
    and not counted."""


CHECKS = Registry(
    "check",
    "longtake.checks",
    CheckEntry,
    [
        CheckEntry(
            name="prompt",
            about="the masks are not where they were asked for",
            home="samcore.findings.prompted:check_prompts",
            heading="Prompts that were missed",
            sees="run",
        ),
        CheckEntry(
            name="jump",
            about="an object moves or changes its size suddenly: it may be another one",
            home="samcore.findings.jump:JumpCheck",
            heading="May be another object",
            sees="rows",
        ),
        CheckEntry(
            name="spread",
            about="an object has grown, ragged or unsure: it may have spread",
            home="samcore.findings.spread:SpreadCheck",
            heading="May have spread",
            sees="rows",
        ),
        CheckEntry(
            name="absence",
            about="an object is absent for long",
            home="samcore.findings.absence:AbsenceCheck",
            heading="Long absences",
            sees="rows",
        ),
        CheckEntry(
            name="doubt",
            about="the model is unsure of an object",
            home="samcore.findings.doubt:DoubtCheck",
            heading="Low scores",
            sees="rows",
        ),
        CheckEntry(
            name="seam",
            about="two chunks disagree about the frames that they share",
            home="samcore.findings.records:check_seams",
            heading="Chunks that disagree",
            sees="run",
        ),
        CheckEntry(
            name="join",
            about="it is in doubt who is who where two chunks meet that found their own objects",
            home="samcore.findings.records:check_joins",
            heading="Doubtful identities at seams",
            sees="run",
        ),
        CheckEntry(
            name="coarse",
            about="a chunk was tracked with a smaller input of the model",
            home="samcore.findings.records:check_quality",
            heading="Coarser masks",
            sees="run",
        ),
        CheckEntry(
            name="damage",
            about="the decoder complained of the video",
            home="samcore.findings.records:check_damage",
            heading="Damage of the video",
            sees="run",
        ),
        CheckEntry(
            name="cut",
            about="the scene changes",
            home="samcore.findings.cut:CutCheck",
            heading="Scene cuts",
            sees="pictures",
            hint=True,
        ),
    ],
)
"""The checks, by name, in the order in which their findings are listed."""
