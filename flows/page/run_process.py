"""A run that a page started: a process of its own, which outlives the page."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from flows.commands.process import child_command
from samcore.disk.files import make_folder, storage_errors, write_json
from samcore.errors import InputError

_CODE = "from flows.cli import main; main()"
_TAIL_BYTES = 4096


class RunRecord(BaseModel):
    """`run.json`: the process that tracks, or has tracked, for a page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: tuple[str, ...]
    """Its command line, behind `longtake`."""
    pid: int
    created: float
    """When the process began: another process may have its number later."""
    started: float
    """Seconds since the epoch, before its first file was written."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What a page knows of its process."""

    is_running: bool
    exit_code: int | None
    """None while it runs, and of a process that another page started."""
    line: str
    """What it said last; empty if nothing."""
    is_stopping: bool = False
    """It was told to stop, and saves where it is."""


class RunProcess:
    """Starts `longtake track`, stops it, and finds it again after the page was killed.

    run.json    which process it is
    run.log     what it says
    """

    def __init__(self, folder: Path) -> None:
        """Look for a process that an earlier page started.

        Args:
            folder: The page's own; made when it is needed.
        """
        self._record_path, self._log = folder / "run.json", folder / "run.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._is_told = False
        self.record: RunRecord | None = None
        """Of the process that was started last; None if there never was one."""
        with contextlib.suppress(OSError, ValidationError):
            self.record = RunRecord.model_validate_json(self._record_path.read_bytes())

    @property
    def is_running(self) -> bool:
        """Whether the process still works."""
        if self._child is not None:
            return self._child.poll() is None
        if self.record is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.record.pid)
            same = abs(process.create_time() - self.record.created) < 1.0
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        return False

    def start(self, words: Sequence[str]) -> None:
        """Start the command, in a session of its own: a signal to the page is not for it.

        Args:
            words: What follows `longtake`.

        Raises:
            InputError: One is running.
            StorageError: The folder cannot be written to, or the machine gives no process.
        """
        if self.is_running:
            raise InputError("a run is going on already: stop it first")
        make_folder(self._log.parent)
        started = time.time()
        with storage_errors(self._log, "write"), self._log.open("wb") as log:
            self._child = subprocess.Popen(
                child_command(_CODE, *words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._is_told = False
        created = started
        with contextlib.suppress(psutil.NoSuchProcess):
            created = psutil.Process(self._child.pid).create_time()
        self.record = RunRecord(
            words=tuple(words), pid=self._child.pid, created=created, started=started
        )
        write_json(self._record_path, self.record)

    def stop(self) -> None:
        """Tell it once to save where it is and end; a second signal would end it without that.
        Returns at once."""
        if self.record is not None and self.is_running and not self._is_told:
            self._is_told = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.record.pid, signal.SIGTERM)

    def state(self) -> ProcessState:
        """What is known of it now."""
        running = self.is_running
        code = None if self._child is None else self._child.poll()
        return ProcessState(running, code, self._last_line(), running and self._is_told)

    def _last_line(self) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
