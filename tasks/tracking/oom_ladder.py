"""What is given up, step by step, when memory does not suffice."""

from collections.abc import Callable
from typing import TypeVar

from samcore.errors import InputError, OutOfMemory
from samcore.machine.out_of_memory import free_caches, memory_failure
from samcore.models.registry import ModelSpec, resized_model
from tasks.run.records import Rung

_T = TypeVar("_T")
_SMALLER = (3 / 4, 1 / 2, 3 / 8, 1 / 4)
"""Sides of the model's input, as parts of the one asked for."""


def ladder_rungs(
    base: Rung, model: ModelSpec, *, num_objects: int, device: str, allow_quality_loss: bool
) -> tuple[Rung, ...]:
    """How much is done at once: first as much as wanted, then less and less.

        0  as wanted
        1  the same again, with all caches freed
        .. half as many frames in the encoder, down to one
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

    while rungs[-1].encode_batch > 1:
        add(encode_batch=rungs[-1].encode_batch // 2)
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
    """Where on the ladder some work is, and what it has given up on the way down."""

    def __init__(
        self,
        rungs: tuple[Rung, ...],
        *,
        at: int = 0,
        device: str,
        on_step: Callable[[int, str], None],
    ) -> None:
        """Stand on a rung.

        Args:
            rungs: From `ladder_rungs`.
            at: The one to begin on, its place in `rungs`.
            device: For the error at the bottom.
            on_step: Told of each step down: the new place, and what was given up and why.
        """
        self._rungs = rungs
        self._at = min(at, len(rungs) - 1)
        self._device = device
        self._on_step = on_step

    @property
    def rung(self) -> Rung:
        """How much to do at once."""
        return self._rungs[self._at]

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
        self._on_step(self._at, f"frame {frame_idx}: {describe_step(before, self.rung)} ({reason})")

    def insist(self, work: Callable[[], _T], *, frame_idx: Callable[[], int]) -> _T:
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
            f"out of memory at frame {frame_idx} on {self._device}, even with "
            f"{rung.encode_batch} frame and {most} at a time at {rung.image_size} px: free some "
            f"memory and run again{smaller} ({reason})"
        )


def describe_step(before: Rung, after: Rung) -> str:
    """What one step down gives up, for a person."""
    if after.image_size != before.image_size:
        return f"image size {before.image_size} -> {after.image_size}, masks are coarser from here"
    if after.bank_on_cpu != before.bank_on_cpu:
        return "memory bank moved to the CPU"
    if after.object_batch != before.object_batch:
        return f"object batch {before.object_batch} -> {after.object_batch}"
    if after.encode_batch != before.encode_batch:
        return f"encode batch {before.encode_batch} -> {after.encode_batch}"
    return "freed caches and tried again"


def describe_rung(rung: Rung) -> str:
    """All of a rung, for a person."""
    bank = ", memory bank on the CPU" if rung.bank_on_cpu else ""
    return (
        f"encode batch {rung.encode_batch}, object batch {rung.object_batch}, "
        f"image size {rung.image_size}{bank}"
    )


def _smaller_sizes(model: ModelSpec) -> list[int]:
    """Input sizes below the model's own that its architecture can take, descending."""
    sizes = dict.fromkeys(int(model.image_size * part) // 32 * 32 for part in _SMALLER)
    return [size for size in sizes if size < model.image_size and _fits(model, size)]


def _fits(model: ModelSpec, size: int) -> bool:
    try:
        resized_model(model, size)
    except InputError:
        return False
    return True
