"""Parts that run compiled: how often they are compiled, and what is said of it."""

import errno
import gc
import logging
import weakref

import pytest
import torch
from torch import nn

from samcore.errors import InputError, ModelError
from samcore.machine import compiling
from samcore.machine.compiling import (
    BATCHES,
    Compiler,
    batch_size,
    check_can_compile,
    filled_up,
)
from samcore.progress import listening

EAGER = "aot_eager"
"""A backend of `torch.compile` that traces as Inductor does, and compiles nothing."""


class Toy(nn.Module):
    """A part of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def scaled(self, x_bc: torch.Tensor, *, by: int) -> torch.Tensor:
        return self.linear(x_bc) * by


def test_a_shape_is_compiled_once_and_said() -> None:
    """Each combination of shapes and numbers is one graph, whatever the strides; there may be more
    of them than `torch.compile` takes by itself."""
    toy, compiler, said = Toy(), Compiler(EAGER), []
    part = compiler.part("toy", toy.scaled)
    inputs = [torch.randn(4, n).T for n in range(1, 13)]

    with torch.inference_mode(), listening(lambda progress: said.append(progress.line)):
        first = [part(x, by=2) for x in inputs]
        again = [part(x.contiguous(), by=2) for x in inputs]
        assert compiler.compilations == {"toy": len(inputs)}
        other = part(inputs[0], by=3)

    assert compiler.compilations == {"toy": len(inputs) + 1}
    assert said[0] == "compiling the toy (first time only)"
    assert said[1].startswith("compiled the toy in ")
    assert len(said) == 2 * (len(inputs) + 1)
    for x, one, two in zip(inputs, first, again, strict=True):
        torch.testing.assert_close(one, toy.scaled(x, by=2))
        assert torch.equal(one, two)
    torch.testing.assert_close(other, toy.scaled(inputs[0], by=3))


def test_what_cannot_be_compiled_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """Shapes for which a graph would break run without one, which is said once; others are
    compiled, whichever came first."""

    def looks(x_n: torch.Tensor) -> torch.Tensor:
        return x_n + 1 if len(x_n) > 3 or x_n.sum().item() > 0 else x_n - 1

    compiler = Compiler(EAGER)
    part = compiler.part("toy", looks)
    with torch.inference_mode(), caplog.at_level(logging.WARNING, compiling.__name__):
        for _ in range(2):
            for count in (2, 3, 4, 5):
                assert torch.equal(part(torch.ones(count)), torch.ones(count) + 1)
                assert torch.equal(part(-torch.ones(count)), looks(-torch.ones(count)))

    assert compiler.compilations == {"toy": 2}
    (record,) = caplog.records
    assert record.getMessage().startswith("the toy cannot be compiled and runs as it is (")
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("failure", "raised", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), ModelError, "toy could not be compiled"),
    ],
)
def test_a_compiler_that_fails_is_no_reason_to_run_otherwise(
    failure: Exception, raised: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step fails, and may be tried again: else masks would depend on what was free."""
    compile_graph = compiling._compile
    failures = [failure]

    def compile_or_fail(*given: object) -> object:
        if failures:
            raise failures.pop()
        return compile_graph(*given)

    monkeypatch.setattr(compiling, "_compile", compile_or_fail)
    toy, compiler = Toy(), Compiler(EAGER)
    part = compiler.part("toy", toy.scaled)
    x = torch.randn(2, 4)
    with torch.inference_mode():
        with pytest.raises(raised, match=said):
            part(x, by=1)
        torch.testing.assert_close(part(x, by=1), toy.scaled(x, by=1))

    assert compiler.compilations == {"toy": 1}


def test_a_model_that_nobody_holds_is_freed() -> None:
    """What has been compiled does not keep the weights: a GPU has no room for two models."""
    toy = Toy()
    part = Compiler(EAGER).part("toy", toy.scaled)
    with torch.inference_mode():
        part(torch.randn(2, 4), by=1)
    weights = weakref.ref(toy.linear.weight)

    del toy, part
    gc.collect()

    assert weights() is None


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (33, 64), (65, None)])
def test_batches_are_filled_up_to_few_sizes(count: int, size: int | None) -> None:
    """Rows stay where they are, and what is added repeats the first one."""
    assert batch_size(count) == size
    batch = torch.arange(2.0 * count).reshape(2, count)
    full = filled_up(batch, size or count, dim=1)

    assert torch.equal(full[:, :count], batch)
    assert torch.equal(full[:, count:], batch[:, :1].expand(-1, (size or count) - count))
    assert full.shape[1] in (*BATCHES, count)


def test_a_machine_without_a_compiler_is_told_so() -> None:
    """One line says what is missing and what to do."""
    from torch._inductor import config

    without = config.patch({"cpp.cxx": ("no-such-compiler",)})
    said = r"needs a C\+\+ compiler .* apt-get install g\+\+, or"
    with without, pytest.raises(InputError, match=said):
        check_can_compile(torch.device("cpu"))
    with pytest.raises(InputError, match="compile is for CUDA and the CPU, got the device mps"):
        check_can_compile(torch.device("mps"))
