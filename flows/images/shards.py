"""The shards of a run over pictures, shared by all processes that are at it."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from flows.images.plan import ImagesRun
from samcore.chunks.plan import Chunk
from samcore.progress import counted
from tasks.run.mirror import open_mirror
from tasks.segment_shard import ShardRef
from tasks.store.lease import LeaseHeldError, leased

_log = logging.getLogger(__name__)
_POLL_S = 1.0
"""Between two looks whether shards of other processes are done."""


def do_shards(
    run: ImagesRun,
    todo: Sequence[Chunk],
    do: Callable[[Chunk], object],
    *,
    on_end: Callable[[Chunk], None],
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """See that shards are done, here or by another process with the same request.

    Args:
        run: Which one, laid out.
        todo: The shards.
        do: Does one; called with its lock held.
        on_end: Called with each one that is done, by whomever.
        wait: Waits for so many seconds, or until other processes may have ended a shard.
    """
    left = list(todo)
    while left and not run.folder.is_published:
        others = _pass_over(run, left, do, on_end)
        if len(others) == len(left):
            wait(_POLL_S)  # others are at all that is left
        left = others


def warn_of_broken(shard: ShardRef) -> None:
    """Say how many pictures of a shard have no masks, if any."""
    if shard.broken:
        broken = counted(shard.broken, "picture")
        _log.warning("shard %d: %s cannot be segmented", shard.index, broken)


def _pass_over(
    run: ImagesRun,
    todo: Sequence[Chunk],
    do: Callable[[Chunk], object],
    on_end: Callable[[Chunk], None],
) -> list[Chunk]:
    """Do the shards that no other process is at; those that others are at."""
    left: list[Chunk] = []
    for shard in todo:
        with _held(run, shard) as is_mine:
            if run.folder.is_published or (is_mine and _is_elsewhere(run, shard)):
                return []
            if not is_mine:
                left.append(shard)
                continue
            if run.folder.finished_shard(shard.index) is None:
                do(shard)
            on_end(shard)
    return left


@contextlib.contextmanager
def _held(run: ImagesRun, shard: Chunk) -> Iterator[bool]:
    """Keep all other processes from a shard; False if one is at it."""
    with contextlib.ExitStack() as stack:
        is_mine = stack.enter_context(run.folder.lock_shard(shard))
        if is_mine and run.ref.in_bucket:
            try:
                stack.enter_context(leased(run.ref, chunk=shard.index, wait=False))
            except LeaseHeldError:
                is_mine = False
            else:
                mirror = open_mirror(run.ref)
                if mirror is not None:
                    mirror.pull_shards(run.folder, [shard.index])
        yield is_mine


def _is_elsewhere(run: ImagesRun, shard: Chunk) -> bool:
    """Whether another machine has published the result, and with that removed a shard that lacks
    here. Where there is no result yet, that is one request."""
    if not run.ref.in_bucket or run.folder.shard_record(shard.index) is not None:
        return False
    return run.published() is not None
