"""Units of work of one run: shared out among workers, and put together in the order of chunks."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence

from flows.chunk_checks import ChunkChecks
from flows.server.budget import run_budget
from samcore.errors import InputError
from samcore.progress import TRACKING, Progress, counted, report
from samcore.run.folder import RunFolder
from samcore.run.units import (
    UnitRecord,
    read_unit,
    unit_folder,
    unit_indices,
    unit_name,
    write_unit,
)
from tasks.join_units import is_put_together, is_unit_done, join_units
from tasks.request.segment_request import SegmentRequest
from tasks.run.mirror import open_mirror
from tasks.run.refs import RunRef
from tasks.runners.runner import AskedRunner
from tasks.track_unit import track_unit

_log = logging.getLogger(__name__)
_TURNS = 3
"""A unit that kills its workers again and again is for a person to look at."""

_Result = Callable[[], UnitRecord]


def track_units(
    run: RunRef, request: SegmentRequest, folder: RunFolder, held: Callable[[], None]
) -> None:
    """Track what is not done yet of a run's units, on whatever workers the request names.

    They are waited for in their order, and each chunk is put together as soon as all that it is
    made of is there: what comes out does not depend on when they are done. A worker that dies costs
    no more than its unit, of which finished chunks stay.

    Args:
        run: Laid out.
        request: Says which workers.
        folder: The run's.
        held: Raises when another machine has taken over the run.

    Raises:
        SegmentationError: A unit failed, in one line.
    """
    mirror = open_mirror(run)
    if mirror is not None:
        mirror.push_plan(folder)
    record = folder.record()
    todo = [index for index in unit_indices(record) if not _is_done(run, folder, index)]
    asked = AskedRunner.of(request.runner)
    if todo:
        _log.info("%s to track by %s", counted(len(todo), "unit"), request.runner)
    checks = ChunkChecks(run, request)
    pending = list(todo)
    for turn in range(1, _TURNS + 1):
        with _submitting(run, asked, record.settings.device, pending) as (results, is_lost):
            try:
                _collect(run, folder, results, checks, held, total=len(todo))
                break
            except Exception as error:
                if turn == _TURNS or not is_lost(error):
                    raise
                _log.warning("a worker was lost: its work is given to another one")
        pending = [index for index in pending if not _is_done(run, folder, index)]
    checks.wait()


def clear_units(run: RunRef, folder: RunFolder) -> None:
    """Remove what units left, in the folder and in the bucket; the run's result is published."""
    mirror = open_mirror(run)
    for index in unit_indices(folder.record()):
        unit = read_unit(folder, index)
        if unit is None:
            continue
        if mirror is not None:
            mirror.remove(unit.work_key)
        shutil.rmtree(unit_folder(folder, unit).path, ignore_errors=True)


def _is_done(run: RunRef, folder: RunFolder, index: int) -> bool:
    """Whether a unit is done, or nothing needs it any more."""
    record = folder.record()
    # A matched chunk's unit is looked at once more for the seam after it.
    needed = range(len(record.chunks)) if record.shards else record.chunks[index : index + 2]
    numbers = [one if isinstance(one, int) else one.index for one in needed]
    if all(is_put_together(folder, number) for number in numbers):
        return True
    return is_unit_done(run, folder, index)


def _collect(
    run: RunRef,
    folder: RunFolder,
    results: Sequence[tuple[int, _Result]],
    checks: ChunkChecks,
    held: Callable[[], None],
    *,
    total: int,
) -> None:
    """Wait for units in their order, and put chunks together."""
    record = folder.record()
    waiting = dict(results)
    done = 0
    if record.shards:
        for index, result in results:
            _take(folder, index, result, held)
            done += 1
            _show(run, done, total, unit_name(record, index))
        waiting = {}
    for chunk in record.chunks:
        if chunk.index in waiting:
            _take(folder, chunk.index, waiting[chunk.index], held)
            done += 1
            _show(run, done, total, unit_name(record, chunk.index))
        held()
        join_units(run, chunk.index)
        checks.begin(chunk.index)


def _take(folder: RunFolder, index: int, result: _Result, held: Callable[[], None]) -> None:
    held()
    run_budget().check()
    unit = result()
    write_unit(folder, unit)
    run_budget().count(unit.seconds)


def _show(run: RunRef, done: int, total: int, name: str) -> None:
    _log.info("%s is there, %d of %d", name, done, total)
    text = f"{run.video}: {done} of {counted(total, 'unit')}"
    report(Progress(TRACKING, done, total, "units", text=text))


@contextlib.contextmanager
def _submitting(
    run: RunRef, asked: AskedRunner, device: str, todo: Sequence[int]
) -> Iterator[tuple[list[tuple[int, _Result]], Callable[[BaseException], bool]]]:
    """Hand units to workers; for each what waits for its end, and which errors are lost workers."""
    engine = asked.engine(device) if todo else None
    if engine is None:
        yield [(index, _here(run, index)) for index in todo], lambda _: False
        return
    with contextlib.ExitStack() as stack:
        try:
            runner = stack.enter_context(engine.task_runner)
            with engine.asking():
                futures = [
                    (index, runner.submit(track_unit, {"run": run, "index": index}))
                    for index in todo
                ]
        except Exception as error:
            where = f"at {asked.address}" if asked.address else "on this machine"
            raise InputError(
                f"runner {asked.entry.name}: no workers {where}: "
                f"{' '.join(str(error).split()) or type(error).__name__}"
            ) from error
        try:
            yield [(index, future.result) for index, future in futures], engine.is_lost
        except BaseException:
            engine.stop()
            raise


def _here(run: RunRef, index: int) -> _Result:
    return lambda: track_unit(run, index)
