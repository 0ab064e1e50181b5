"""What follows from measurements: how near each stage is to the limit, and what to choose."""

from collections.abc import Iterable
from dataclasses import dataclass

from samcore.progress import counted
from samcore.speed.record import (
    IMAGES,
    PER_FRAME,
    PER_OBJECT,
    WHOLE,
    BenchRecord,
    Choice,
    Measured,
    Setup,
)

WORTH = 0.05
"""A batch is changed for so much of a frame's time, and not for less."""
_EXACTNESS = ("float16", "bfloat16", "float32")


def conclude(record: BenchRecord, *, fps: float | None = None) -> BenchRecord:
    """Say what follows; nothing if the machine was busy.

    Args:
        record: What was measured.
        fps: Frames a second that are wanted; None if nobody wants any number.
    """
    if record.busyness.reason:
        return record
    concluded = record.model_copy(update={"setups": tuple(map(_with_limits, record.setups))})
    if fps is None:
        return concluded
    objects = sorted({one.objects for one in _wholes(concluded) if one.objects is not None})
    choices = tuple(_choose(concluded.setups, count, fps) for count in objects)
    return concluded.model_copy(update={"choices": choices})


def choice_line(choice: Choice) -> str:
    """What to take, in one line."""
    about = "about " if choice.estimated else ""
    head = f"{choice.wanted_fps:g} frames/s of {counted(choice.objects, 'object')}: "
    gives = f"gives {about}{choice.fps:.1f}"
    if not choice.reached:
        head += "nothing that was measured reaches it; the fastest, "
    batch = "" if choice.encode_batch == 1 else f", encode_batch {choice.encode_batch},"
    return (
        f"{head}--model {choice.model} --image-size {choice.image_size} --dtype {choice.dtype}"
        f"{batch} {gives}"
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to track some objects."""

    setup: Setup
    fps: float
    estimated: bool
    encode_batch: int

    @property
    def quality(self) -> tuple[int, int, int]:
        """Large models are better than small ones, large inputs than small ones, and exact
        arithmetic than narrow one; in this order."""
        exactness = _EXACTNESS.index(self.setup.dtype) if self.setup.dtype in _EXACTNESS else -1
        return self.setup.weights_bytes, self.setup.image_size, exactness


def frame_ms(setup: Setup, objects: int) -> tuple[float, bool] | None:
    """Milliseconds a frame with full memory, and whether that is put together from stages; None if
    whole tracking was not measured for so many objects."""
    whole = setup.find(WHOLE, objects=objects)
    if whole is None:
        return None
    if whole.memories is None or whole.memories >= setup.num_maskmem:
        return whole.ms, False
    parts = [setup.find(stage) for stage in PER_FRAME]
    parts += [setup.find(stage, objects=objects) for stage in PER_OBJECT]
    return max(whole.ms, sum(part.ms for part in parts if part is not None)), True


def best_batch(setup: Setup) -> Measured | None:
    """The number of pictures at once with the most pictures a second; a smaller one, if it has
    nearly as many."""
    measured = [one for one in setup.measured if one.stage == IMAGES]
    if not measured:
        return None
    least = min(one.ms for one in measured)
    return next(one for one in measured if one.ms <= least * (1 + WORTH))


def _with_limits(setup: Setup) -> Setup:
    rate = setup.matrix_flops_per_s
    if not rate:
        return setup
    measured = tuple(
        one.model_copy(update={"of_limit": one.flops / (one.ms / 1e3) / rate}) if one.flops else one
        for one in setup.measured
    )
    return setup.model_copy(update={"measured": measured})


def _wholes(record: BenchRecord) -> Iterable[Measured]:
    return (one for setup in record.setups for one in setup.measured if one.stage == WHOLE)


def _choose(setups: Iterable[Setup], objects: int, fps: float) -> Choice:
    """The best way that reaches the number, else the fastest one."""
    ways = [way for setup in setups if (way := _way(setup, objects)) is not None]
    reaching = [way for way in ways if way.fps >= fps]
    best = max(reaching or ways, key=lambda way: way.quality if reaching else (way.fps,))
    return Choice(
        objects=objects,
        wanted_fps=fps,
        reached=bool(reaching),
        fps=best.fps,
        estimated=best.estimated,
        model=best.setup.model,
        image_size=best.setup.image_size,
        dtype=best.setup.dtype,
        encode_batch=best.encode_batch,
    )


def _way(setup: Setup, objects: int) -> _Way | None:
    """A setup with the batch that gives it the most frames a second."""
    found = frame_ms(setup, objects)
    if found is None:
        return None
    ms, estimated = found
    batch = setup.encode_batch
    now, best = setup.find(IMAGES, batch=batch), best_batch(setup)
    if now is not None and best is not None and now.ms - best.ms > WORTH * ms:
        # Whole tracking was measured with the other batch.
        ms, estimated, batch = ms - now.ms + best.ms, True, best.batch
    return _Way(setup, 1e3 / ms, estimated, batch)
