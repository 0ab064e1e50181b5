"""Lines of memory use are added to a file, and never end the work."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samcore.machine.meters import MEMORY_LOG_HEADER, MemoryReading
from samcore.run.memory_log import MemoryLog

_CPU = MemoryReading(rss_bytes=5, peak_rss_bytes=9, vram_bytes=None, peak_vram_bytes=None)


_GPU = MemoryReading(
    rss_bytes=5, peak_rss_bytes=9, vram_bytes=6, peak_vram_bytes=7, reserved_vram_bytes=8
)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_lines_are_added_also_after_half_a_line(tmp_path: Path) -> None:
    """A second opening adds no second header; half a line that a kill left stays by itself."""
    path = tmp_path / "memory.csv"
    with MemoryLog(path, run="a") as log:
        log.add(0, 0, _CPU)
        log.add(0, 1, _CPU)  # too soon
        log.add(0, 2, _CPU, always=True)
    path.write_text(path.read_text() + "2026-11-03T10:0")
    with MemoryLog(path, run="b") as log:
        log.add(3, 90, _GPU)

    rows = _rows(path)
    assert path.read_text().count(MEMORY_LOG_HEADER) == 1
    assert [row["frame"] for row in rows] == ["0", "2", None, "90"]
    assert rows[0]["vram_allocated_bytes"] == ""
    assert (rows[-1]["vram_allocated_bytes"], rows[-1]["vram_reserved_bytes"]) == ("6", "8")


def test_a_full_disk_ends_the_log_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When no line can be added any more, one warning says so, and work goes on."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from samcore.machine.meters import MemoryReading\n"
        "from samcore.run.memory_log import MemoryLog\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "with MemoryLog(Path(sys.argv[1]), run='a') as log:\n"
        "    for frame in range(40):\n"
        "        log.add(0, frame, MemoryReading(5, 9, None, None), always=True)\n"
        "print('worked on')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "memory.csv")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "worked on\n"
    assert ended.stderr.count("ends here") == 1


def test_memory_log_that_is_not_asked_for_makes_no_file(tmp_path: Path) -> None:
    """Without a path nothing is written."""
    with MemoryLog(None, run="a") as log:
        log.add(0, 0, _CPU)
    assert os.listdir(tmp_path) == []
