"""What is odd about a result, from its records and its table alone."""

import tracemalloc

import numpy as np
import pytest

from samcore.findings.checks import check_result
from samcore.findings.finding import Finding, Findings
from samcore.prompts.prompt import Prompt
from tests.samcore.report.conftest import DOUBT, GONE, JUMP, chunk, seam, square, write_table


def told(findings):
    return [
        (f.kind, f.frame, f.object_id) for kind in findings.counts for f in findings.worst(kind)
    ]


def test_findings_come_from_the_table_and_the_records(facts, table):
    """Missed prompts, jumps, absences and doubts come from the masks; chunks that disagree, coarser
    masks and a damaged video from the records. Prompts on frames that were not tracked are left
    out, and the total is that of all kinds."""
    asked = facts(
        prompts=(
            Prompt(1, 0, box_xyxy_px=(9, 9, 31, 31)),
            Prompt(2, 3, box_xyxy_px=(90, 60, 110, 80)),
            Prompt(2, 500, box_xyxy_px=(90, 60, 110, 80)),
        ),
        chunks=(chunk(0, 0, 44), chunk(1, 40, 84, quality_loss=True), chunk(2, 80, 120)),
        min_agreement=0.99,
        damaged="frame 7 is broken",
    )

    lanes, findings = check_result(asked, table, limit=5)

    assert told(findings) == [
        ("prompt", 3, 2),
        ("jump", JUMP, 2),
        ("absence", GONE, 1),
        ("doubt", DOUBT, 3),
        ("seam", 80, None),
        ("coarse", 40, None),
        ("damage", 0, None),
    ]
    assert findings.total == 7
    assert [item.object_id for item in lanes.objects] == [1, 2, 3]
    texts = [findings.worst(kind)[0].text for kind in ("seam", "coarse", "damage")]
    assert "chunks 1 and 2 agree by 0.9700" in texts[0]
    assert "chunk 1 was tracked with a smaller input" in texts[1]
    assert "frame 7 is broken" in texts[2]


@pytest.mark.parametrize(("least", "found"), [(0.97, 0), (0.98, 1), (0.0, 0)])
def test_seams_are_held_against_what_was_asked(facts, table, least, found):
    """A seam is told of if it agrees less than the request wants; equal is enough."""
    _, findings = check_result(facts(min_agreement=least), table, limit=5)
    assert findings.counts["seam"] == found


def test_a_seam_without_frames_is_none(facts, table):
    """Chunks that share no frame cannot disagree."""
    apart = replace_frames(seam(0, 40, 0.0))
    _, findings = check_result(facts(seams=(apart,), min_agreement=0.99), table, limit=5)
    assert findings.counts["seam"] == 0


def replace_frames(report):
    return report.model_copy(update={"frames": 0})


def test_a_clean_result_has_no_findings(facts, tmp_path):
    """An object that stays where it is, as sure as can be: nothing to look at."""
    table = write_table(
        tmp_path / "masks.parquet", masks=lambda _: square(10, 10, 20)[None], obj_ids=(1,)
    )
    clean = facts(chunks=(chunk(0, 0, 120),), seams=(), min_agreement=0.99)
    _, findings = check_result(clean, table, limit=5)
    assert findings.total == 0
    assert told(findings) == []


def test_scene_cuts_are_listed_and_not_counted():
    """A cut says where to look, not that something is wrong."""
    findings = Findings(3)
    findings.add(Finding("cut", 4, None, 9.0, "the scene changes"))
    assert findings.total == 0
    assert [item.frame for item in findings.worst("cut")] == [4]
    findings.add(Finding("jump", 5, 1, 9.0, "moved"))
    assert findings.total == 1


def test_memory_does_not_grow_with_what_is_found(facts, tmp_path):
    """Ten times as many frames, seams and oddities take no more memory."""
    rng = np.random.default_rng(1)
    spots = rng.integers(0, 70, (64, 2))

    def peak(frames):
        table = write_table(
            tmp_path / f"{frames}.parquet",
            frames=range(frames),
            masks=lambda frame: square(*spots[frame % 64], 12 * (frame % 3 > 0))[None],
            obj_ids=(1,),
        )
        asked = facts(
            stop=frames,
            seams=tuple(seam(i, i, 0.5) for i in range(0, frames, 10)),
            min_agreement=0.99,
        )
        tracemalloc.start()
        try:
            _, findings = check_result(asked, table, limit=3)
            return tracemalloc.get_traced_memory()[1], findings
        finally:
            tracemalloc.stop()

    peak(300)  # what is imported and cached once
    small, _ = peak(300)
    large, findings = peak(3_000)
    assert findings.total > 300
    assert len(told(findings)) <= 3 * len(findings.counts)
    assert large < small + 2_000_000
