"""Task: join the parts, and make the result appear at the destination."""

import contextlib
import json
import shutil
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.chunks.seams import SeamReport
from samcore.disk.files import FileRecord, fsync_and_record, write_atomic
from samcore.masks.ledger import OBJECTS, make_ledger, read_ledger
from samcore.masks.table import MaskReader
from samcore.report.of_manifest import list_findings
from samcore.result.cost import count_cost
from samcore.result.manifest import MASKS, SEAMS, Manifest
from samcore.result.published import Peaks, SeamList, Timings
from samcore.result.records import ChunkRecord, PassRecord
from samcore.run.backward import (
    backward_chunks,
    backward_pass,
    backward_seams,
    join_both_ways,
)
from samcore.run.correction import read_correction
from samcore.run.folder import RunFolder
from samcore.run.joining import finished_chunks, join_masks, seam_report
from samcore.run.units import read_unit, unit_folder, unit_indices
from tasks.publish_part import staging_dir
from tasks.request.resolve import refuse_other
from tasks.request.segment_request import SegmentRequest
from tasks.results.manifest import now, result_ref, versions
from tasks.results.open import is_superseded, open_result_store
from tasks.retries import DESTINATION_RETRIES
from tasks.run.refs import ResultRef, RunRef, backward_ref


@task(
    name="publish",
    task_run_name="{run.video}: publish",
    **DESTINATION_RETRIES,
    cache_policy=NO_CACHE,  # joining again gives the same bytes
    persist_result=False,
)
def publish(run: RunRef, request: SegmentRequest) -> ResultRef:
    """Join all chunks' masks and publish them with the seams; the manifest comes last.

    Whoever sees a manifest sees a whole result: an older one goes before its files do. What a newer
    version of the video has there stays, and is what is returned.

    Raises:
        InputError: Another request's result has appeared at the destination.
        LostWorkError: A chunk is not there.
        StorageError: The destination cannot be written to.
    """
    folder = RunFolder.from_ref(run)
    chunks = finished_chunks(folder)
    seams = [seam_report(folder, chunk.index) for chunk in chunks[1:]]
    mirror = backward_pass(folder)
    if mirror is not None:
        seams += backward_seams(folder.record(), mirror)
    staged = _stage(run, folder, chunks, seams)
    store = open_result_store(run)

    def check(found: str | None) -> None:
        refuse_other(request, found, run.key)
        # Asked again, since other runs may have ended meanwhile.
        there = None if found in (None, run.key) else store.listed(found)
        if there is not None and is_superseded(run, folder.record(), there):
            raise _SupersededError(there)

    try:
        manifest = store.publish(
            {file.name: staging_dir(run) / file.name for file in staged},
            _manifest(run, folder, chunks, seams, staged, request.least_agreement),
            check=check,
        )
    except _SupersededError as error:
        return result_ref(run, error.there, was_there=True)
    drop_work(run)
    return result_ref(run, manifest, was_there=False)


def drop_work(run: RunRef) -> None:
    """Remove what a run needs no more once its result is there: parts, and states, unless these are
    kept to correct it from. Only with the run's lock held.

    Raises:
        StorageError: The folder cannot be written to.
    """
    folder = RunFolder.from_ref(run)
    folder.drop_states(keep=run.keep_states)
    clear_staging(staging_dir(run))
    mirror = backward_pass(folder)
    if mirror is not None:
        mirror.drop_states()
        clear_staging(staging_dir(backward_ref(run, mirror)))


class _SupersededError(Exception):
    def __init__(self, there: Manifest) -> None:
        super().__init__()
        self.there = there


def _stage(
    run: RunRef, folder: RunFolder, chunks: list[ChunkRecord], seams: list[SeamReport]
) -> tuple[FileRecord, ...]:
    """Write the result's files beside the destination."""
    record = folder.record()
    staging = staging_dir(run)
    masks = join_masks(folder, chunks, staging)
    mirror = backward_pass(folder)
    if mirror is not None:
        join_both_ways(folder, masks, mirror, staging_dir(backward_ref(run, mirror)))
    content = SeamList(seams=tuple(seams)).model_dump_json(indent=2) + "\n"
    write_atomic(staging / SEAMS, content.encode())
    found = [item for chunk in chunks for item in chunk.found]
    ledger = make_ledger(masks, [item.entry() for item in record.objects], found)
    write_atomic(staging / OBJECTS, (ledger.model_dump_json(indent=2) + "\n").encode())
    files = [masks, staging / OBJECTS, staging / SEAMS]
    if record.source_mark is not None and run.in_bucket:
        files.append(staging / f"source-{record.source_mark}.json")
        said = {"source": record.source, "version": record.source_version}
        write_atomic(files[-1], (json.dumps(said, indent=2) + "\n").encode())
    return tuple(fsync_and_record(file) for file in files)


def _manifest(
    run: RunRef,
    folder: RunFolder,
    chunks: list[ChunkRecord],
    seams: list[SeamReport],
    files: tuple[FileRecord, ...],
    min_agreement: float,
) -> Manifest:
    record = folder.record()
    compared = [seam for seam in seams if seam.frames]
    mirror = backward_pass(folder)
    backward = () if mirror is None else backward_chunks(record, mirror)
    units = [read_unit(folder, index) for index in unit_indices(record)]
    prompted = [folder, *(unit_folder(folder, unit) for unit in units if unit is not None)]
    if mirror is not None:
        prompted.append(mirror)
    passes = [done for one in prompted if (done := one.prompt_pass()) is not None]
    measured: list[ChunkRecord | PassRecord] = [*chunks, *backward, *passes]
    manifest = Manifest(
        key=run.key,
        request=record,
        video=folder.video(),
        frames=record.num_frames,
        objects=len(read_ledger(staging_dir(run) / OBJECTS).objects),
        files=files,
        seam_agreement=min((seam.agreement for seam in compared), default=None),
        seams_identical=all(seam.identical for seam in compared) if compared else None,
        chunks=tuple(chunks),
        backward_chunks=backward,
        timings=Timings(
            prompt_pass=sum(done.seconds for done in passes),
            tracking=sum(chunk.seconds for chunk in (*chunks, *backward)),
        ),
        peaks=Peaks(
            rss_bytes=max(done.peak_rss_bytes or 0 for done in measured),
            vram_bytes=max(done.peak_vram_bytes or 0 for done in measured) or None,
        ),
        cost=count_cost(
            [*chunks, *backward],
            passes,
            finding_seconds=record.finding_seconds or 0.0,
            object_frames=_num_rows(staging_dir(run) / MASKS),
        ),
        min_agreement=min_agreement,
        versions=versions(),
        finished_at=now(),
        correction=read_correction(folder),
    )
    masks = staging_dir(run) / MASKS
    findings = list_findings(manifest, tuple(seams), folder.prompts(), masks)
    return manifest.model_copy(update={"findings": findings})


def _num_rows(masks: Path) -> int:
    with MaskReader(masks) as reader:
        return reader.num_rows


def clear_staging(staging: Path) -> None:
    """Remove what was only there to put a result together."""
    shutil.rmtree(staging, ignore_errors=True)
    with contextlib.suppress(OSError):  # another run's parts are there
        staging.parent.rmdir()
