"""What is given up, step by step, when memory does not suffice."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from samcore.errors import InputError, OutOfMemory
from samcore.machine.batches import fits, free_bytes
from samcore.machine.out_of_memory import free_caches, memory_failure
from samcore.machine.rung import Rung
from samcore.models.registry import ModelSpec, resized_model
from samcore.run.attempts import Attempt, attempting

if TYPE_CHECKING:
    # The records need pyarrow; a library on a bare machine needs the ladder alone.
    from samcore.result.records import RunRecord

# Not the run's own log: what is logged here shows in it, and on the terminal of a command.
_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_SMALLER = (3 / 4, 1 / 2, 3 / 8, 1 / 4)
"""Sides of the model's input, as parts of the one asked for."""


def ladder_rungs(
    base: Rung, model: ModelSpec, *, num_objects: int, device: str, allow_quality_loss: bool
) -> tuple[Rung, ...]:
    """How much is done at once: first as much as wanted, then less and less.

        0  as wanted
        1  the same again, with all caches freed
        .. half as many frames in the encoder, and half as much in the detector, down to one
        .. half as many objects in a batch, down to one
        .. memories in main memory, if the device has its own
        .. a smaller input of the model, if that is allowed

    Each but the last kind leaves masks as they are, up to what a kernel makes of another batch
    shape.

    Args:
        base: What to begin with.
        model: As asked; smaller inputs are parts of its own.
        num_objects: Batches larger than that are of that size.
        device: As in a run's settings.
        allow_quality_loss: Whether the input may become smaller.
    """
    rungs = [base, base]

    def add(**change: int) -> None:
        rungs.append(rungs[-1].model_copy(update=change))

    while max(rungs[-1].encode_batch, rungs[-1].detect_batch) > 1:
        frames, work = (max(1, n // 2) for n in (rungs[-1].encode_batch, rungs[-1].detect_batch))
        add(encode_batch=frames, detect_batch=work)
    while (batch := min(rungs[-1].object_batch, num_objects)) > 1:
        add(object_batch=batch // 2)
    if device != "cpu" and not base.bank_on_cpu:
        add(bank_on_cpu=True)
    if allow_quality_loss:
        for size in _smaller_sizes(model):
            if size < rungs[-1].image_size:
                add(image_size=size)
    return tuple(rungs)


class OomLadder:
    """Where on the ladder a piece of work is, and what it has given up on the way down.

    The work is a chunk, the prompt pass or the search for objects. While it goes on, a mark in the
    run's folder holds its rung, so that whoever comes after a kill begins one rung down.
    """

    def __init__(
        self,
        asked: Rung,
        model: ModelSpec,
        *,
        num_objects: int,
        device: str,
        allow_quality_loss: bool,
        base: Rung | None = None,
        steps: Sequence[str] = (),
        quality_loss: bool = False,
        doing: str = "",
        unit: str = "frame",
    ) -> None:
        """Stand where the work before has ended.

        Args:
            asked: How much is done at once, if memory allows.
            model: As asked; smaller inputs are parts of its own.
            num_objects: Batches of objects larger than that are of that size.
            device: As in a run's settings.
            allow_quality_loss: Whether the model's input may become smaller.
            base: What the work before ended with; None is `asked`.
            steps: What this very piece of work gave up before it was stopped.
            quality_loss: Whether any of that was the size of the model's input.
            doing: What the log says of the work, such as ` while looking for objects`.
            unit: What its steps count.
        """
        self._doing = doing
        self._unit = unit
        self._asked = asked
        self._base = asked if base is None else base
        self._device = device
        self._model = model
        self._num_objects = num_objects
        self._quality_loss = quality_loss
        self._rungs = ladder_rungs(
            self._base,
            model,
            num_objects=num_objects,
            device=device,
            allow_quality_loss=allow_quality_loss,
        )
        self._at = 0
        self._attempt: Attempt | None = None
        self.steps = list(steps)
        """From which frame on, what was given up, and why."""

    @property
    def rung(self) -> Rung:
        """How much to do at once."""
        return self._rungs[self._at]

    @property
    def degraded(self) -> Rung | None:
        """What the next piece of work is to begin with; None if it is all that was asked."""
        return None if self.rung == self._asked else self.rung

    @property
    def quality_loss(self) -> bool:
        """Whether any frame was tracked with a smaller input of the model than asked."""
        return self._quality_loss or self.rung.image_size < self._model.image_size

    @contextlib.contextmanager
    def attempting(self, mark: Path, *, frame_idx: int) -> Iterator[Attempt]:
        """Begin an attempt: one rung down if the one before was killed. Marks it for its length.

        Args:
            mark: The file that shows that somebody works.
            frame_idx: Where the attempt begins, for the steps.

        Raises:
            StorageError: The folder cannot be written to.
        """
        with attempting(mark, last_rung=len(self._rungs) - 1) as attempt:
            self._attempt, self._at = attempt, attempt.rung
            if self._base != self._asked and not self.steps:
                self.steps.append(
                    f"{self._unit} {frame_idx}: {describe_rung(self._base)} (as before it)"
                )
            if attempt.found is not None:
                less = self.rung != self._base
                what = describe_rung(self.rung) if less else "freed caches and tried again"
                self.steps.append(f"{self._unit} {frame_idx}: {what} ({attempt.found})")
                _log.log(logging.WARNING if less else logging.INFO, "%s", self.steps[-1])
            self._pass_over_what_cannot_fit(frame_idx)
            yield attempt

    def _pass_over_what_cannot_fit(self, frame_idx: int) -> None:
        """Begin with a batch of objects that what is free may hold: to try a larger one can have
        the whole process killed."""
        free = free_bytes(self._device)
        for at in range(self._at, len(self._rungs)):
            rung = self._rungs[at]
            if rung.image_size != self.rung.image_size:
                return  # the last ones cost quality: first see
            if fits(rung, num_objects=self._num_objects, free_bytes=free):
                break
        if at == self._at or free is None:
            return
        self._at = at
        if self._attempt is not None:
            self._attempt.mark(at)
        self.steps.append(
            f"{self._unit} {frame_idx}: {describe_rung(self.rung)} "
            f"(only {free / 1e9:.1f} GB are free)"
        )
        _log.warning("%s", self.steps[-1])

    def alive(self) -> None:
        """Give a sign of life, so that after a kill it is known how much was lost."""
        if self._attempt is not None:
            self._attempt.alive()

    def step_down(self, frame_idx: int, reason: str) -> None:
        """Give up the next thing, and free what can be freed.

        To be called when the error and its frames are gone: what they hold cannot be freed.

        Args:
            frame_idx: Where memory did not suffice.
            reason: What the error said.

        Raises:
            OutOfMemory: There is nothing left to give up.
        """
        free_caches()
        if self._at + 1 >= len(self._rungs):
            raise OutOfMemory(self._bottom(frame_idx, reason))
        before, self._at = self.rung, self._at + 1
        if self._attempt is not None:
            self._attempt.mark(self._at)
        self.steps.append(
            f"{self._unit} {frame_idx}: {describe_step(before, self.rung)} ({reason})"
        )
        _log.warning("out of memory%s: %s", self._doing, self.steps[-1])

    def run_until_it_fits(self, work: Callable[[], _T], *, frame_idx: Callable[[], int]) -> _T:
        """Do `work` until it fits into memory, from its beginning each time.

        Args:
            work: Does what `rung` says; lets go of everything when it fails.
            frame_idx: Asked, when it fails, how far it came.

        Raises:
            OutOfMemory: It does not fit at all.
        """
        while True:
            try:
                return work()
            except OutOfMemory:
                raise
            except Exception as error:
                reason = memory_failure(error)
                if reason is None:
                    raise
            # Out here the error is gone, and its frames with their tensors.
            self.step_down(frame_idx(), reason)

    def _bottom(self, frame_idx: int, reason: str) -> str:
        rung = self.rung
        most = f"at most {rung.object_batch} objects" if rung.object_batch > 1 else "one object"
        smaller = "" if rung.image_size <= 64 else ", or take a smaller --image-size or model"
        return (
            f"out of memory at {self._unit} {frame_idx} on {self._device}, even with "
            f"{rung.encode_batch} {self._unit} and {most} at a time at {rung.image_size} px: free "
            f"some memory and run again{smaller} ({reason})"
        )


def record_ladder(
    record: "RunRecord",
    *,
    allow_quality_loss: bool,
    base: Rung | None = None,
    steps: Sequence[str] = (),
    quality_loss: bool = False,
) -> OomLadder:
    """The ladder of a piece of a run's work; the arguments are those of `OomLadder`."""
    return OomLadder(
        record.as_asked,
        record.model,
        num_objects=record.most_objects,
        device=record.settings.device,
        allow_quality_loss=allow_quality_loss,
        base=base,
        steps=steps,
        quality_loss=quality_loss,
        doing="" if record.backward_from is None else " while tracking backward",
    )


def describe_step(before: Rung, after: Rung) -> str:
    """What one step down gives up, for a person."""
    if after.image_size != before.image_size:
        return f"image size {before.image_size} -> {after.image_size}, masks are coarser from here"
    if after.bank_on_cpu != before.bank_on_cpu:
        return "memory bank moved to the CPU"
    if after.object_batch != before.object_batch:
        return f"object batch {before.object_batch} -> {after.object_batch}"
    halved = [
        f"{name} batch {was} -> {now}"
        for name, was, now in (
            ("encode", before.encode_batch, after.encode_batch),
            ("detect", before.detect_batch, after.detect_batch),
        )
        if was != now
    ]
    return ", ".join(halved) or "freed caches and tried again"


def describe_rung(rung: Rung) -> str:
    """All of a rung, for a person."""
    bank = ", memory bank on the CPU" if rung.bank_on_cpu else ""
    detector = f", detect batch {rung.detect_batch}" if rung.detect_batch > 1 else ""
    return (
        f"encode batch {rung.encode_batch}, object batch {rung.object_batch}, "
        f"image size {rung.image_size}{detector}{bank}"
    )


def _smaller_sizes(model: ModelSpec) -> list[int]:
    """Input sizes below the model's own that its architecture can take, descending."""
    wanted = [int(model.image_size * part) for part in _SMALLER]
    fitting = (next((n for n in range(most, 0, -1) if _fits(model, n)), 0) for most in wanted)
    return [size for size in dict.fromkeys(fitting) if 0 < size < model.image_size]


def _fits(model: ModelSpec, size: int) -> bool:
    try:
        resized_model(model, size)
    except InputError:
        return False
    return True
