"""The janitor: all that goes without being asked for, and when.

    what                          where                      goes when
    a run's work                  CACHE/runs/<key>           14 days untouched, and its lock is free
    the same of early work        CACHE/early/runs/<key>     likewise; and see samcore/run/early.py
    an index of a video's frames  CACHE/index/*              14 days unused
    objects that were found       CACHE/found/*              14 days unused
    fetched warm starts           CACHE/warm/*               14 days unused
    copies of a result's files    CACHE/results/*            7 days not opened
    downloaded sources            CACHE/sources/*            room is needed: the least used first,
                                                             if its lock is free (cache.py)
    what an export left           DEST/.longtake/new/*       7 days old
    half-written files of a run   runs/<key>/**/.*.tmp       at once, by who has the run's lock
    killed uploads to a bucket    below DEST                 a day old; those of a run at once, by
                                                             who has its lease (object_store.py)

CACHE is never a folder that a person chose for the work of one run. All that goes can be made
again, or fetched. What cannot be removed stays: that is no reason for a finished run to fail.
"""

import contextlib
import logging
import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from samcore.disk.atomic import storage_errors
from samcore.disk.locks import locked_if_free

_log = logging.getLogger(__name__)

_DAY_S = 86_400.0
_COPY_S = 7 * _DAY_S
_EXPORT_S = 7 * _DAY_S
"""No export takes a week; one that is at work must not lose its folder."""
_WORK_S = 14 * _DAY_S
"""A run whose work was untouched for so long continued elsewhere, or failed for good."""


def remove_stale_work(work_dir: Path) -> None:
    """Remove old runs, indexes, found objects and fetched warm starts of a cache."""
    for folder in (*_entries(work_dir / "runs"), *_entries(work_dir / "early" / "runs")):
        with contextlib.suppress(OSError):
            if folder.is_dir() and not folder.is_symlink() and _is_untouched(folder):
                _remove_run(folder)
    for name in ("index", "found", "warm"):
        _remove_old(_entries(work_dir / name), _WORK_S)


def remove_stale_copies(copies: Path) -> None:
    """Remove copies of results from a cache; whoever opens one sets its folder's time."""
    _remove_old(_entries(copies), _COPY_S)


def remove_abandoned_exports(new: Path) -> None:
    """Remove what killed processes left to be taken into a result."""
    _remove_old(_entries(new), _EXPORT_S)


def remove_half_written(run_folder: Path) -> None:
    """Remove what killed processes left half written of a run. Only with its lock held.

    Raises:
        StorageError: No permission.
    """
    for pattern in (".*.tmp", "chunks/*/.*.tmp"):
        for half in run_folder.glob(pattern):
            with storage_errors(half, "write"):
                half.unlink(missing_ok=True)


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _remove_old(paths: Iterable[Path], lasts_s: float) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            stat = path.lstat()
            if path.is_dir() and not path.is_symlink():
                if time.time() - stat.st_mtime > lasts_s:
                    shutil.rmtree(path, ignore_errors=True)
            # Where the file system notes it, reading counts, too.
            elif time.time() - max(stat.st_mtime, stat.st_atime) > lasts_s:
                path.unlink()


def _is_untouched(folder: Path) -> bool:
    """Whether nothing in a run's folder was written for long, nor the run asked for."""
    last = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    return time.time() - last > _WORK_S


def _remove_run(folder: Path) -> None:
    lock = folder / "lock"
    # Where no process ever came so far as to make it, to make it would be a sign of use.
    with locked_if_free(lock) if lock.exists() else contextlib.nullcontext(True) as is_free:
        # Looked at again: whoever asks for a run touches it, and only then waits for its lock.
        if is_free and _is_untouched(folder):
            gone = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
            folder.rename(gone)  # at once, for others: a run that begins now makes its own
            shutil.rmtree(gone)
            _log.info("removed %s: nobody came back for it", folder)
