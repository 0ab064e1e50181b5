"""What `longtake bench` does and prints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.commands.lines import aligned
from flows.commands.process import StoppedForGood, Terminated
from samcore.errors import InputError
from samcore.machine.allocator import keep_freed_memory
from samcore.machine.device import choose_compute
from samcore.models.registry import needs_download, resolve_model
from samcore.progress import counted, reporter
from samcore.speed.advice import best_batch, choice_line, conclude
from samcore.speed.bench import Bench, Wanted
from samcore.speed.page import write_page
from samcore.speed.record import IMAGES, STAGES, WHOLE, BenchRecord, LeftOut, Setup
from tasks.settings import Settings, sets_allocator


@dataclass(frozen=True, slots=True)
class Finished:
    """What was measured, and how it ended."""

    record: BenchRecord
    stop: KeyboardInterrupt | Terminated | None
    """What stopped it; None if all was measured."""

    def end(self) -> None:
        """Leave as the command has to.

        Raises:
            StoppedForGood: Ctrl-C or SIGTERM stopped it.
            InputError: Nothing may be concluded.
        """
        if self.stop is not None:
            text = "stopped; what was measured until then is all there is"
            raise StoppedForGood(text) from self.stop
        if self.record.busyness.reason:
            raise InputError(
                f"no conclusions: {self.record.busyness.reason}; run it again when the machine "
                "does nothing else"
            )


def run_bench(
    models: Sequence[str | None],
    *,
    image_sizes: Sequence[int | None],
    objects: Sequence[int],
    device: str,
    dtypes: Sequence[str],
    seconds: float,
    fps: float | None,
    page: Path | None,
    settings: Settings,
) -> Finished:
    """Measure every model at every size in every arithmetic.

    Args:
        models: As `--model` of `longtake track`; None is the default model.
        image_sizes: Sides of the input in pixels; None is the model's own.
        objects: Numbers of objects.
        device: As of `longtake track`.
        dtypes: As `--dtype` of `longtake track`.
        seconds: For one measurement.
        fps: Frames a second that are wanted, if any are.
        page: The HTML file to write, if one is wanted and something was measured.
        settings: Of the environment.

    Raises:
        SegmentationError: Something that the person can put right.
    """
    for dtype in dtypes:  # a device that is not here is said before a download
        choose_compute(device, dtype)
    cache_dir = settings.cache_dir
    specs = [
        resolve_model(
            model,
            image_size=size,
            cache_dir=cache_dir,
            on_progress=reporter("downloading the model", "MB", scale=1_000_000),
        )
        # One that nobody knows is said before a download, too.
        for model in sorted(dict.fromkeys(models), key=lambda one: needs_download(one, cache_dir))
        for size in dict.fromkeys(image_sizes)
    ]
    wanted = [
        Wanted(spec, choose_compute(device, dtype, spec)) for spec in specs for dtype in dtypes
    ]
    bench = Bench(list(dict.fromkeys(wanted)), objects=objects, seconds=seconds)
    if wanted[0].compute.device.type == "cpu" and not sets_allocator():
        keep_freed_memory()
    stop: KeyboardInterrupt | Terminated | None = None
    try:
        bench.run()
    except (KeyboardInterrupt, Terminated) as signal:
        stop = signal
    record = conclude(bench.record(), fps=fps)
    if page is not None and record.setups:
        write_page(record, page)
    return Finished(record, stop)


def bench_lines(record: BenchRecord) -> Iterator[str]:
    """What was measured, for a person."""
    yield (
        f"{record.machine.device}; {record.machine.cpu}; frames of {record.frame_width} x "
        f"{record.frame_height} pixels"
    )
    for setup in record.setups:
        yield ""
        yield from _setup_lines(setup, is_quiet=not record.busyness.reason)
    if record.choices:
        yield ""
        yield from map(choice_line, record.choices)
    if record.busyness.reason and not record.complete:
        yield ""
        yield f"no conclusions: {record.busyness.reason}"


def _setup_lines(setup: Setup, *, is_quiet: bool) -> Iterator[str]:
    rate = setup.matrix_flops_per_s
    said = "" if rate is None else f": matrix products at {rate / 1e9:.0f} GFLOP/s"
    yield f"{setup.model} at {setup.image_size} px in {setup.dtype}{said}"
    yield from aligned(list(_table(setup)))
    pictures = [one for one in setup.measured if one.stage == IMAGES]
    if pictures:
        rates = ", ".join(f"{1e3 / one.ms:.1f} by {one.batch}" for one in pictures)
        best = best_batch(setup)
        yield f"images/s through the encoder: {rates}" + (
            f"; best by {best.batch}" if is_quiet and best is not None else ""
        )
    ram = max((one.peak_rss_bytes for one in setup.measured), default=0)
    vram = max((one.peak_vram_bytes or 0 for one in setup.measured), default=0)
    if ram:
        gpu = f", GPU {vram / 1e9:.1f} GB" if vram else ""
        yield f"peak memory: {ram / 1e9:.1f} GB{gpu}"
    for one in setup.measured:
        if one.memories is not None and one.memories < setup.num_maskmem:
            yield (
                f"{WHOLE}, {counted(one.objects or 0, 'object')}: after {one.memories} of "
                f"{setup.num_maskmem} memories; later frames are slower, and a larger "
                "--seconds measures them"
            )
    yield from map(_left_out_line, setup.left_out)


def _table(setup: Setup) -> Iterator[list[str]]:
    """A row a stage, a column a number of objects, and how near it is to the limit."""
    counts = sorted({one.objects for one in setup.measured if one.objects is not None})
    has_limits = any(one.of_limit is not None for one in setup.measured)
    # Stopped early, it has the stages alone that have no objects: one column without a name.
    titles = [counted(count, "object") for count in counts] or [""]
    yield ["MS A FRAME", *titles, "OF LIMIT" if has_limits else ""]
    for stage in STAGES:
        if stage == IMAGES:
            continue
        found = [setup.find(stage, objects=count) for count in counts]
        alone = setup.find(stage)
        if alone is not None:
            found = [alone] * len(titles)
        there = [one for one in found if one is not None]
        if there:
            limit = there[-1].of_limit
            yield [
                stage,
                *("-" if one is None else f"{one.ms:.2f}" for one in found),
                "" if limit is None else f"{limit:.0%}",
            ]
    wholes = [setup.find(WHOLE, objects=count) for count in counts]
    if any(wholes):
        yield ["frames/s", *("-" if one is None else f"{1e3 / one.ms:.1f}" for one in wholes), ""]


def _left_out_line(one: LeftOut) -> str:
    of = f"{one.batch} at once" if one.objects is None else counted(one.objects, "object")
    return f"left out: {one.stage}, {of}: {one.reason}"
