"""A file to which lines are added while something goes on, for plots: not what it goes on for."""

import logging
import os
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from samcore.disk.files import make_folder, storage_errors

_log = logging.getLogger(__name__)


class AppendedLines:
    """Adds whole lines to the end of a file, also when two processes share it; a context manager.

    What is there stays, so work that was stopped and goes on gives one series.
    """

    def __init__(self, path: Path | None, *, what: str, header: str = "") -> None:
        """Nothing is written before the block is entered.

        Args:
            path: The file; None writes nothing.
            what: What people call it, such as `memory log`.
            header: The first line of a new file, if it has one.
        """
        self._path = path
        self._what = what
        self._header = header
        self._file: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether lines are taken."""
        return self._file is not None

    def __enter__(self) -> Self:
        if self._path is not None:
            make_folder(self._path.parent)
            with storage_errors(self._path, "write"):
                self._file = os.open(
                    self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666
                )
                size = os.fstat(self._file).st_size
                if size == 0 and self._header:
                    os.write(self._file, f"{self._header}\n".encode())
                elif size and os.pread(self._file, 1, size - 1) != b"\n":
                    os.write(self._file, b"\n")  # a kill, or a full disk, left half a line
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add_line(self, line: str) -> None:
        """Write a line. A file that cannot be written to any more is given up with a warning."""
        if self._file is None:
            return
        try:
            os.write(self._file, f"{line}\n".encode())
        except OSError as error:
            _log.warning("the %s %s ends here: %s", self._what, self._path, error.strerror)
            self.close()

    def close(self) -> None:
        """Take no more lines."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
