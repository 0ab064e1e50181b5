"""`attempt.json`: shows that the process before was killed while it worked.

A process writes this file when it begins to work, and deletes it at the end. A process that holds
the run's lock and still finds the file knows that the one before was killed. Want of memory may be
why: the kernel's out-of-memory killer and container runtimes send SIGKILL (exit code 137), which no
program can catch.
"""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from samcore.disk.files import storage_errors
from samcore.disk.locks import boot_id
from samcore.disk.sealed import read_sealed, write_sealed
from samcore.errors import StorageError
from samcore.machine.stopping import WorkStopped
from samcore.progress import Throttle

_ALIVE_S = 1.0
"""Seconds between two signs of life."""
_VMSTAT = Path("/proc/vmstat")


class AttemptRecord(BaseModel):
    """`attempt.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    """From 1; counts on over attempts that did not end."""
    rung: int
    """Place on the ladder."""
    pid: int
    host: str
    boot_id: str | None
    """Of the kernel since it started; None where it does not tell."""
    oom_kills: int | None
    """Processes that this kernel had killed for want of memory when the attempt began."""
    begun_at: float | None = None
    """Seconds since 1970; None in marks of versions that did not count them."""


class LostRecord(BaseModel):
    """`lost`: sealed JSON, as the mark is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    """Of all attempts that came to nothing."""


class Attempt:
    """The attempt that runs now."""

    def __init__(self, path: Path, found: AttemptRecord | None, *, last_rung: int) -> None:
        self._path = path
        self.number = 1 if found is None else found.number + 1
        """From 1; counts attempts that did not end, too."""
        self.rung = 0 if found is None else min(_rung_after(found), last_rung)
        """Place on the ladder to begin at."""
        self.found: str | None = None if found is None else _describe(found)
        """How the attempt before was ended, for a person; None if it ended by itself."""
        self._begun_at = time.time()
        self._is_due = Throttle(_ALIVE_S)

    @property
    def lost_s(self) -> float:
        """Seconds of all attempts before that came to nothing."""
        return lost_seconds(self._path)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return max(0.0, time.time() - self._begun_at)

    def alive(self) -> None:
        """Give a sign of life, now and then; what is done up to it counts if a kill comes."""
        if self._is_due():
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def mark(self, rung: int) -> None:
        """Write down the rung, for whoever comes after a kill.

        Raises:
            StorageError: The folder cannot be written to.
        """
        record = AttemptRecord(
            number=self.number,
            rung=rung,
            pid=os.getpid(),
            host=platform.node(),
            boot_id=boot_id(),
            oom_kills=_oom_kills(),
            begun_at=self._begun_at,
        )
        write_sealed(self._path, record, of=_name_of(self._path))


@contextlib.contextmanager
def attempting(path: Path, *, last_rung: int) -> Iterator[Attempt]:
    """Mark an attempt for the length of the block; the mark goes at its end, not by a kill.

    Only with the run's lock held: a mark that is found is that of a dead process.

    Args:
        path: The mark.
        last_rung: Place of the ladder's last rung.

    Raises:
        StorageError: The folder cannot be written to.
    """
    found = read_sealed(path, AttemptRecord, of=_name_of(path))
    if found is not None:
        add_lost(path, killed_seconds(path))
    attempt = Attempt(path, found, last_rung=last_rung)
    attempt.mark(attempt.rung)
    try:
        yield attempt
    except WorkStopped:
        raise  # what there is was saved, with its seconds
    except BaseException:
        add_lost(path, attempt.seconds)
        raise
    finally:
        with contextlib.suppress(FileNotFoundError), storage_errors(path, "write"):
            path.unlink(missing_ok=True)


def killed_seconds(mark: Path) -> float:
    """Seconds of an attempt that was killed, from its beginning to its last sign of life; 0 if
    there is no mark of one, or nobody knows."""
    found = read_sealed(mark, AttemptRecord, of=_name_of(mark))
    if found is None or found.begun_at is None:
        return 0.0
    with contextlib.suppress(OSError):
        return max(0.0, mark.stat().st_mtime - found.begun_at)
    return 0.0


def lost_seconds(mark: Path) -> float:
    """Seconds of attempts that came to nothing, of the work that a mark is of."""
    path = _lost_path(mark)
    found = read_sealed(path, LostRecord, of=_name_of(path))
    return 0.0 if found is None else found.seconds


def add_lost(mark: Path, seconds: float) -> None:
    """Count more of them. One that cannot be written down is not counted."""
    path = _lost_path(mark)
    total = LostRecord(seconds=round(lost_seconds(mark) + max(0.0, seconds), 3))
    with contextlib.suppress(StorageError):
        write_sealed(path, total, of=_name_of(path))


def _lost_path(mark: Path) -> Path:
    return mark.with_name(mark.name.removesuffix("attempt.json") + "lost")


def is_at_work(path: Path) -> bool:
    """Whether a process that left such a mark may still be working; one of another machine may."""
    found = read_sealed(path, AttemptRecord, of=_name_of(path))
    return found is not None and (found.host != platform.node() or psutil.pid_exists(found.pid))


def _rung_after(found: AttemptRecord) -> int:
    """One rung down after an attempt that was killed.

    A kill that was certainly not for want of memory - the kernel is the same, and has killed
    nobody for that since - leads no further than to the first rung, which changes nothing but
    that caches are empty: an operator's kill -9 must not change a bit of any mask.
    """
    same_kernel = found.boot_id is not None and found.boot_id == boot_id()
    if same_kernel and found.oom_kills is not None and found.oom_kills == _oom_kills():
        return max(found.rung, 1)
    return found.rung + 1


def _describe(found: AttemptRecord) -> str:
    return (
        f"attempt {found.number}, process {found.pid} on {found.host}, did not end: it was killed"
    )


def _name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _oom_kills() -> int | None:
    """Counted by the kernel for all its containers; None where it does not tell."""
    try:
        for line in _VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None
