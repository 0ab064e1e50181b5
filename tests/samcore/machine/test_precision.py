"""The arithmetic that `auto` takes on a CPU follows from the CPU and the model alone."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from samcore.machine import device, precision
from samcore.machine.device import choose_compute
from samcore.machine.precision import Bfloat16Units, auto_dtypes, cpu_dtype
from samcore.models.registry import ModelSpec, resolve_model

NONE, AMX, AVX512 = Bfloat16Units(), Bfloat16Units(amx=True), Bfloat16Units(avx512=True)
BOTH = Bfloat16Units(amx=True, avx512=True)
TINY, NANO = 156_008_466, 6_615_092


@dataclass(frozen=True)
class Model:
    weights_bytes: int
    image_size: int


@pytest.mark.parametrize(
    ("units", "weights", "size", "dtype"),
    [
        (NONE, TINY, 1024, "float32"),
        (AMX, TINY, 512, "bfloat16"),
        (BOTH, TINY, 1024, "bfloat16"),
        (AMX, TINY, 256, "bfloat16"),
        (AMX, TINY, 224, "float32"),
        (AVX512, TINY, 512, "bfloat16"),
        (AVX512, TINY, 256, "float32"),
        (BOTH, TINY, 256, "bfloat16"),
        (BOTH, NANO, 128, "float32"),
        (BOTH, NANO, 1024, "float32"),
        (BOTH, 0, 1024, "float32"),
    ],
)
def test_bfloat16_is_taken_where_it_gains(
    units: Bfloat16Units, weights: int, size: int, dtype: str
) -> None:
    """It takes units for it, a large model, and a picture that is large for the units."""
    model = Model(weights, size)

    assert cpu_dtype(units, model) == dtype
    assert dtype in auto_dtypes("cpu", model)


def test_without_a_model_a_cpu_is_exact() -> None:
    """Who does not say what is computed gets float32."""
    assert cpu_dtype(BOTH, None) == "float32"
    assert auto_dtypes("cpu", None) == ("float32",)


@pytest.mark.parametrize(
    ("name", "units", "dtype"),
    [
        ("nano", BOTH, torch.float32),
        ("random-tiny", NONE, torch.float32),
        ("random-tiny", AMX, torch.bfloat16),
    ],
)
def test_auto_asks_the_rule(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, units: Bfloat16Units, dtype: object
) -> None:
    """`auto` on a CPU is what the rule says of this CPU; what is named is taken as it is."""
    monkeypatch.setattr(device, "_bfloat16_units", lambda: units)
    spec = resolve_model(name, cache_dir=tmp_path)

    assert choose_compute("cpu", "auto", spec).dtype == dtype
    assert choose_compute("cpu", "auto").dtype == torch.float32
    assert choose_compute("cpu", "float32", spec).dtype == torch.float32
    assert choose_compute("cpu", "bfloat16", spec).dtype == torch.bfloat16


def test_what_weights_take_is_known_before_a_model_is_built(tmp_path: Path) -> None:
    """The size of a file, of the parts of an index, or of the published weights for random ones."""
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in (1, 2):
        (parts / f"model-{number}.safetensors").write_bytes(b"x" * 500)
    index = parts / "model.safetensors.index.json"
    index.write_text("{}")
    nano = resolve_model("nano", cache_dir=tmp_path)

    def spec(checkpoint: Path | None) -> ModelSpec:
        return nano.model_copy(update={"checkpoint": checkpoint})

    assert nano.weights_bytes == NANO
    assert resolve_model("random-tiny", cache_dir=tmp_path).weights_bytes == TINY
    assert spec(index).weights_bytes == 1000
    assert spec(tmp_path / "gone.pt").weights_bytes == spec(None).weights_bytes == 0


def test_a_cpu_without_units_says_that_it_is_slow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a process, however often a run asks; a CPU with units has nothing to say."""
    device._warn_of_slow_cpu.cache_clear()
    with caplog.at_level(logging.WARNING):
        monkeypatch.setattr(device, "_bfloat16_units", lambda: AMX)
        choose_compute("cpu", "bfloat16")
        assert not caplog.messages
        monkeypatch.setattr(device, "_bfloat16_units", lambda: NONE)
        choose_compute("cpu", "bfloat16")
        choose_compute("cpu", "bfloat16")
    assert len(caplog.messages) == 1
    assert "many times slower than float32" in caplog.messages[0]


def test_limits_lie_between_what_was_measured() -> None:
    """Tiny gained and nano lost: the limit parts them."""
    assert NANO < precision.LEAST_WEIGHTS_BYTES < TINY
    assert precision.LEAST_SIDE_AMX <= precision.LEAST_SIDE_AVX512
