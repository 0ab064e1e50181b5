"""How full and how busy GPUs are: what is read of NVML, written down and shown.

There is no GPU here: the readings are recorded ones, in the shapes that the package gives them, and
the real package says that there is none.
"""

import csv
import io
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from rich.console import Console

from flows.cli import run
from flows.commands.console import Terminal
from samcore.errors import InputError
from samcore.machine.gpu import GpuReading, GpuWatch, NvmlMeter, find_gpu_meter
from samcore.run.gpu_log import COLUMNS, GpuLog

BUSY = GpuReading(0, "NVIDIA H200, 141 GB", 12_000_000_000, 150_000_000_000, 97)
PART = GpuReading(1, "NVIDIA A100 MIG", 1_000_000_000, 20_000_000_000, None)


class Recorded:
    """Gives readings, one after another, and again the last one."""

    def __init__(self, *readings: Sequence[GpuReading]) -> None:
        self._readings = list(readings)
        self.closed = threading.Event()

    def read(self) -> Sequence[GpuReading]:
        return self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]

    def close(self) -> None:
        self.closed.set()


@pytest.mark.skipif(find_gpu_meter() is not None, reason="there is a GPU here")
def test_a_machine_without_a_gpu_says_so_before_anything(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line and exit code 2; nothing is written."""
    log = tmp_path / "gpu.jsonl"
    args = ["-o", str(tmp_path / "out"), "--box", "1:0:10,10,60,60", "--gpu-log", str(log)]
    assert run(["track", str(clip), *args]) == 2
    error = capfd.readouterr().err
    assert error.startswith("longtake: there is no NVIDIA GPU here that can be watched")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert run(["track", str(clip), *args, "--deployment", "segment-video"]) == 2
    assert "--gpu-log is of this machine" in capfd.readouterr().err


@pytest.mark.needs_cuda
def test_a_gpu_is_read() -> None:
    """By the real library: this process's memory is a part of what is in use."""
    import torch

    block = torch.zeros(1 << 28, dtype=torch.uint8, device="cuda")
    meter = NvmlMeter()
    readings = meter.read()
    meter.close()
    assert max(reading.used_bytes for reading in readings) >= block.numel()
    assert all(0 <= (one.utilization or 0) <= 100 for one in readings)


def test_what_nvml_gives_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names as bytes or text; a part of a GPU does not tell how busy it is, one that is lost is
    left out."""

    def answer(values: dict[int, object]) -> object:
        def ask(handle: int) -> object:
            if handle not in values:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return values[handle]

        return ask

    memory = {0: SimpleNamespace(used=12, total=150), 1: SimpleNamespace(used=1, total=20)}
    for name, value in (
        ("nvmlInit", lambda: None),
        ("nvmlShutdown", lambda: None),
        ("nvmlDeviceGetCount", lambda: 3),
        ("nvmlDeviceGetHandleByIndex", lambda index: index),
        ("nvmlDeviceGetMemoryInfo", answer(memory)),
        ("nvmlDeviceGetName", answer({0: b"H200", 1: "A100"})),
        ("nvmlDeviceGetUtilizationRates", answer({0: SimpleNamespace(gpu=97, memory=3)})),
    ):
        monkeypatch.setattr(pynvml, name, value)
    assert NvmlMeter().read() == [
        GpuReading(0, "H200", 12, 150, 97),
        GpuReading(1, "A100", 1, 20, None),
    ]


def test_without_the_package_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional."""
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    with pytest.raises(InputError, match=r"pip install 'longtake\[gpu\]'"):
        NvmlMeter()
    assert find_gpu_meter() is None


@pytest.mark.parametrize("name", ["gpu.csv", "gpu.jsonl"])
def test_the_log_has_a_line_for_each_gpu_and_reading(tmp_path: Path, name: str) -> None:
    """While it goes on, from the first moment; what is there stays, half a line of a kill is ended,
    and the meter is closed at the end."""
    path = tmp_path / "logs" / name
    for turn in range(2):
        told = threading.Event()
        meter = Recorded([BUSY, PART])
        with (
            GpuLog(path) as log,
            GpuWatch(meter, [log.add, lambda _, told=told: told.set()], interval_s=60),
        ):
            assert told.wait(30)
        assert meter.closed.is_set()
        if not turn:
            with path.open("a") as file:
                file.write('{"time": "20')

    lines = path.read_text().splitlines()
    if name.endswith("csv"):
        rows = list(csv.reader(lines))
        assert tuple(rows[0]) == COLUMNS
        whole = [row for row in rows[1:] if len(row) == len(COLUMNS)]
        assert whole[1][1:] == ["1", "NVIDIA A100 MIG", "1000000000", "20000000000", ""]
    else:
        whole = [json.loads(line) for line in lines if line.endswith("}")]
        assert tuple(whole[0]) == COLUMNS
        assert (whole[0]["utilization"], whole[1]["utilization"]) == (97, None)
    assert len(whole) == 4
    assert len(lines) == 5 + name.endswith("csv")


def test_the_terminal_shows_the_busiest_gpu() -> None:
    """In a bar of its own, on 80 columns; nothing where output is no terminal."""
    stream = io.StringIO()
    terminal = Terminal(stream)
    terminal.show_gpus([BUSY])
    assert stream.getvalue() == ""

    terminal._console = Console(file=stream, force_terminal=True, width=80, soft_wrap=True)
    with terminal.live():
        terminal.show_gpus([PART, BUSY])
        assert terminal._bars is not None
        terminal._bars.refresh()
    shown = stream.getvalue()
    assert "GPU 0" in shown
    assert "12/150" in shown
    assert "97 % busy" in shown
