"""Task: track one unit of work of a run, on whatever machine this is."""

import logging
import time
from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.chunks.handoff import find_handoff
from samcore.disk.janitor import remove_stale_work
from samcore.result.records import RunRecord
from samcore.run.folder import RunFolder
from samcore.run.units import UnitRecord, unit_name
from tasks.encode_prompts import encode_prompts
from tasks.retries import SOURCE_RETRIES
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef
from tasks.settings import load_settings
from tasks.store.lease import leased
from tasks.track_chunk import track_chunk
from tasks.tracking.device_lock import using_device
from tasks.units.lay_out import fetch_run, lay_out_unit
from tasks.units.worker import at_work

_log = logging.getLogger(__name__)


@task(
    name="track-unit",
    task_run_name="{run.video}: track unit {index}",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # the unit's folder is the record of what is done
    persist_result=False,
)
def track_unit(run: RunRef, index: int) -> UnitRecord:
    """Track what is not done yet of unit `index`, with its lock and its lease held.

    Raises:
        SegmentationError: Something that a person can put right, in one line.
    """
    started = time.monotonic()
    here = fetch_run(run)
    unit = lay_out_unit(here, index)
    folder = RunFolder.from_ref(unit)
    with at_work(), folder.lock(on_wait=_say_another), leased(unit, on_wait=_say_who) as held:
        mirror = open_mirror(unit)
        if mirror is not None:
            mirror.pull(folder)
        record = folder.record()
        _track(unit, folder, record, held)
    done = [folder.prompt_pass(), *(folder.chunk_record(chunk.index) for chunk in record.chunks)]
    if unit.in_bucket:
        remove_stale_work(load_settings().cache_dir)  # what this worker left here long ago
    name = unit_name(RunFolder.from_ref(here).record(), index)
    _log.info("%s: done in %.1f s", name, time.monotonic() - started)
    return UnitRecord(
        index=index,
        work_key=folder.path.name,
        frames=sum(record.frames_within(one.start, one.stop) for one in record.chunks),
        seconds=sum(part.seconds for part in done if part is not None),
    )


def _track(unit: RunRef, folder: RunFolder, record: RunRecord, held: Callable[[], None]) -> None:
    hands_on = find_handoff(record.handoff).hands_on_state
    todo = folder.plan_work(with_states=hands_on)
    if not todo:
        return
    mirror = open_mirror(unit)
    with using_device(record.settings.device):
        if hands_on and 0 in todo:
            encode_prompts.fn(unit)
        for chunk in record.chunks:
            held()
            track_chunk.fn(unit, chunk.index)
            if mirror is not None:
                mirror.push_chunk(folder, chunk.index)


def _say_another() -> None:
    _log.warning("another process is at this unit: waiting")


def _say_who(machine: str) -> None:
    _log.warning("%s is at this unit: waiting", machine)
