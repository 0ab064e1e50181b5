"""Where the model runs and in which arithmetic."""

import functools
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from samcore.errors import InputError
from samcore.machine.precision import Bfloat16Units, Sized, cpu_dtype

logger = logging.getLogger(__name__)

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True, slots=True)
class Compute:
    """A device and the arithmetic that the model uses on it."""

    device: torch.device
    """With its index, if it is a CUDA device: equal devices compare equal."""
    dtype: torch.dtype
    """float32, bfloat16 or float16. Weights stay float32; the narrow ones are for autocast."""

    @property
    def dtype_name(self) -> str:
        """Such as `bfloat16`."""
        return str(self.dtype).removeprefix("torch.")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context to run the model in: mixed precision, or nothing for float32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @property
    def device_name(self) -> str:
        """For a person, such as `NVIDIA L4 (cuda:0)`."""
        name = str(self.device)
        if self.device.type == "cuda":
            name = f"{torch.cuda.get_device_name(self.device)} ({self.device})"
        elif self.device.type == "cpu":
            name = f"CPU ({torch.get_num_threads()} of {os.cpu_count()} cores)"
        elif self.device.type == "mps":
            name = "Apple GPU (mps)"
        return name

    def describe(self) -> str:
        """For a person, such as `NVIDIA L4 (cuda:0), bfloat16`."""
        return f"{self.device_name}, {self.dtype_name}"


def choose_compute(device: str, dtype: str, model: Sized | None = None) -> Compute:
    """Turn what a person asked for into a device and a dtype that work on this machine.

    Args:
        device: `auto` takes CUDA, else MPS, else the CPU. `cuda` is the first CUDA device.
        dtype: `auto` takes bfloat16 where CUDA hardware has it, and float16 on older cards; on a
            CPU what `cpu_dtype` says of the model; float32 elsewhere.
        model: What is to be computed, such as a `ModelSpec`. Without it a CPU takes float32.

    Raises:
        InputError: The device is not here, or cannot compute in the dtype.
    """
    chosen = _choose_device(device)
    if dtype == "auto":
        return Compute(chosen, _natural_dtype(chosen, model))
    if dtype not in _DTYPES:
        raise InputError(f"unknown dtype {dtype!r}: wanted auto, {', '.join(_DTYPES)}")
    compute = Compute(chosen, _DTYPES[dtype])
    _check_arithmetic(compute)
    return compute


def choose_devices(devices: str) -> tuple[str, ...]:
    """Turn the devices that a person asked one run to share into devices that are here.

    Args:
        devices: As `choose_compute` takes one, or several separated by commas. `auto` takes all
            CUDA devices that are equal to the first one.

    Returns:
        Names such as `cuda:0`, in the order asked for.

    Raises:
        InputError: One is not here, or they are of several kinds, which give other masks.
    """
    if devices == "auto":
        first = _choose_device(devices)
        if first.type != "cuda":
            return (str(first),)
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return tuple(f"cuda:{index}" for index, name in enumerate(names) if name == names[0])
    chosen = [_choose_device(device) for device in devices.split(",")]
    if len({device.type for device in chosen}) > 1:
        raise InputError(
            f"devices {devices} asked for, but their masks would differ: take devices of one kind, "
            "such as cuda:0,cuda:1"
        )
    return tuple(str(device) for device in chosen)


def training_compute(device: str) -> Compute:
    """The device and dtype to train in: as `auto` chooses, and bfloat16 on a CPU that has units
    for it, which trains about twice as fast, small models too.

    Raises:
        InputError: The device is not here.
    """
    compute = choose_compute(device, "auto")
    if compute.device.type == "cpu" and _bfloat16_units() != Bfloat16Units():
        return choose_compute(device, "bfloat16")
    return compute


def _bfloat16_units() -> Bfloat16Units:
    # PyTorch has no public name for what the processor can do.
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return Bfloat16Units(*(bool(getattr(torch.cpu, test, bool)()) for test in tests))


class _SharedFlags:
    """cuDNN's flags, which are the whole process's, held by any number of threads at a time.

    The first one in sets them and the last one out puts back what was there before: each putting
    back what it found would leave other threads with theirs, or the process with ours.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._flags = ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if self._holders == 0:
                self._flags.enter_context(
                    torch.backends.cudnn.flags(
                        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
                    )
                )
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._flags.close()


_repeatable = _SharedFlags()


def repeatable_kernels() -> AbstractContextManager[None]:
    """The context to run the model in for results that repeat, to the bit, in any thread."""
    return _repeatable.held()


def _choose_device(device: str) -> torch.device:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise _unknown_device(device) from error
    if wanted.type == "cpu":
        return torch.device("cpu")
    if wanted.type == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(
                "device mps asked for, but PyTorch finds no Apple GPU here; take --device auto"
            )
        return torch.device("mps")
    if wanted.type == "cuda":
        return _check_cuda(wanted)
    raise _unknown_device(device)


def _unknown_device(device: str) -> InputError:
    return InputError(f"unknown device {device!r}: wanted auto, cpu, mps, cuda or cuda:N")


def _check_cuda(wanted: torch.device) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise InputError(
            f"device {wanted} asked for, but PyTorch finds no CUDA GPU here (driver, or "
            "CUDA_VISIBLE_DEVICES?); take --device auto or --device cpu"
        )
    index = wanted.index or 0
    if index >= count:
        raise InputError(
            f"device {wanted} asked for, but there are {count} CUDA GPUs here, cuda:0 to "
            f"cuda:{count - 1}"
        )
    return torch.device("cuda", index)


def _natural_dtype(device: torch.device, model: Sized | None) -> torch.dtype:
    if device.type == "cpu":
        return _DTYPES[cpu_dtype(_bfloat16_units(), model)]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if _has_bfloat16(device) else torch.float16


def _has_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        # With emulation counted in, cards without bfloat16 units say yes, too.
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _check_arithmetic(compute: Compute) -> None:
    """Try the two operations that the model is made of; which dtypes work, only that tells."""
    if compute.dtype == torch.float32:
        return
    try:
        with torch.inference_mode(), compute.autocast():
            image = torch.zeros(1, 1, 4, 4, device=compute.device)
            kernel = torch.zeros(1, 1, 3, 3, device=compute.device)
            torch.nn.functional.conv2d(image, kernel)
            torch.matmul(image, image)
    except RuntimeError as error:
        raise InputError(
            f"{compute.describe()} does not work on this machine ({str(error).splitlines()[0]}); "
            "take --dtype auto or --dtype float32"
        ) from error
    if compute.dtype != torch.bfloat16:
        return
    if compute.device.type == "cuda" and not _has_bfloat16(compute.device):
        logger.warning("%s is emulated on this card: float16 is faster", compute.describe())
    if compute.device.type == "cpu" and _bfloat16_units() == Bfloat16Units():
        _warn_of_slow_cpu()


@functools.lru_cache(maxsize=1)
def _warn_of_slow_cpu() -> None:
    # Once a process: a run asks again for each chunk.
    logger.warning(
        "this CPU has no units for bfloat16 and computes it many times slower than float32"
    )
