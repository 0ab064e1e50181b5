"""All that is odd about a result, from its records and its mask table; the video is not needed."""

from pathlib import Path

from samcore.findings.check import CHECKS
from samcore.findings.finding import Findings
from samcore.findings.lanes import MAX_BINS, LaneReport, read_lanes
from samcore.masks.table import MaskReader
from samcore.report.facts import ReportFacts


def check_result(
    facts: ReportFacts, table: Path, *, limit: int, bins: int = MAX_BINS
) -> tuple[LaneReport, Findings]:
    """Look for what a person should look at.

    Reads the table's numbers once, and the masks on prompted frames. Memory does not grow with the
    video's length: the worst findings of each kind are kept, and some numbers for each object.

    Args:
        facts: What is known of the run.
        table: Its masks.
        limit: How many findings of each kind are kept; all of them are counted.
        bins: Of each lane, as in `LaneBuilder`.

    Returns:
        The objects, and the findings of every check that needs no pictures.

    Raises:
        StorageError: The masks cannot be read.
    """
    findings = Findings(limit)
    lanes = read_lanes(
        table,
        findings,
        start=facts.start,
        stop=facts.stop,
        rate=facts.rate,
        size_hw=(facts.height, facts.width),
        bins=bins,
        tracked=facts.tracked,
    )
    with MaskReader(table) as reader:
        for entry in CHECKS:
            if entry.sees == "run":
                entry.load()(facts, reader, findings.add)
    return lanes, findings
