"""Whether a machine is quiet: the rule on numbers, and the counting on a machine that is not."""

import subprocess
import sys
import time

import psutil
import pytest

from samcore.speed.quiet import QuietWatch, judge


@pytest.mark.parametrize(
    ("others", "cores", "probes", "said"),
    [
        (0.1, 2, [1.0, 1.2], []),
        (0.5, 2, [1.0], ["other processes kept 0.5 of 2 cores busy"]),
        (0.9, 16, [1.0], []),
        (2.0, 16, [1.0], ["other processes kept 2.0 of 16 cores busy"]),
        (0.0, 16, [1.0, 1.7], ["took 1.7 times as long"]),
        (1.0, 2, [3.0, 1.0], ["cores busy", "took 3.0 times as long"]),
        (0.0, 2, [], []),
    ],
)
def test_the_rule(others, cores, probes, said):
    """Others may keep a fifth of a core busy, or a tenth of many; one product takes about as long
    at all times. The reason names the numbers."""
    verdict = judge(others_cores=others, cores=cores, probes_s=probes)

    assert bool(verdict.reason) == bool(said)
    for words in said:
        assert words in verdict.reason


def test_probes_are_compared_with_themselves():
    """Two products of different sizes are not one that became slower."""
    watch = QuietWatch()
    for seconds in (1.0, 5.0):
        probe = watch.new_probe(lambda seconds=seconds: seconds)
        probe()
        probe()

    assert watch.verdict().slowdown == 1.0


def test_the_time_of_others_is_counted_and_not_ones_own():
    """What another process computes meanwhile is seen; what this one does is not others'."""
    watch = QuietWatch()
    begun = time.monotonic()
    # Reaped only afterwards: of what this process has seen the end of, the time is its own.
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            spinning = psutil.Process(other.pid)
            own = time.process_time()
            while spinning.cpu_times().user < 0.5:
                pass
            own = time.process_time() - own
            verdict = watch.verdict()
            passed = time.monotonic() - begun
        finally:
            other.kill()

    assert verdict.others_cores * passed > 0.4
    assert verdict.others_cores * passed < verdict.cores * passed - own + 0.2
