"""Task: hold two neighbouring chunks against each other where they overlap."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.chunks.seams import SeamReport, compare_seam, judge_seam
from samcore.errors import LostWorkError
from samcore.progress import counted
from samcore.result.records import SeamRecord
from samcore.run.folder import RunFolder
from tasks.request.segment_request import SegmentRequest
from tasks.retries import SOURCE_RETRIES
from tasks.run.refs import RunRef

_log = logging.getLogger(__name__)


@task(
    name="stitch-seam",
    task_run_name="{run.video}: check seam before chunk {index}",
    **SOURCE_RETRIES,
    cache_policy=NO_CACHE,  # the run's folder is the record of what is done
    persist_result=False,
)
def check_seam(run: RunRef, request: SegmentRequest, index: int) -> float:
    """Compare chunk `index` with the one before over the frames that both tracked; the agreement.

    Raises:
        SeamError: They agree less than the request allows.
    """
    report = seam_report(RunFolder.from_ref(run), index)
    _log.info(
        "chunks %d and %d: agreement %.4f%s over %s",
        index - 1,
        index,
        report.agreement,
        " (identical)" if report.identical else "",
        counted(report.frames, "frame"),
    )
    judge_seam(
        report,
        min_agreement=request.least_agreement,
        on_disagreement=request.on_disagreement,
    )
    return report.agreement


def seam_report(folder: RunFolder, index: int) -> SeamReport:
    """The report on the seam before chunk `index`, made now if need be.

    Raises:
        LostWorkError: One of the chunks is not there.
    """
    known = folder.seam(index)
    if known is not None:
        return known.report
    left, right = folder.finished_chunk(index - 1), folder.finished_chunk(index)
    if left is None or right is None:
        raise LostWorkError(
            f"chunks {index - 1} and {index} in {folder.path} are gone or damaged; run again"
        )
    report = compare_seam(
        folder.masks_path(index - 1),
        folder.masks_path(index),
        start=right.start,
        stop=left.stop,
        left_index=index - 1,
        right_index=index,
    )
    folder.finish_seam(
        index,
        SeamRecord(
            left_masks_sha256=left.masks.sha256,
            right_masks_sha256=right.masks.sha256,
            report=report,
        ),
    )
    return report
