"""Which arithmetic `auto` takes on a CPU: a rule over what the CPU has and how large the model is.

A rule and not a timed probe: a probe's answer depends on what else the machine does, and the
arithmetic is part of a result's key. Imports no torch.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Narrow = Literal["float32", "bfloat16"]

LEAST_WEIGHTS_BYTES = 100_000_000
"""Weights from which on a model is large enough, in bytes of float32: SAM 2.1 tiny has 156 MB.

What bfloat16 costs is a conversion around each operation, whatever its size; what it gains grows
with the arithmetic. On a CPU with AMX (float32 at 122 to 153 GFLOP/s a core, bfloat16 at 380 to
930) tiny ran 2.1x as fast at 512 px. `nano`, with 7 MB, is bound by its many small operations and
ran 0.72x as fast. Between the two nothing was measured: there it stays float32, which is exact.
"""
LEAST_SIDE_AMX = 256
"""Side of the input, in pixels, from which on AMX gains. Tiny at 512 px saves about 770 of 1470 ms
a frame; at 256 px a quarter of that, against the same conversions."""
LEAST_SIDE_AVX512 = 512
"""The same of AVX512-BF16 alone: its products run at twice the rate of float32 at most, where AMX
has four to six times, so that the conversions weigh more."""


class Sized(Protocol):
    """A model before it is built, such as a `ModelSpec`."""

    @property
    def weights_bytes(self) -> int:
        """Size of its weights; 0 if nobody knows."""

    @property
    def image_size(self) -> int:
        """Side of its square input in pixels."""


@dataclass(frozen=True, slots=True)
class Bfloat16Units:
    """What a CPU computes bfloat16 with."""

    amx: bool = False
    avx512: bool = False


def cpu_dtype(units: Bfloat16Units, model: Sized | None) -> Narrow:
    """The arithmetic in which a model runs fastest on a CPU, as far as that is known.

    Args:
        units: What the CPU has.
        model: What is to be computed; None if nobody says, which is float32.
    """
    if model is None or model.weights_bytes < LEAST_WEIGHTS_BYTES:
        return "float32"
    gains = (units.amx and model.image_size >= LEAST_SIDE_AMX) or (
        units.avx512 and model.image_size >= LEAST_SIDE_AVX512
    )
    return "bfloat16" if gains else "float32"


def auto_dtypes(device_type: str, model: Sized | None) -> tuple[str, ...]:
    """All that `auto` takes for a model on some machine with such a device.

    Args:
        device_type: cpu, cuda or mps.
        model: As for `cpu_dtype`.
    """
    if device_type == "cuda":
        return ("bfloat16", "float16")
    if device_type == "cpu" and cpu_dtype(Bfloat16Units(amx=True), model) == "bfloat16":
        return ("float32", "bfloat16")
    return ("float32",)
