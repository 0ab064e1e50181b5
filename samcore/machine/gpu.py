"""How busy the machine's NVIDIA GPUs are, and how full, by NVML: what `nvidia-smi` shows.

All processes on a GPU count, unlike in `meters`, which knows what this process has asked torch for.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from samcore.errors import InputError

_INTERVAL_S = 1.0
"""NVML itself averages over up to a second."""
_LONGEST_JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU at one moment."""

    index: int
    """As `nvidia-smi` counts them."""
    name: str
    used_bytes: int
    """Memory in use, by all processes."""
    total_bytes: int
    utilization: int | None
    """Percent of the last moment in which something ran on it; None where it does not tell."""


class GpuMeter(Protocol):
    """What reads the GPUs."""

    def read(self) -> Sequence[GpuReading]:
        """All GPUs now; one that does not answer is left out."""

    def close(self) -> None:
        """Ask no more."""


class NvmlMeter:
    """Reads all NVIDIA GPUs of the machine."""

    def __init__(self) -> None:
        """Open NVML.

        Raises:
            InputError: The package is not here, or there is no NVIDIA GPU or driver.
        """
        try:
            import pynvml  # late: few machines have it, and fewer a GPU
        except ImportError as error:
            raise InputError(
                "the GPU cannot be watched: there is no package nvidia-ml-py; install it by `pip "
                "install 'longtake[gpu]'`"
            ) from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            raise InputError(
                f"there is no NVIDIA GPU here that can be watched (NVML: {error})"
            ) from error
        if not count:
            self.close()
            raise InputError("there is no NVIDIA GPU here that can be watched (NVML finds none)")
        self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    def read(self) -> list[GpuReading]:
        """All GPUs now; one that does not answer is left out."""
        readings: list[GpuReading] = []
        for index, handle in enumerate(self._handles):
            with contextlib.suppress(self._nvml.NVMLError):
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                name = self._nvml.nvmlDeviceGetName(handle)
                readings.append(
                    GpuReading(
                        index=index,
                        name=name.decode() if isinstance(name, bytes) else str(name),
                        used_bytes=int(memory.used),
                        total_bytes=int(memory.total),
                        utilization=self._utilization(handle),
                    )
                )
        return readings

    def close(self) -> None:
        """Ask no more."""
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _utilization(self, handle: object) -> int | None:
        with contextlib.suppress(self._nvml.NVMLError):  # a part of a GPU (MIG) does not tell
            return int(self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return None


def find_gpu_meter() -> GpuMeter | None:
    """What reads the GPUs; None where there are none, or nothing that can read them."""
    with contextlib.suppress(InputError):
        return NvmlMeter()
    return None


class GpuWatch:
    """Tells now and then how the GPUs are, from a thread; a context manager."""

    def __init__(
        self,
        meter: GpuMeter,
        tell: Sequence[Callable[[Sequence[GpuReading]], None]],
        *,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        """Read nothing yet.

        Args:
            meter: Read from the thread, and closed at the end.
            tell: Called with each reading.
            interval_s: Seconds between two.
        """
        self._meter = meter
        self._tell = tuple(tell)
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gpu-watch", daemon=True)

    def __enter__(self) -> "GpuWatch":
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(_LONGEST_JOIN_S)
        if not self._thread.is_alive():
            self._meter.close()

    def _watch(self) -> None:
        while True:
            readings = self._meter.read()
            if readings:
                for tell in self._tell:
                    tell(readings)
            if self._stop.wait(self._interval_s):
                return
