"""Lock files: they keep the processes of one machine apart, and end with their holder.

The kernel frees a lock when its holder ends in whatever way, SIGKILL included. So who gets a lock
knows that no other process holds it, whatever files that process may have left.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from samcore.disk.atomic import storage_errors
from samcore.errors import StorageError

_POLL_S = 0.05
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def open_locked(
    path: Path,
    *,
    shared: bool = False,
    on_wait: Callable[[], None] | None = None,
    mode: int = 0o666,
) -> int:
    """Lock the file at `path`; wait while another holder, also of this process, is in the way.

    Args:
        path: As in `try_open_locked`.
        shared: As there.
        on_wait: Called once, before waiting.
        mode: As there.

    Returns:
        A descriptor, open for reading and writing; to close it is to free the lock.

    Raises:
        StorageError: The file cannot be made.
    """
    while (descriptor := try_open_locked(path, shared=shared, mode=mode)) is None:
        if on_wait is not None:
            on_wait()
            on_wait = None
        time.sleep(_POLL_S)
    return descriptor


def try_open_locked(path: Path, *, shared: bool = False, mode: int = 0o666) -> int | None:
    """Lock the file at `path`, unless another holder is in the way; then None.

    The holder may remove or rename the file. A lock on a file without its name keeps nobody away,
    so such a lock counts as none.

    Args:
        path: Made if need be, in a folder that exists.
        shared: Others may hold the lock at the same time, if they share it, too.
        mode: Permissions of a file that is made; the umask applies.

    Raises:
        StorageError: The file cannot be made.
    """
    with storage_errors(path, "write"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        if _try_lock(descriptor, shared=shared) and _has_name(descriptor, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@contextlib.contextmanager
def locked(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path` within the block; the arguments are those of `open_locked`.

    The file stays. To remove it is for whoever removes what it guards.
    """
    descriptor = open_locked(path, on_wait=on_wait)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """The same without waiting: False if another holder is in the way."""
    descriptor = try_open_locked(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def is_free(descriptor: int) -> Iterator[bool]:
    """Whether nobody else holds the lock of an open file; within the block, nobody else can.

    Args:
        descriptor: Open, without a lock. It stays open.
    """
    from filelock import unlock_descriptor  # late, as below

    free = _try_lock(descriptor, shared=False)
    try:
        yield free
    finally:
        if free:
            unlock_descriptor(descriptor)


def lock_identity(path: Path) -> str | None:
    """Names a lock file among those of all machines; None if it is not there.

    Two processes that give one identity have the same file open under the same kernel. If one of
    them holds its lock, the other one does not: it has let go, or is dead.
    """
    try:
        stat = path.stat()
    except OSError:
        return None
    boot = boot_id()
    return None if boot is None else f"{boot}/{stat.st_dev}/{stat.st_ino}"


def boot_id() -> str | None:
    """Names the kernel since it started; None where it does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def is_abandoned(path: Path, identity: str) -> bool:
    """Whether the lock file of this identity is at `path`, and nobody holds its lock."""
    if lock_identity(path) != identity:
        return False
    with contextlib.suppress(StorageError), locked_if_free(path) as is_free:
        return is_free
    return False  # of another user


def _try_lock(descriptor: int, *, shared: bool) -> bool:
    if not shared:
        from filelock import lock_descriptor  # late: it takes a tenth of a second to import

        return lock_descriptor(descriptor, blocking=False)
    # filelock shares locks by a database beside the file. This is the kernel's own shared lock: it
    # excludes filelock's exclusive ones, and a killed reader leaves nothing.
    import fcntl  # late: absent on some systems

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_name(descriptor: int, path: Path) -> bool:
    """Whether an open file still bears the name by which it was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
