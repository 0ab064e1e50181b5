"""The checks `seam`, `coarse` and `damage`: what the run's own records say against its masks."""

from samcore.findings.check import Tell
from samcore.findings.finding import Finding
from samcore.masks.table import MaskReader
from samcore.report.facts import ReportFacts


def check_seams(facts: ReportFacts, reader: MaskReader, tell: Tell) -> None:
    """Tell of seams that agree less than was asked for."""
    for seam in facts.seams:
        if seam.frames and seam.agreement < facts.min_agreement:
            text = (
                f"chunks {seam.left_index} and {seam.right_index} agree by {seam.agreement:.4f} on "
                f"the frames that they share; wanted {facts.min_agreement} or more"
            )
            tell(Finding("seam", seam.start, None, 1 - seam.agreement, text))


def check_quality(facts: ReportFacts, reader: MaskReader, tell: Tell) -> None:
    """Tell of chunks for which memory did not suffice."""
    for chunk in (*facts.chunks, *facts.backward):
        if chunk.quality_loss:
            text = (
                f"chunk {chunk.index} was tracked with a smaller input of the model, as memory did "
                "not suffice"
            )
            tell(Finding("coarse", chunk.start, None, chunk.stop - chunk.start, text))


def check_damage(facts: ReportFacts, reader: MaskReader, tell: Tell) -> None:
    """Tell of a video that is damaged."""
    if facts.damaged is not None:
        text = f"the video is damaged: {facts.damaged}"
        tell(Finding("damage", facts.start, None, 1.0, text))
