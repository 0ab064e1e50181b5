"""What a piece of work has given up to fit into memory, for the log and for its record."""

import logging

from tasks.run.records import Rung, RunRecord
from tasks.tracking.attempts import Attempt
from tasks.tracking.oom_ladder import OomLadder, describe_rung, ladder_rungs

# Not the run's own log: what is logged here shows in it, and on the terminal of a command.
_log = logging.getLogger(__name__)


class GivenUp:
    """What a chunk, or the prompt pass, has given up to fit into memory."""

    def __init__(
        self,
        record: RunRecord,
        base: Rung,
        *,
        allow_quality_loss: bool,
        so_far: tuple[str, ...] = (),
        quality_loss: bool = False,
    ) -> None:
        """Stand where the work before has ended.

        Args:
            record: The run's.
            base: What that work ended with.
            allow_quality_loss: Whether the model's input may become smaller.
            so_far: What this very piece of work gave up before it was stopped.
            quality_loss: Whether any of that was the size of the model's input.
        """
        self._record = record
        self._base = base
        self._quality_loss = quality_loss
        self.steps = list(so_far)
        """From which frame on, what, and why."""
        self.rungs = ladder_rungs(
            base,
            record.model,
            num_objects=len(record.objects),
            device=record.settings.device,
            allow_quality_loss=allow_quality_loss,
        )

    def ladder(self, attempt: Attempt, *, first_frame: int) -> OomLadder:
        """The ladder, at the rung of this attempt; each step is logged and marked."""
        if self._base != self._record.as_asked and not self.steps:
            self.steps.append(f"frame {first_frame}: {describe_rung(self._base)} (as before it)")
        if attempt.found is not None:
            begin = self.rungs[attempt.rung]
            less = begin != self._base
            what = describe_rung(begin) if less else "freed caches and tried again"
            self.steps.append(f"frame {first_frame}: {what} ({attempt.found})")
            _log.log(logging.WARNING if less else logging.INFO, "%s", self.steps[-1])

        def step(rung: int, text: str) -> None:
            attempt.mark(rung)
            self.steps.append(text)
            _log.warning("out of memory: %s", text)

        device = self._record.settings.device
        return OomLadder(self.rungs, at=attempt.rung, device=device, on_step=step)

    def rung(self, ladder: OomLadder) -> Rung | None:
        """What the next piece of work is to begin with; None if it is all that was asked."""
        return None if ladder.rung == self._record.as_asked else ladder.rung

    def quality_loss(self, ladder: OomLadder) -> bool:
        """Whether any frame was tracked with a smaller input of the model than asked."""
        return self._quality_loss or ladder.rung.image_size < self._record.model.image_size
