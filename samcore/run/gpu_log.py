"""A file that shows how busy and how full the GPUs are while something goes on, for plots."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from samcore.disk.appended import AppendedLines
from samcore.machine.gpu import GpuReading

COLUMNS = ("time", "index", "name", "used_bytes", "total_bytes", "utilization")
"""Of a line: time is ISO 8601, UTC; utilization is percent, and empty where a GPU does not tell."""
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
"""Of files that get a JSON object a line; all others get comma-separated values."""


class GpuLog(AppendedLines):
    """Adds a line for each GPU and reading to a file; a context manager."""

    def __init__(self, path: Path) -> None:
        """Nothing is written before the block is entered."""
        self._is_json = path.suffix.lower() in JSON_SUFFIXES
        header = "" if self._is_json else ",".join(COLUMNS)
        super().__init__(path, what="GPU log", header=header)

    def add(self, readings: Sequence[GpuReading]) -> None:
        """Write what the GPUs are at now."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        for reading in readings:
            row = {"time": now, **asdict(reading)}
            if self._is_json:
                self.add_line(json.dumps(row))
            else:
                cells = ("" if row[name] is None else str(row[name]) for name in COLUMNS)
                self.add_line(",".join(cell.replace(",", " ") for cell in cells))
