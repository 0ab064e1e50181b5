"""Removes abandoned work in progress from the disk of a worker and from a bucket."""

import contextlib
import logging
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from samcore.disk.locks import locked_if_free
from samcore.errors import StorageError
from tasks.store.locations import S3Location

if TYPE_CHECKING:
    from tasks.store.object_store import ObjectStore

_log = logging.getLogger(__name__)

_STALE_UPLOAD_S = 86_400.0
"""No upload of one file takes a day."""
_STALE_S = 14 * 86_400.0
"""A run whose work was untouched for so long continued elsewhere, or failed for good."""


def remove_stale_work(work_dir: Path) -> None:
    """Remove what was not touched for two weeks: runs, indexes of frames, found objects.

    All of it can be made again, or fetched from the destination's bucket. A run that a process of
    this machine is at stays, and so does what cannot be removed: that is no reason for a finished
    run to fail.

    Args:
        work_dir: The folder of results in buckets; never one that a person chose.
    """
    before = time.time() - _STALE_S
    for folder in _entries(work_dir / "runs"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and not folder.is_symlink() and _last_write(folder) < before:
                _remove_run(folder, before)
    for file in (*_entries(work_dir / "index"), *_entries(work_dir / "found")):
        with contextlib.suppress(OSError):
            found = file.lstat()
            # Where the file system notes it, reading counts, too.
            if file.is_file() and max(found.st_mtime, found.st_atime) < before:
                file.unlink()


def remove_stale_uploads(
    store: "ObjectStore", prefix: S3Location, *, at_once: bool = False
) -> None:
    """Remove what killed uploads left below a prefix, where server and rights let it.

    Args:
        store: Where the bucket is.
        prefix: Where to look.
        at_once: No process is uploading there. Else, uploads of the last day are spared.
    """
    try:
        store.abort_stale_uploads(prefix, older_than_s=-_STALE_S if at_once else _STALE_UPLOAD_S)
    except StorageError as error:
        # To list uploads takes a right of its own, and some servers cannot do it.
        _log.info("left what killed uploads may have left: %s", error)


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _last_write(folder: Path) -> float:
    """When anything in a run's folder was last written, or the run was last asked for."""
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


def _remove_run(folder: Path, before: float) -> None:
    lock = folder / "lock"
    # Where no process ever came so far as to make it, to make it would be a sign of use.
    with locked_if_free(lock) if lock.exists() else contextlib.nullcontext(True) as is_ours:
        # Looked at again: whoever asks for a run touches it, and only then waits for its lock.
        if is_ours and _last_write(folder) < before:
            gone = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
            folder.rename(gone)  # at once, for others: a run that begins now makes its own
            shutil.rmtree(gone)
            _log.info("removed %s: nobody came back for it", folder)
