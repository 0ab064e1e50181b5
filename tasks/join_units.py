"""Task: make a chunk of a run of what its units have tracked."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from samcore.errors import LostWorkError
from samcore.run.folder import RunFolder
from samcore.run.matched_chunks import is_joined, join_matched
from samcore.run.sharded_chunks import join_shards
from samcore.run.units import UnitRecord, read_unit, unit_folder
from tasks.retries import DESTINATION_RETRIES
from tasks.run.mirror import open_mirror
from tasks.run.refs import ChunkRef, RunRef

_log = logging.getLogger(__name__)


@task(
    name="join-units",
    task_run_name="{run.video}: join chunk {index}",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # the run's folder is the record of what is done
    persist_result=False,
)
def join_units(run: RunRef, index: int) -> ChunkRef | State[ChunkRef]:
    """Put chunk `index` together; the units that it needs are done, and so is the chunk before.

    Raises:
        LostWorkError: A unit's work is gone or damaged.
        StorageError: The folder cannot be written to, or the bucket not be read.
    """
    folder = RunFolder.from_ref(run)
    record = folder.record()
    chunk = record.chunks[index]
    frames = record.frames_within(chunk.start, chunk.stop)
    if is_put_together(folder, index):
        return Completed(name="Resumed", data=ChunkRef(index=index, frames=frames, resumed=True))
    if record.shards:
        units = [_fetched(run, folder, number) for number in range(len(record.shards))]
        join_shards(folder, units, index)
    else:
        before = _fetched(run, folder, index - 1) if index else None
        join_matched(folder, before, _fetched(run, folder, index), index)
    return ChunkRef(index=index, frames=frames, resumed=False)


def is_put_together(folder: RunFolder, index: int) -> bool:
    """Whether a chunk needs nothing of its units any more."""
    if folder.record().shards:
        return folder.finished_chunk(index) is not None
    return is_joined(folder, index)


def is_unit_done(run: RunRef, folder: RunFolder, index: int) -> bool:
    """Whether a unit was done before, and its work can be had here.

    Raises:
        StorageError: The bucket cannot be read.
    """
    try:
        unit = _fetched(run, folder, index)
        return all(unit.finished_chunk(one.index) is not None for one in unit.record().chunks)
    except LostWorkError:
        return False


def _fetched(run: RunRef, folder: RunFolder, index: int) -> RunFolder:
    """A unit's folder, with what another machine did of it."""
    done: UnitRecord | None = read_unit(folder, index)
    if done is None:
        raise LostWorkError(f"unit {index} of {folder.path} is not done; run again")
    unit = unit_folder(folder, done)
    mirror = open_mirror(run)
    if mirror is not None:
        mirror.pull_plan(unit)
        mirror.pull(unit)
    return unit
