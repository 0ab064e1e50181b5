"""How much memory this process uses: now, and at most since a moment."""

import contextlib
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import psutil

MEMORY_LOG_HEADER = "time,run,chunk,frame,rss_bytes,vram_allocated_bytes,vram_reserved_bytes"
"""Columns of a run's log of memory use, which its report reads."""

_T = TypeVar("_T")

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK_RSS = "5"
"""Linux: this, written to clear_refs, sets the peak to the present use."""


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """Memory in bytes; peaks are since the meter was started."""

    rss_bytes: int
    """Main memory that the process holds now."""
    peak_rss_bytes: int
    """The most that it held; while the meter runs never below `rss_bytes`."""
    vram_bytes: int | None
    """Memory of tensors on all CUDA devices now; None while no CUDA device is in use."""
    peak_vram_bytes: int | None
    """The most of it (summed over devices, each at its own peak); None like `vram_bytes`."""
    reserved_vram_bytes: int | None = None
    """What torch holds of all CUDA devices now, its caches included; None like `vram_bytes`."""


class MemoryMeter:
    """Reads the memory of this process; a context manager that starts with its block.

    The peak of main memory is the kernel's own where Linux lets us set it back at the start,
    so that not even a short peak is missed; elsewhere it is what a thread saw that looks every
    `interval_s`, and the kernel's peak of the whole process if that rose since the start. Meters
    may be nested and overlap.
    """

    def __init__(self, *, interval_s: float = 0.05) -> None:
        """Nothing is measured before the block is entered."""
        if interval_s <= 0:
            raise ValueError(f"the interval must be above 0 seconds, got {interval_s = }")
        self._interval_s = interval_s
        self._process = psutil.Process()
        self._peak_rss = 0
        self._peak_vram: dict[int, int] = {}
        self._kernel_at_start = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "MemoryMeter":
        if self._thread is not None:
            raise ValueError("a MemoryMeter runs once; make another one")
        with _running_lock:
            # The kernel's and torch's peaks are the process's: what the other meters saw of them
            # has to be kept before they are set back.
            for meter in _running:
                meter._take_peaks()
            _reset_kernel_peak()
            _reset_vram_peak()
            self._kernel_at_start = _kernel_peak()
            self._peak_rss = self._process.memory_info().rss
            _running.add(self)
        self._thread = threading.Thread(target=self._sample, name="memory-meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with _running_lock:
            self._take_peaks()
            _running.discard(self)

    def snapshot(self) -> MemoryReading:
        """Read now; some tens of microseconds, so once a frame is fine.

        After the block the peaks stay as they were at its end.
        """
        rss = self._process.memory_info().rss
        vram = _vram()
        with _running_lock:
            if self in _running:
                self._peak_rss = max(self._peak_rss, rss)
                self._take_peaks()
        return MemoryReading(
            rss_bytes=rss,
            peak_rss_bytes=self._peak_rss,
            vram_bytes=None if vram is None else sum(now for now, _ in vram),
            peak_vram_bytes=None if vram is None else sum(self._peak_vram.values()),
            reserved_vram_bytes=_reserved_vram(),
        )

    def _sample(self) -> None:
        while not self._stop.wait(self._interval_s):
            # Even to look takes a little memory; where there is none, the next look counts.
            with contextlib.suppress(MemoryError):
                rss = self._process.memory_info().rss
                with _running_lock:
                    self._peak_rss = max(self._peak_rss, rss)

    def _take_peaks(self) -> None:
        """Fold in the process's own peaks. Only with `_running_lock` held."""
        self._peak_rss = max(self._peak_rss, self._process.memory_info().rss)
        kernel = _kernel_peak()
        # A peak that has not moved since the start may be from before it.
        if kernel > self._kernel_at_start:
            self._peak_rss = max(self._peak_rss, kernel)
        for device, (_, peak) in enumerate(_vram() or ()):
            self._peak_vram[device] = max(self._peak_vram.get(device, 0), peak)


class StageClock:
    """Adds up where the time goes, by the name of a stage.

    It is the time that the caller waits. A GPU works while its caller goes on, so there the time
    of one stage shows in the next one that needs its result.
    """

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        """Go on from what was counted before."""
        self._seconds: defaultdict[str, float] = defaultdict(float, before or {})

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage, in the order in which the stages were first met."""
        return dict(self._seconds)

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes, also one that fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - started

    def waiting(self, stage: str, items: Iterable[_T]) -> Iterator[_T]:
        """The same items; the time that they are waited for is added."""
        iterator = iter(items)
        while True:
            with self(stage):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


_running: set[MemoryMeter] = set()
_running_lock = threading.Lock()


def _kernel_peak() -> int:
    """The kernel's peak of this process's main memory in bytes; 0 where there is none to ask."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if os.name != "posix":
        return 0
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_kernel_peak() -> None:
    with contextlib.suppress(OSError):  # not Linux, or a container that forbids it
        _CLEAR_REFS.write_text(_RESET_PEAK_RSS)


def _vram() -> list[tuple[int, int]] | None:
    """Bytes of tensors now and at their peak for each CUDA device; None if CUDA is not in use."""
    # A process that has not imported torch uses no GPU, and must not wait seconds for it here.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return [
        (torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device))
        for device in range(torch.cuda.device_count())
    ]


def _reserved_vram() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return sum(int(torch.cuda.memory_reserved(d)) for d in range(torch.cuda.device_count()))


def _reset_vram_peak() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
