"""A unit of work as a run of its own, laid out on the machine that is to do it."""

import logging
from pathlib import Path

from samcore.errors import LostWorkError
from samcore.machine.device import choose_compute
from samcore.prompts.automatic import NothingFoundError
from samcore.prompts.prompt import Prompt
from samcore.result.records import RunRecord
from samcore.run.folder import RunFolder
from samcore.run.units import chunk_run, shard_run
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef
from tasks.settings import load_settings
from tasks.sources.opened import open_run_source
from tasks.tracking.found_objects import find_objects_once

_log = logging.getLogger(__name__)


def fetch_run(run: RunRef) -> RunRef:
    """The run as this machine has it; its records are fetched from the bucket if they are not here.

    Raises:
        LostWorkError: They are nowhere.
        StorageError: The bucket cannot be read.
    """
    mirror = open_mirror(run)
    here = run
    if mirror is not None and not Path(run.folder).parent.is_dir():
        # Another machine's cache may be elsewhere.
        place = load_settings().cache_dir / "runs" / run.work_key
        here = run.model_copy(update={"folder": str(place)})
    folder = RunFolder.from_ref(here)
    if mirror is not None:
        mirror.pull_plan(folder)
    try:
        folder.record()
    except LostWorkError as error:
        raise LostWorkError(
            f"{folder.path} is not there: workers and the run must share {run.destination}, under "
            "the same name; run again"
        ) from error
    return here


def lay_out_unit(run: RunRef, index: int) -> RunRef:
    """Write down what a unit of a run is; where it is. What it looks for is found here.

    Args:
        run: As this machine has it.
        index: Which unit.

    Raises:
        SegmentationError: The video or the detector cannot be used here.
    """
    folder = RunFolder.from_ref(run)
    record, prompts = folder.record(), folder.prompts()
    if record.shards:
        own, own_prompts = shard_run(record, prompts, index)
    else:
        found = _find(folder, record, index)
        own, own_prompts = chunk_run(record, prompts, index, found)
    unit = RunFolder.for_key(folder.work_dir, own.work_key)
    unit.create(own, folder.video(), own_prompts, folder.names())
    ref = run.model_copy(update={"folder": str(unit.path), "key": own.result_key})
    mirror = open_mirror(run)
    if mirror is not None:
        mirror.push_plan(unit)
    return ref


def _find(folder: RunFolder, record: RunRecord, index: int) -> tuple[Prompt, ...]:
    """What a chunk finds at its start; nothing where it looks on the way, too."""
    if record.search is None:
        return ()
    chunk = record.chunks[index]
    settings = record.settings
    try:
        found, _ = find_objects_once(
            record.search.asked,
            video=open_run_source(folder),
            model=record.model,
            compute=choose_compute(settings.device, settings.dtype),
            frames=(chunk.start, chunk.stop),
            work_dir=folder.work_dir,
            cache_dir=load_settings().cache_dir,
            fingerprints=record.search.fingerprints,
        )
        return found
    except NothingFoundError as error:
        _log.warning("chunk %d: %s", index, str(error).partition(":")[0])
        return ()
