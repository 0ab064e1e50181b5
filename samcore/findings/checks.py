"""All that is odd about a result, from its records and its mask table; the video is not needed."""

from pathlib import Path

from samcore.findings.finding import Finding, Findings
from samcore.findings.lanes import LaneReport, read_lanes
from samcore.findings.prompted import watch_prompts
from samcore.masks.table import MaskReader
from samcore.report.facts import ReportFacts


def check_result(facts: ReportFacts, table: Path, *, limit: int) -> tuple[LaneReport, Findings]:
    """Look for what a person should look at.

    Reads the table's numbers once, and the masks on prompted frames. Memory does not grow with the
    video's length: the worst findings of each kind are kept, and some numbers for each object.

    Args:
        facts: What is known of the run.
        table: Its masks.
        limit: How many findings of each kind are kept; all of them are counted.

    Returns:
        The objects, and the findings of every kind but scene cuts.

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
    )
    asked = [item for item in facts.prompts if facts.start <= item.frame_idx < facts.stop]
    with MaskReader(table) as reader:
        watch_prompts(asked, reader, findings)
    _check_records(facts, findings)
    return lanes, findings


def _check_records(facts: ReportFacts, findings: Findings) -> None:
    """Add what the run's own records say against its masks."""
    for seam in facts.seams:
        if seam.frames and seam.agreement < facts.min_agreement:
            text = (
                f"chunks {seam.left_index} and {seam.right_index} agree by {seam.agreement:.4f} on "
                f"the frames that they share; wanted {facts.min_agreement} or more"
            )
            findings.add(Finding("seam", seam.start, None, 1 - seam.agreement, text))
    for chunk in facts.chunks:
        if chunk.quality_loss:
            text = (
                f"chunk {chunk.index} was tracked with a smaller input of the model, as memory did "
                "not suffice"
            )
            findings.add(Finding("coarse", chunk.start, None, chunk.stop - chunk.start, text))
    if facts.damaged is not None:
        text = f"the video is damaged: {facts.damaged}"
        findings.add(Finding("damage", facts.start, None, 1.0, text))
