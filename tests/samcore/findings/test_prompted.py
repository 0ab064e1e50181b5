"""Prompts beside the masks that came of them."""

import numpy as np
import pytest

from samcore.findings.finding import Findings
from samcore.findings.prompted import watch_prompts
from samcore.masks.table import MaskReader
from samcore.prompts.prompt import Prompt
from tests.samcore.report.conftest import square, write_table

MASK = square(40, 30, 20)
THIN = np.eye(96, 128, dtype=bool)
"""A line from corner to corner: few pixels in a large box."""


@pytest.mark.parametrize(
    ("mask_hw", "prompt", "text"),
    [
        (MASK, {"box_xyxy_px": (40, 30, 60, 50)}, None),
        (MASK, {"box_xyxy_px": (44, 34, 64, 54)}, None),
        (MASK, {"box_xyxy_px": (30, 20, 68, 58)}, None),
        (THIN, {"box_xyxy_px": (0, 0, 96, 96)}, None),
        (MASK, {"box_xyxy_px": (56, 30, 76, 50)}, "70% of its mask lies outside of the box"),
        (MASK, {"box_xyxy_px": (0, 0, 90, 90)}, "reaches over only 5% of the box"),
        (MASK, {"box_xyxy_px": (-9, -9, 0, 0)}, "100% of its mask lies outside"),
        (MASK & False, {"box_xyxy_px": (40, 30, 60, 50)}, "nothing was found where it"),
        (MASK, {"points_xy_px": ((50, 40),), "point_labels": (1,)}, None),
        (MASK, {"points_xy_px": ((61, 40),), "point_labels": (1,)}, None),
        (MASK, {"points_xy_px": ((127.5, 95.5),), "point_labels": (1,)}, "the click is on the"),
        (
            MASK,
            {"points_xy_px": ((50, 40), (90, 40), (50, 41)), "point_labels": (1, 1, 0)},
            "2 of 3 clicks are on the wrong side",
        ),
        (MASK, {"points_xy_px": ((50, 40), (90, 40)), "point_labels": (1, 1)}, None),
        (MASK, {"mask_hw": square(42, 32, 20)}, None),
        (MASK, {"mask_hw": square(55, 30, 20)}, "an IoU of only 0.14"),
    ],
)
def test_a_prompt_that_was_missed(tmp_path, mask_hw, prompt, text):
    """Only what is clearly beside its prompt is told of: hand-drawn boxes and clicks near the edge
    are not."""
    table = write_table(
        tmp_path / "masks.parquet",
        frames=range(3),
        masks=lambda frame_idx: mask_hw[None],
        obj_ids=(7,),
    )
    findings = Findings(5)
    with MaskReader(table) as reader:
        watch_prompts([Prompt(7, 1, **prompt)], reader, findings.add)

    found = findings.worst("prompt")
    assert len(found) == (text is not None)
    for item in found:
        assert (item.frame, item.object_id) == (1, 7)
        assert text in item.text
        assert 0 < item.severity <= 1
