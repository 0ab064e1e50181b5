"""Memory of the process, now and at its peak."""

import contextlib
import mmap
import sys
import time
from pathlib import Path

import pytest

from samcore.machine import meters
from samcore.machine.meters import MemoryMeter

MIB = 2**20
SLACK = 12 * MIB


@contextlib.contextmanager
def held_memory(size):
    """Hold `size` bytes, from the kernel: the allocator may have as much to spare."""
    with mmap.mmap(-1, size) as block:
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1
        yield


def use_memory(size):
    """Hold `size` bytes for a moment."""
    with held_memory(size):
        pass


@pytest.fixture(params=["kernel peak", "sampled peak"])
def peak_source(request, monkeypatch):
    """With the kernel's peak, and as on a system that cannot be asked for it."""
    if request.param == "kernel peak" and not meters._CLEAR_REFS.exists():
        pytest.skip("only Linux can set the kernel's peak back")
    if request.param == "sampled peak":
        monkeypatch.setattr(meters, "_kernel_peak", lambda: 0)
    return request.param


def test_a_peak_that_is_over_is_still_seen(peak_source):
    """Memory that was used and given back counts in the peak, not in the present use."""
    with MemoryMeter(interval_s=0.002) as meter:
        before = meter.snapshot()
        with held_memory(150 * MIB):
            if peak_source == "sampled peak":
                time.sleep(0.5)  # the thread looks, also on a busy machine
        after = meter.snapshot()

    assert after.peak_rss_bytes >= before.rss_bytes + 150 * MIB - SLACK
    assert after.rss_bytes < before.rss_bytes + SLACK
    assert meter.snapshot().peak_rss_bytes >= after.peak_rss_bytes


@pytest.mark.skipif(not meters._CLEAR_REFS.exists(), reason="only Linux can set the peak back")
def test_a_peak_between_two_looks_is_seen():
    """The kernel's peak misses nothing, however seldom the thread looks."""
    with MemoryMeter(interval_s=60) as meter:
        before = meter.snapshot().rss_bytes
        use_memory(150 * MIB)
        assert meter.snapshot().peak_rss_bytes >= before + 150 * MIB - SLACK


@pytest.mark.parametrize("may_reset", [True, False])
def test_a_peak_before_the_start_does_not_count(may_reset, monkeypatch):
    """A meter starts from the present use, also where the kernel's peak cannot be set back."""
    if not may_reset:
        monkeypatch.setattr(meters, "_CLEAR_REFS", Path("/nowhere/clear_refs"))
    use_memory(150 * MIB)

    with MemoryMeter() as meter:
        reading = meter.snapshot()

    assert reading.peak_rss_bytes < reading.rss_bytes + SLACK


def test_an_inner_meter_does_not_hide_the_outer_ones_peak():
    """Starting a second meter sets the kernel's peak back; the first keeps what it saw."""
    with MemoryMeter(interval_s=60) as outer:
        before = outer.snapshot().rss_bytes
        use_memory(150 * MIB)
        with MemoryMeter(interval_s=60) as inner:
            use_memory(20 * MIB)
        assert inner.snapshot().peak_rss_bytes < before + 20 * MIB + SLACK

    assert outer.snapshot().peak_rss_bytes >= before + 150 * MIB - SLACK


def test_meter_keeps_the_peak_after_the_block():
    """What is used after the block is no longer this meter's."""
    with MemoryMeter() as meter:
        pass
    at_end = meter.snapshot()
    with held_memory(100 * MIB):
        later = meter.snapshot()

    assert later.rss_bytes > at_end.rss_bytes + 100 * MIB - SLACK
    assert later.peak_rss_bytes == at_end.peak_rss_bytes


def test_meter_reads_no_vram_without_cuda():
    """Where no CUDA device is in use there is no number to give, not even 0."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        pytest.skip("another test of this process uses CUDA")
    with MemoryMeter() as meter:
        reading = meter.snapshot()

    assert reading.vram_bytes is None
    assert reading.peak_vram_bytes is None


@pytest.mark.needs_cuda
def test_vram_now_and_at_its_peak():
    """Tensors that are gone count in the peak of the device, not in its present use."""
    import torch  # seconds that only this test should pay

    kept = torch.zeros(8 * MIB, dtype=torch.uint8, device="cuda")
    with MemoryMeter() as meter:
        before = meter.snapshot()
        gone = torch.zeros(256 * MIB, dtype=torch.uint8, device="cuda")
        del gone
        after = meter.snapshot()

    assert before.vram_bytes is not None
    assert before.vram_bytes >= len(kept)
    assert after.vram_bytes == before.vram_bytes
    assert after.peak_vram_bytes >= before.vram_bytes + 256 * MIB


def test_a_meter_runs_once():
    """Entering a meter again would mix two peaks, so it is refused."""
    meter = MemoryMeter()
    with meter:
        pass
    with pytest.raises(ValueError, match="make another one"), meter:
        pass
