"""Device and arithmetic chosen for this machine, or refused in one line."""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from samcore.errors import InputError
from samcore.machine.device import Compute, choose_compute, choose_devices, training_compute

HAS_CUDA = torch.cuda.is_available()


@pytest.fixture
def _cuda():
    if not HAS_CUDA:
        if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
            pytest.fail("this machine was to have a CUDA GPU")
        pytest.skip("no CUDA GPU here")


def test_auto_always_finds_something_that_works():
    """Whatever the machine, `auto` gives a device on which the arithmetic runs."""
    compute = choose_compute("auto", "auto")

    with compute.autocast():
        result = torch.nn.functional.linear(
            torch.ones(2, 3, device=compute.device), torch.ones(4, 3, device=compute.device)
        )
    assert result.dtype == compute.dtype
    assert result.cpu().float().eq(3).all()


def test_the_cpu_computes_in_float32_unless_told():
    """On a CPU `auto` is exact arithmetic, outside of autocast."""
    compute = choose_compute("cpu", "auto")

    assert compute == Compute(torch.device("cpu"), torch.float32)
    assert isinstance(compute.autocast(), nullcontext)


def test_training_takes_the_bfloat16_units_of_the_cpu():
    """Where the processor lists such units, training computes in bfloat16; else in float32."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("only Linux lists what the processor can do")
    has_units = bool({"amx_bf16", "avx512_bf16"} & set(cpuinfo.read_text().split()))

    compute = training_compute("cpu")

    assert compute.dtype == (torch.bfloat16 if has_units else torch.float32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_explicit_dtype_is_what_the_model_runs_in(dtype):
    """Inside autocast products have the dtype that was asked for."""
    compute = choose_compute("cpu", dtype)

    with compute.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, dtype)


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("tpu", "auto, cpu, mps, cuda"),
        ("", "unknown device"),
        ("cuda:-1", "unknown device"),
        ("meta", "unknown device"),
        ("cuda:99", "cuda:99"),
    ],
)
def test_a_device_that_is_not_here_is_one_line(device, told):
    """The error names what was asked for and what there is."""
    with pytest.raises(InputError, match=told) as caught:
        choose_compute(device, "auto")

    assert "\n" not in str(caught.value)


@pytest.mark.skipif(HAS_CUDA, reason="this machine has a CUDA GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_without_a_gpu_names_the_way_out(device):
    """Asking for CUDA on a machine without it does not fall back in silence."""
    with pytest.raises(InputError, match="--device auto"):
        choose_compute(device, "auto")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_mps_without_an_apple_gpu_names_the_way_out():
    """Asking for MPS elsewhere does not fall back in silence."""
    with pytest.raises(InputError, match="--device auto"):
        choose_compute("mps", "auto")


def test_an_unknown_dtype_is_one_line():
    """The error lists what there is."""
    with pytest.raises(InputError, match="auto, float32, bfloat16, float16"):
        choose_compute("cpu", "int8")


def test_arithmetic_that_the_device_lacks_is_refused(monkeypatch):
    """What PyTorch cannot compute is told before a model is loaded, with the way out."""

    def no_half(*args, **kwargs):
        raise RuntimeError("conv2d not implemented for 'Half'\nsecond line")

    # No machine of ours lacks it: the refusal of an older PyTorch, put in its place.
    monkeypatch.setattr(torch.nn.functional, "conv2d", no_half)

    with pytest.raises(InputError, match=r"not implemented for 'Half'.*--dtype auto") as caught:
        choose_compute("cpu", "float16")
    assert "\n" not in str(caught.value)


def test_a_description_names_device_and_dtype():
    """The line for the log says both."""
    text = choose_compute("cpu", "bfloat16").describe()

    assert text.startswith("CPU")
    assert text.endswith("bfloat16")


@pytest.mark.needs_cuda
@pytest.mark.usefixtures("_cuda")
def test_auto_takes_the_gpu_in_its_own_arithmetic():
    """bfloat16 from compute capability 8.0 on, float16 before; `cuda` and `cuda:0` are one."""
    compute = choose_compute("auto", "auto")
    native = torch.cuda.get_device_capability(0) >= (8, 0)

    assert compute.device == torch.device("cuda", 0)
    assert compute.dtype == (torch.bfloat16 if native else torch.float16)
    assert compute == choose_compute("cuda", "auto") == choose_compute("cuda:0", "auto")
    assert "cuda:0" in compute.describe()


@pytest.mark.needs_cuda
@pytest.mark.usefixtures("_cuda")
def test_a_gpu_past_the_last_one_is_refused():
    """The error says how many there are."""
    with pytest.raises(InputError, match=f"there are {torch.cuda.device_count()}"):
        choose_compute(f"cuda:{torch.cuda.device_count()}", "auto")


def test_auto_shares_work_among_equal_gpus(monkeypatch):
    """All that are like the first one; a list may name any, of one kind."""
    names = ["L4", "GT 710", "L4"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", names.__getitem__)

    assert choose_devices("auto") == ("cuda:0", "cuda:2")
    assert choose_devices("cuda") == ("cuda:0",)
    assert choose_devices("cuda:2,cuda:1,cuda:2") == ("cuda:2", "cuda:1", "cuda:2")
    with pytest.raises(InputError, match="masks would differ: take devices of one kind"):
        choose_devices("cuda:0,cpu")
    with pytest.raises(InputError, match="there are 3 CUDA GPUs"):
        choose_devices("cuda:0,cuda:3")
