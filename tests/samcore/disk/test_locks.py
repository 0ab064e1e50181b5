"""Locks between processes: who has one knows that nobody else does."""

import os
import threading
from pathlib import Path

from samcore.disk.locks import (
    is_abandoned,
    lock_identity,
    locked,
    locked_if_free,
    open_locked,
    try_open_locked,
)


def test_a_lock_is_refused_while_another_one_holds_it(tmp_path: Path) -> None:
    """Also within one process, and in both ways of asking; free again after the block."""
    path = tmp_path / "lock"
    with locked(path):
        assert try_open_locked(path) is None
        with locked_if_free(path) as is_free:
            assert not is_free
    with locked_if_free(path) as is_free:
        assert is_free


def test_readers_share_a_lock_that_keeps_writers_away(tmp_path: Path) -> None:
    """Any number of shared holders, and then no exclusive one; and the other way round."""
    path = tmp_path / "lock"
    readers = [open_locked(path, shared=True) for _ in range(2)]
    assert try_open_locked(path) is None
    for reader in readers:
        os.close(reader)
    with locked(path):
        assert try_open_locked(path, shared=True) is None


def test_a_lock_whose_file_was_removed_is_none(tmp_path: Path) -> None:
    """Whoever waited for it waits for the file that bears the name then."""
    path, told = tmp_path / "lock", threading.Event()
    taken: list[int] = []
    first = open_locked(path)
    waiter = threading.Thread(
        target=lambda: taken.append(open_locked(path, on_wait=told.set)), daemon=True
    )
    waiter.start()
    assert told.wait(60)
    path.unlink()
    with locked(path):
        os.close(first)
        waiter.join(0.3)
        assert not taken
    waiter.join(60)
    assert os.path.samestat(os.fstat(taken[0]), path.stat())
    os.close(taken[0])


def test_a_lock_files_identity_is_its_own(tmp_path: Path) -> None:
    """The same by any name, another one for another file, none for none."""
    for name in ("a", "b"):
        (tmp_path / name).touch()
    os.link(tmp_path / "a", tmp_path / "c")
    a, b, c = (lock_identity(tmp_path / name) for name in "abc")
    assert a is not None
    assert a == c != b
    assert lock_identity(tmp_path / "d") is None


def test_a_lock_is_abandoned_once_its_holder_let_go(tmp_path: Path) -> None:
    """Only the very file counts: another one at its path, or none, proves nothing."""
    path = tmp_path / "lock"
    with locked(path):
        identity = lock_identity(path)
        assert identity is not None
        assert not is_abandoned(path, identity)
    assert is_abandoned(path, identity)
    path.rename(tmp_path / "old")
    assert not is_abandoned(path, identity)
    path.touch()
    assert not is_abandoned(path, identity)
