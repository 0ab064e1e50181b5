"""Compile parts of a network by `torch.compile`, each for few shapes.

Whether a call runs compiled follows from the shapes of its tensors alone, never from what this
process has compiled before: a chunk gets the same bits in a fresh process. A part that cannot be
traced runs as it is, in every process alike, and that is said once. Where the compiler fails, which
may be for want of disk or memory, the work fails: another process may have better luck, and would
give other bits.
"""

import logging
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from samcore.errors import InputError, ModelError
from samcore.machine.out_of_memory import memory_failure
from samcore.progress import Progress, report

logger = logging.getLogger(__name__)

BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of objects that parts are compiled for: a batch of 5 is filled up to 8. A larger one runs
as it is."""
_MOST_SHAPES = 256
"""Of all parts of all models that a process has compiled. Above `torch.compile`'s own limit of 8,
beyond which it would go on without a word, in this process and not in the next one."""


def check_can_compile(device: torch.device) -> None:
    """See whether this machine has what `torch.compile` needs.

    Raises:
        InputError: It has not; the message says what is missing.
    """
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"compile is for CUDA and the CPU, got the device {device}: leave it out")
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise InputError(
                "compile needs Triton and a card that it supports, which are not here: leave it out"
            )
        if not any(map(shutil.which, ("cc", "gcc", "clang"))):
            raise InputError(
                "compile needs a C compiler (cc, gcc or clang) for Triton, which is not here: "
                "apt-get install gcc, or leave compile out"
            )
        return
    # Late: it imports much of the compiler.
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError as error:
        raise InputError(
            "compile needs a C++ compiler on a CPU, and there is none here: apt-get install g++, "
            "or set CXX to one, or leave compile out"
        ) from error


def batch_size(count: int) -> int | None:
    """What a batch of `count` objects is filled up to; None where it is too large to compile."""
    return next((size for size in BATCHES if size >= count), None)


def filled_up(batch: Tensor, size: int, *, dim: int = 0) -> Tensor:
    """A batch with its first member repeated at the end, up to `size` members."""
    lacking = size - batch.shape[dim]
    if lacking == 0:
        return batch
    first = batch.narrow(dim, 0, 1)
    shape = [lacking if i == dim else -1 for i in range(batch.ndim)]
    return torch.cat([batch, first.expand(shape)], dim=dim)


class Compiler:
    """Compiles the parts of one model, and counts."""

    def __init__(self, backend: str = "inductor") -> None:
        """Compile nothing yet.

        Args:
            backend: Of `torch.compile`. Inductor is the one that makes things faster.
        """
        self._backend = backend
        self._lock = threading.RLock()
        self.compilations: dict[str, int] = {}
        """Graphs that were compiled, by part."""

    def part(self, name: str, function: Callable[..., Any]) -> "CompiledPart":
        """A part of the model.

        Args:
            name: For a person, such as `image encoder`.
            function: From tensors to tensors, without side effects.
        """
        self.compilations[name] = 0
        return CompiledPart(name, function, self)

    def compiled(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that compiles itself at its first call with new shapes."""

        def compile_graph(graph: Any, examples: list[Tensor]) -> Any:
            made = _compile(graph, examples, self._backend)
            self.compilations[name] += 1
            return made

        return torch.compile(function, backend=compile_graph, fullgraph=True, dynamic=False)

    def locked(self) -> threading.RLock:
        """Held while something is compiled: threads that share a model compile it once."""
        return self._lock


class CompiledPart:
    """A function that runs compiled, for each combination of shapes that it is called with."""

    def __init__(self, name: str, function: Callable[..., Any], compiler: Compiler) -> None:
        """Use `Compiler.part`."""
        self._name = name
        self._function = function
        self._compiler = compiler
        self._compiled = compiler.compiled(name, function)
        self._runs: dict[tuple[object, ...], Callable[..., Any]] = {}
        self._has_failed = False

    def __call__(self, *tensors: Tensor, **numbers: int) -> Any:
        """What the function gives for tensors and whole numbers.

        Raises:
            ModelError: The compiler fails.
            RuntimeError: Memory does not suffice to compile, or to run.
        """
        # The same strides each time: others would be compiled anew, and give other last bits.
        tensors = tuple(tensor.reshape(-1).view(tensor.shape) for tensor in tensors)
        shapes = (*(tensor.shape for tensor in tensors), *sorted(numbers.items()))
        if shapes not in self._runs:
            with self._compiler.locked():
                if shapes not in self._runs:
                    return self._first(shapes, tensors, numbers)
        return self._runs[shapes](*tensors, **numbers)

    def _first(
        self, shapes: tuple[object, ...], tensors: tuple[Tensor, ...], numbers: dict[str, int]
    ) -> Any:
        """Compile, and run."""
        # What the function keeps for later calls is made outside of the graph.
        plain = self._function(*tensors, **numbers)
        what = f"compiling the {self._name}"
        report(Progress(what, 0, 1, text=f"{what} (first time only)"))
        started = time.monotonic()
        try:
            with warnings.catch_warnings(), _shape_limit():
                # What the compiler has to say of its own ways is not for who tracks.
                warnings.simplefilter("ignore")
                result = self._compiled(*tensors, **numbers)
        except Exception as error:
            if memory_failure(error) is not None:
                raise
            if not isinstance(error, torch._dynamo.exc.Unsupported | torch._dynamo.exc.UserError):
                raise ModelError(
                    f"the {self._name} could not be compiled ({_told(error)}): run again, or leave "
                    "--compile out"
                ) from error
            # For these shapes only: what others do must not depend on what came before.
            self._runs[shapes] = self._function
            self._warn(error)
            report(Progress(what, 1, 1, text=f"the {self._name} runs as it is"))
            return plain
        self._runs[shapes] = self._compiled
        seconds = time.monotonic() - started
        logger.info("compiled the %s for %s in %.1f s", self._name, shapes, seconds)
        report(Progress(what, 1, 1, text=f"compiled the {self._name} in {seconds:.0f} s"))
        return result

    def _warn(self, error: Exception) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        logger.warning("the %s cannot be compiled and runs as it is (%s)", self._name, _told(error))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _compile(graph: Any, examples: list[Tensor], backend: str) -> Any:
    if backend != "inductor":
        return torch._dynamo.lookup_backend(backend)(graph, examples)
    import torch._inductor.config as options
    from torch._inductor.compile_fx import compile_fx

    # No kernel is chosen by its time: another process might choose another one, with other bits.
    patches = {"deterministic": True} if hasattr(options, "deterministic") else {}
    return compile_fx(graph, examples, config_patches=patches)


def _shape_limit() -> Any:
    return torch._dynamo.config.patch(cache_size_limit=_MOST_SHAPES)
