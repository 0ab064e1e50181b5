"""The page of a benchmark: charts of the stages, and all numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samcore.disk.atomic import atomic
from samcore.progress import counted
from samcore.report.page import render_page
from samcore.report.plots import bars_figure
from samcore.speed.advice import choice_line
from samcore.speed.quiet import OTHERS_CORES, OTHERS_SHARE, SLOWDOWN
from samcore.speed.record import IMAGES, PER_FRAME, PER_OBJECT, WHOLE, BenchRecord, Measured, Setup


def write_page(record: BenchRecord, out: Path) -> None:
    """Write it; the file is there when all of it is.

    Raises:
        StorageError: It cannot be written.
    """
    with atomic(out) as file:
        file.write(render_bench(record).encode())


def render_bench(record: BenchRecord) -> str:
    """The page as text; it asks no other machine for anything."""
    figures: dict[str, Any] = {}
    setups = [
        _shown(setup, place, figures) for place, setup in enumerate(record.setups) if setup.measured
    ]
    return render_page(
        "speed.html.j2",
        figures,
        title=f"Speed of {', '.join(dict.fromkeys(one.model for one in record.setups))}",
        record=record,
        choices=[choice_line(choice) for choice in record.choices],
        setups=setups,
        about=list(_about(record)),
    )


def _shown(setup: Setup, place: int, figures: dict[str, Any]) -> dict[str, Any]:
    """What the page says of a setup; its plots are added to `figures`."""
    counts = sorted({one.objects for one in setup.measured if one.objects is not None})
    drawn = {
        "time": _time_figure(setup, counts),
        "limit": _limit_figure(setup, counts),
        "images": _images_figure(setup),
    }
    there = {name: figure for name, figure in drawn.items() if figure is not None}
    figures.update({f"{name}-{place}": figure for name, figure in there.items()})
    rate = setup.matrix_flops_per_s
    return {
        "title": f"{setup.model} at {setup.image_size} px in {setup.dtype}",
        "rate": "" if rate is None else f"matrix products at {rate / 1e9:,.0f} GFLOP/s",
        "names": {name: f"{name}-{place}" if name in there else "" for name in drawn},
        "most": counted(counts[-1], "object") if counts else "a frame",
        "whole": [one for one in setup.measured if one.stage == WHOLE],
        "measured": setup.measured,
        "left_out": setup.left_out,
        "num_maskmem": setup.num_maskmem,
    }


def _time_figure(setup: Setup, counts: list[int]) -> Any:
    """A bar for each number of objects, the stages in a row."""
    if not counts:
        return None
    parts: dict[str, list[float | None]] = {}
    for stage in (*PER_FRAME, *PER_OBJECT):
        found = [setup.find(stage) or setup.find(stage, objects=count) for count in counts]
        if any(found):
            parts[stage] = [None if one is None else one.ms for one in found]
    # The first bar is the lowest one: few objects are to be above many.
    backwards = {name: lengths[::-1] for name, lengths in parts.items()}
    names = [counted(count, "object") for count in reversed(counts)]
    return bars_figure(names, backwards, unit="ms", digits=2)


def _limit_figure(setup: Setup, counts: list[int]) -> Any:
    """A bar for each stage that has operations, for as many objects as were measured."""
    found: dict[str, Measured] = {}
    for one in setup.measured:
        if one.of_limit is not None and one.stage != IMAGES:
            found[one.stage] = one  # the last one has the most objects
    if not found:
        return None
    drawn = list(reversed(found.values()))
    names = [
        one.stage
        if one.objects in (None, counts[-1])
        else f"{one.stage}, {counted(one.objects, 'object')}"
        for one in drawn
    ]
    shares = [(one.of_limit or 0) * 100 for one in drawn]
    return bars_figure(names, {"": shares}, unit="%", digits=0)


def _images_figure(setup: Setup) -> Any:
    found = [one for one in setup.measured if one.stage == IMAGES]
    if not found:
        return None
    names = [f"{one.batch} at once" for one in reversed(found)]
    return bars_figure(names, {"": [1e3 / one.ms for one in reversed(found)]}, unit="/s")


def _about(record: BenchRecord) -> Iterator[tuple[str, str]]:
    machine, busy = record.machine, record.busyness
    yield "machine", f"{machine.cpu}, {machine.cores} cores, {machine.ram_bytes / 1e9:.0f} GB"
    yield "device", machine.device
    yield (
        "versions",
        f"Longtake {machine.longtake}, torch {machine.torch}, {machine.threads} threads",
    )
    yield (
        "others meanwhile",
        f"{busy.others_cores:.2f} of {busy.cores} cores; one matrix product took "
        f"{busy.slowdown:.2f} times as long at its slowest time as at its fastest",
    )
    yield (
        "when nothing is concluded",
        f"other processes keep more than {OTHERS_SHARE:.0%} of the cores busy, or {OTHERS_CORES} "
        f"cores where that is more; or that product takes more than {SLOWDOWN} times as long",
    )
    yield (
        "whole tracking",
        "from pixels to run lengths, with full memory; video decoding runs beside it, in a process "
        "of its own",
    )
    yield (
        "limit",
        "operations of matrix products, convolutions and attention, held against the fastest "
        "square matrix product of this device in this arithmetic",
    )
