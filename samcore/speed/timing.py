"""How long work takes, how many operations it is, and how many the machine can do."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from samcore.machine.device import Compute
from samcore.machine.meters import MemoryMeter, MemoryReading

MOST_RUNS = 30
"""Runs of one work; more say nothing more of the median."""
_PROBE_S = 0.1
_LONG_ENOUGH_S = 0.01
_SIDES = (256, 512, 1024, 2048, 4096, 8192)
_RATE_S = 0.5

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one run takes."""

    median_s: float
    least_s: float
    runs: int
    flops: int
    """Of one run."""
    memory: MemoryReading
    """With the peaks of all runs."""


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def time_work(work: Work, *, device: torch.device, seconds: float) -> Timing:
    """Run work again and again; for its first run, which fills caches, its operations are counted.

    Args:
        work: Gives its result, so that nothing of it is left undone.
        device: Where it computes.
        seconds: For the runs that are timed: no new one begins after that. There is one at least.
    """
    taken: list[float] = []
    with MemoryMeter() as meter:
        flops = count_flops(work)
        synchronise(device)
        begun = time.perf_counter()
        while not taken or (len(taken) < MOST_RUNS and time.perf_counter() - begun < seconds):
            taken.append(_once(work, device))
    return Timing(statistics.median(taken), min(taken), len(taken), flops, meter.snapshot())


def count_flops(work: Work) -> int:
    """Floating-point operations of one run: matrix products, convolutions and attention, two for a
    multiplication and an addition."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


class MatrixProducts:
    """Square matrix products in one arithmetic: what a device can do at most."""

    def __init__(self, compute: Compute) -> None:
        """Make no matrix yet."""
        self._compute = compute

    def flops_per_s(self, *, seconds: float = _RATE_S) -> float:
        """Operations a second of the fastest product, of several sizes.

        Args:
            seconds: Larger sizes are tried until one product takes a fourth of it.
        """
        best = 0.0
        for side in _SIDES:
            work = self._product(side)
            begun = time.perf_counter()
            once = min(self._tries(work, seconds / len(_SIDES)))
            best = max(best, 2 * side**3 / once)
            if time.perf_counter() - begun > seconds / 4 and once > seconds / 16:
                break
        return best

    def probe(self) -> Callable[[], float]:
        """What takes the time of one product, long enough to be timed: the best of a tenth of a
        second, since a device may have to wake up first."""
        for side in _SIDES:
            work = self._product(side)
            if min(self._tries(work, _PROBE_S)) > _LONG_ENOUGH_S:
                break
        return lambda: min(self._tries(work, _PROBE_S))

    def _product(self, side: int) -> Work:
        compute = self._compute
        left, right = torch.randn(2, side, side, device=compute.device).to(compute.dtype)
        out = torch.empty_like(left)

        def multiply() -> None:
            with torch.inference_mode():
                torch.mm(left, right, out=out)

        return multiply

    def _tries(self, work: Work, seconds: float) -> list[float]:
        work()
        synchronise(self._compute.device)
        begun, taken = time.perf_counter(), [_once(work, self._compute.device)]
        while time.perf_counter() - begun < seconds:
            taken.append(_once(work, self._compute.device))
        return taken


def _once(work: Work, device: torch.device) -> float:
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started
