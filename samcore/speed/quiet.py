"""Whether a machine is quiet enough for its numbers to mean something."""

import os
import time
from collections.abc import Callable, Sequence

import psutil

from samcore.speed.record import Busyness

OTHERS_CORES = 0.2
"""Other processes may keep so much of a core busy,"""
OTHERS_SHARE = 0.1
"""or this share of the cores, whichever is more."""
SLOWDOWN = 1.5
"""One matrix product, at the best of several tries, may take so many times as long at one time as
at another. What that shows besides: others on the GPU, a processor that throttles, a limit of CPU
time."""


def judge(*, others_cores: float, cores: int, probes_s: Sequence[float]) -> Busyness:
    """Whether something may be concluded from what was measured meanwhile.

    Args:
        others_cores: Cores that other processes kept busy on average.
        cores: Those that this process may run on.
        probes_s: Seconds of one and the same matrix product, from time to time.
    """
    slowdown = max(probes_s) / min(probes_s) if probes_s else 1.0
    may = max(OTHERS_CORES, OTHERS_SHARE * cores)
    reasons = []
    if others_cores > may:
        reasons.append(
            f"other processes kept {others_cores:.1f} of {cores} cores busy (at most {may:.1f} may "
            "be)"
        )
    if slowdown > SLOWDOWN:
        reasons.append(
            f"one and the same matrix product took {slowdown:.1f} times as long at one time as at "
            f"another (at most {SLOWDOWN} times)"
        )
    return Busyness(
        others_cores=round(others_cores, 3),
        cores=cores,
        slowdown=round(slowdown, 3),
        reason=" and ".join(reasons),
    )


class QuietWatch:
    """Watches what others do, from its making on."""

    def __init__(self) -> None:
        """Note where the clocks stand."""
        self._process = psutil.Process()
        self._cores = usable_cores()
        self._probes_s: list[list[float]] = []
        self._begun = time.monotonic()
        self._busy, self._own = self._busy_s(), self._own_s()

    def new_probe(self, probe: Callable[[], float]) -> Callable[[], None]:
        """What to call from time to time.

        Args:
            probe: Seconds that one and the same work takes now. Those of different probes are not
                compared.
        """
        seconds: list[float] = []
        self._probes_s.append(seconds)
        return lambda: seconds.append(probe())

    def verdict(self) -> Busyness:
        """What was seen up to now."""
        passed = max(time.monotonic() - self._begun, 1e-3)
        others = self._busy_s() - self._busy - (self._own_s() - self._own)
        worst = max(self._probes_s, key=lambda one: max(one) / min(one) if one else 1, default=[])
        return judge(others_cores=max(0.0, others / passed), cores=len(self._cores), probes_s=worst)

    def _busy_s(self) -> float:
        """Seconds that these cores worked, for whomever: also for other virtual machines."""
        each = psutil.cpu_times(percpu=True)
        return sum(
            float(value)
            for core in self._cores
            if core < len(each)
            for name, value in each[core]._asdict().items()
            # The time of guests is in that of users.
            if name not in ("idle", "iowait", "guest", "guest_nice")
        )

    def _own_s(self) -> float:
        """Those of this process, and of what it started and saw the end of."""
        return float(sum(self._process.cpu_times()[:4]))


def usable_cores() -> list[int]:
    """The numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
