"""Task: hold two neighbouring chunks against each other where they overlap."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from samcore.chunks.seams import judge_seam
from samcore.progress import counted
from samcore.run.folder import RunFolder
from samcore.run.joining import seam_report
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
