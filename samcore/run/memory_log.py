"""A file that shows how memory use goes over a run, for plots."""

from datetime import datetime, timezone
from pathlib import Path

from samcore.disk.appended import AppendedLines
from samcore.machine.meters import MEMORY_LOG_HEADER, MemoryReading
from samcore.progress import Throttle

_INTERVAL_S = 0.25


class MemoryLog(AppendedLines):
    """Appends lines of comma-separated values to a file; a context manager.

    What is there stays, so a run that was stopped and goes on gives one series. Columns are the
    time (ISO 8601, UTC), the run's key, the chunk, the frame that was tracked last, bytes of main
    memory, and of GPU memory in use and held; the last two are empty without a CUDA device.
    """

    def __init__(self, path: Path | None, *, run: str) -> None:
        """Nothing is written before the block is entered.

        Args:
            path: The file; None writes nothing.
            run: The run's key.
        """
        self._run = run
        self._due = Throttle(_INTERVAL_S)
        super().__init__(path, what="memory log", header=MEMORY_LOG_HEADER)

    def add(self, chunk: int, frame: int, memory: MemoryReading, *, always: bool = False) -> None:
        """Write a line, if the last one is a quarter of a second old.

        A file that cannot be written to any more is given up with a warning: it is not what the
        run is for.

        Args:
            chunk: Place of the chunk in the plan.
            frame: The frame that was tracked last.
            memory: What the meter says.
            always: Write it however young the last one is.
        """
        if not self.is_open or not (self._due() or always):
            return
        values = (
            datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            self._run,
            chunk,
            frame,
            memory.rss_bytes,
            memory.vram_bytes,
            memory.reserved_vram_bytes,
        )
        self.add_line(",".join("" if value is None else str(value) for value in values))


def describe_peak(rss_bytes: int, vram_bytes: int | None) -> str:
    """The most memory that some work used, for a person."""
    vram = "" if vram_bytes is None else f" and {vram_bytes / 1e9:.2f} GB of GPU"
    return f"at most {rss_bytes / 1e9:.2f} GB of memory{vram}"
