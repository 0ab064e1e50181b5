"""The checks `seam`, `join`, `coarse`, `damage`: what a run's own records say against its masks."""

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


def check_joins(facts: ReportFacts, reader: MaskReader, tell: Tell) -> None:
    """Tell of objects that may have been joined wrongly, or not joined."""
    for seam in facts.seams:
        if seam.join is None:
            continue
        where = f"between chunks {seam.left_index} and {seam.right_index}"
        for one in seam.join.joined:
            if one.doubtful:
                text = (
                    f"may be another object {where}: joined by a mean IoU of {one.mean_iou:.2f}, "
                    f"{max(one.margin, 0.0):.2f} better than the second best"
                )
                tell(Finding("join", seam.start, one.object_id, 1 - one.margin, text))
        for lone, did in ((seam.join.ended, "ends"), (seam.join.begun, "begins")):
            for alone in lone:
                if alone.doubtful:
                    verb = "into" if did == "ends" else "out of"
                    other = "" if alone.other is None else f", {verb} object {alone.other}"
                    text = (
                        f"{did} {where}{other}, and may go on: its mean IoU with another one is "
                        f"{alone.best_iou:.2f}"
                    )
                    tell(Finding("join", seam.start, alone.object_id, alone.best_iou, text))


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
