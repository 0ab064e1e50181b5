"""How a chunk takes over from the one before.

    memory   0123456        the state at frame 4 goes from chunk 0 to chunk 1:
                 456789     exact, the default
    mask     0123456        the masks of frame 4 prompt chunk 1:
                 456789     inexact, what other tools do; for comparison
    match    0123456        each chunk finds its objects by itself, on any machine, and identities
                 456789     are joined over the frames that both have: inexact, parallel

Everything that depends on the kind of hand-off is here; the tasks ask an entry of `HANDOFFS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from samcore.chunks.plan import Chunk
from samcore.registry import Entry, Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from samcore.prompts.prompt import Prompt
    from samcore.tracking.tracker import VideoTracker


class ChunkStart(Protocol):
    """What a run has for a chunk to begin with."""

    @property
    def chunk(self) -> Chunk:
        """The chunk that is to begin."""

    @property
    def overlap(self) -> int:
        """Frames that the run's chunks share."""

    def prompts(self) -> Sequence[Prompt]:
        """All prompts of the run."""

    def masks_before(self, frame_idx: int) -> Mapping[int, NDArray[np.bool_]]:
        """The masks that the chunk before has on a frame, by object."""

    def new_tracker(self, prompts: Sequence[Prompt], *, start: int) -> VideoTracker:
        """A tracker that begins at `start`, with these prompts encoded."""

    def tracker_handed_on(self) -> VideoTracker:
        """A tracker that goes on from the state that the chunk before, or the prompt pass, left."""


class Handoff(Protocol):
    """One way to hand objects over from chunk to chunk."""

    hands_on_state: ClassVar[bool]
    """Whether a chunk leaves its tracker's state for the next one. The first chunk then begins
    with the state that the prompt pass leaves."""
    is_exact: ClassVar[bool]
    """Whether masks are the same wherever the video is cut."""
    is_parallel: ClassVar[bool]
    """Whether a chunk needs nothing of the one before: chunks are tracked as runs of their own, in
    any order, and `samcore.run.matched_chunks` says afterwards who is who."""
    overlap: ClassVar[int]
    """Frames that two chunks share, unless a person says otherwise."""
    min_agreement: ClassVar[float]
    """Mean IoU below which a seam counts as bad, unless a person says otherwise."""

    def first_frame(self, chunk: Chunk, *, overlap: int) -> int:
        """Where the chunk's tracker begins: its first frame, or one before it."""

    def start(self, begin: ChunkStart) -> VideoTracker:
        """A tracker at `first_frame`."""

    def prompts_by_itself(self, chunk: Chunk, *, overlap: int) -> int | None:
        """The frame on which this hand-off, and no person, prompts the chunk; None if on none."""


class MemoryHandoff:
    """Save the tracker's state where the next chunk begins, and go on from it: exact."""

    hands_on_state = True
    is_exact = True
    is_parallel = False
    overlap = 8
    min_agreement = 0.99

    def first_frame(self, chunk: Chunk, *, overlap: int) -> int:
        return chunk.start

    def start(self, begin: ChunkStart) -> VideoTracker:
        return begin.tracker_handed_on()

    def prompts_by_itself(self, chunk: Chunk, *, overlap: int) -> int | None:
        return None


class MaskHandoff:
    """Prompt a chunk with the last masks of the one before. Masks depend on where the cuts lie.

    The objects that the chunk before has on the frame start from its masks there, unless a person
    prompted them on that very frame; what is prompted later in the chunk is kept. An object whose
    mask is empty there is lost until a person's next prompt: its rows go on, empty, and that is
    what this hand-off is known for.
    """

    hands_on_state = False
    is_exact = False
    is_parallel = False
    overlap = 8
    min_agreement = 0.5

    def first_frame(self, chunk: Chunk, *, overlap: int) -> int:
        """The chunk's first frame, which the chunk before has tracked, too; without overlap the
        last frame of the chunk before, which is tracked again, and its new masks are dropped."""
        return chunk.start if chunk.index == 0 or overlap > 0 else chunk.start - 1

    def start(self, begin: ChunkStart) -> VideoTracker:
        chunk = begin.chunk
        first = self.first_frame(chunk, overlap=begin.overlap)
        from_a_person = [p for p in begin.prompts() if p.frame_idx < chunk.stop]
        if chunk.index == 0:
            return begin.new_tracker(from_a_person, start=first)
        return begin.new_tracker(self._prompts(begin, from_a_person, first), start=first)

    def prompts_by_itself(self, chunk: Chunk, *, overlap: int) -> int | None:
        return None if chunk.index == 0 else self.first_frame(chunk, overlap=overlap)

    def _prompts(
        self, begin: ChunkStart, from_a_person: Sequence[Prompt], first: int
    ) -> list[Prompt]:
        from samcore.prompts.prompt import Prompt

        wanted = [p for p in from_a_person if p.frame_idx >= first]
        prompted = {p.obj_id for p in wanted if p.frame_idx == first}
        handed = [
            Prompt(obj_id, first, mask_hw=mask_hw)
            for obj_id, mask_hw in begin.masks_before(first).items()
            if obj_id not in prompted
        ]
        return [*handed, *wanted]


class MatchHandoff:
    """Hand nothing over. A chunk tracks what it has found at its start, and what a person prompts
    on its own frames. Masks depend on where the cuts lie.

    The overlap is a second of most videos. On its first frames a chunk that has just begun has
    little memory, and its masks are those of the detector; and a mean over some dozens of frames
    tells look-alikes apart that cross within it.
    """

    hands_on_state = False
    is_exact = False
    is_parallel = True
    overlap = 24
    min_agreement = 0.5

    def first_frame(self, chunk: Chunk, *, overlap: int) -> int:
        return chunk.start

    def start(self, begin: ChunkStart) -> VideoTracker:
        chunk = begin.chunk
        own = [p for p in begin.prompts() if chunk.start <= p.frame_idx < chunk.stop]
        return begin.new_tracker(own, start=chunk.start)

    def prompts_by_itself(self, chunk: Chunk, *, overlap: int) -> int | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffEntry(Entry):
    """A hand-off. Its home is a class that is a `Handoff`."""


HANDOFFS = Registry(
    "hand-off",
    "longtake.handoffs",
    HandoffEntry,
    [
        HandoffEntry(
            name="memory",
            about="carry the tracker's memory over the cut: exact",
            home="samcore.chunks.handoff:MemoryHandoff",
        ),
        HandoffEntry(
            name="mask",
            about="prompt each chunk with the last masks of the one before, as other tools do",
            home="samcore.chunks.handoff:MaskHandoff",
        ),
        HandoffEntry(
            name="match",
            about="let each chunk find its objects by itself, in parallel, and match them: inexact",
            home="samcore.chunks.handoff:MatchHandoff",
        ),
    ],
)
"""The hand-offs, by name."""


def find_handoff(name: str) -> Handoff:
    """The hand-off with this name.

    Raises:
        InputError: There is none; the message lists the known ones.
    """
    handoff: Handoff = HANDOFFS.get(name).load()()
    return handoff
