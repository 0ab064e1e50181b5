"""A file that shows how memory use goes over a run, for plots."""

import logging
import os
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from samcore.disk.files import make_folder, storage_errors
from samcore.machine.meters import MEMORY_LOG_HEADER, MemoryReading
from samcore.progress import Throttle

_log = logging.getLogger(__name__)
_INTERVAL_S = 0.25


class MemoryLog:
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
        self._path = path
        self._run = run
        self._due = Throttle(_INTERVAL_S)
        self._file: int | None = None

    def __enter__(self) -> "MemoryLog":
        if self._path is not None:
            make_folder(self._path.parent)
            with storage_errors(self._path, "write"):
                # Whole lines go to the end, also when two runs share the file.
                self._file = os.open(
                    self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666
                )
                size = os.fstat(self._file).st_size
                if size == 0:
                    os.write(self._file, f"{MEMORY_LOG_HEADER}\n".encode())
                elif os.pread(self._file, 1, size - 1) != b"\n":
                    os.write(self._file, b"\n")  # a kill, or a full disk, left half a line
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

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
        if self._file is None or not (self._due() or always):
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
        line = ",".join("" if value is None else str(value) for value in values) + "\n"
        try:
            os.write(self._file, line.encode())
        except OSError as error:
            _log.warning("the memory log %s ends here: %s", self._path, error.strerror)
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def describe_peak(rss_bytes: int, vram_bytes: int | None) -> str:
    """The most memory that some work used, for a person."""
    vram = "" if vram_bytes is None else f" and {vram_bytes / 1e9:.2f} GB of GPU"
    return f"at most {rss_bytes / 1e9:.2f} GB of memory{vram}"
