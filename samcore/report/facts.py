"""What the report is told of a run; the masks themselves are read from their table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from samcore.chunks.seams import SeamReport
from samcore.prompts.prompt import Prompt
from samcore.video.tracked import TrackedFrames


@dataclass(frozen=True, slots=True)
class ChunkFacts:
    """How one chunk was tracked."""

    index: int
    """Place in the plan, from 0."""
    start: int
    """First frame."""
    stop: int
    """One past the last frame."""
    seconds: float
    """What tracking it took."""
    frames_per_second: float
    """Its speed."""
    peak_rss_bytes: int
    """Most main memory that the process held."""
    peak_vram_bytes: int | None
    """Most GPU memory; None without a GPU."""
    attempts: int
    """Tries of the task in the run that finished it."""
    degradations: tuple[str, ...]
    """What was given up to fit into memory."""
    quality_loss: bool
    """Whether its masks are coarser for that."""
    stages: Mapping[str, float] | None
    """Seconds by stage; None if not measured."""


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Memory in use at a frame."""

    frame: int
    """The frame that was tracked last."""
    rss_bytes: int
    """Main memory."""
    vram_bytes: int | None
    """GPU memory of tensors; None without a GPU."""


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """One run."""

    title: str
    """The video's name."""
    start: int
    """First frame that was tracked."""
    stop: int
    """One past the last frame that was tracked."""
    rate: float
    """Frames per second of the video, on average."""
    height: int
    """Rows of the picture."""
    width: int
    """Columns of the picture."""
    labels: Mapping[int, str | None]
    """What objects are called, by id; the masks may have others besides."""
    chunks: tuple[ChunkFacts, ...]
    """In order."""
    seams: tuple[SeamReport, ...]
    """In order."""
    backward: tuple[ChunkFacts, ...] = ()
    """Those of the backward pass, in the order in which they were tracked."""
    prompts: tuple[Prompt, ...] = ()
    """What was asked for; those on frames that were not tracked are passed over."""
    memory: tuple[MemorySample, ...] = ()
    """By ascending frame; empty if there is no memory log."""
    about: tuple[tuple[str, str], ...] = ()
    """Names and values for the page's end: model, device, versions and the like."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """What the run's steps took, by name."""
    min_agreement: float = 0.0
    """Mean IoU below which two chunks disagree about the frames that they share."""
    damaged: str | None = None
    """What the decoder complained of; None if it did not."""
    remarks: tuple[str, ...] = ()
    """What else there is to know of the video, a line each."""
    tracked: TrackedFrames | None = None
    """Which of the frames were tracked; None if all were."""
    retirements: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Of objects that were not tracked for a while, because they had been absent for long: when
    that was, by id."""
