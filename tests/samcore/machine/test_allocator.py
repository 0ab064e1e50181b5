"""Freed memory stays with the process that computes frame after frame."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, threading
import torch
from samcore.machine.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        held = [torch.ones(10_000_000) for _ in range(3)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    torch.set_num_threads(1)
    faults()
    print(faults())

if sys.argv[1] == "keep":
    assert keep_freed_memory()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_tensors_of_the_next_frame_cost_no_page_faults() -> None:
    """Three tensors of 40 MB, made and freed again and again in a thread: their pages stay."""
    kept, given_back = (
        int(subprocess.check_output([sys.executable, "-c", SCRIPT, how], text=True))
        for how in ("keep", "give back")
    )

    assert given_back > 10 * max(kept, 1)
