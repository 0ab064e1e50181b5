"""The ledger of a result's objects."""

import json
from pathlib import Path

import numpy as np
import pytest

from samcore.errors import StorageError
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.ledger import ResultObject, make_ledger, read_ledger
from samcore.masks.table import MaskWriter


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Object 4 is present on frames 2 to 5, best on 4; object 9 has rows from 4 on, and is never
    present. Row groups end between them."""
    path = tmp_path / "masks.parquet"
    with MaskWriter(path, height=8, width=8, rows_per_group=3) as writer:
        for frame in range(2, 9):
            ids = (4,) if frame < 4 else (4, 9)
            masks = np.zeros((len(ids), 8, 8), bool)
            masks[0, 2:5, 2:5] = frame <= 5
            scores = np.full(len(ids), -3.0, np.float32)
            if frame <= 5:
                scores[0] = {4: 2.0}.get(frame, 0.5)
            ones = np.ones(len(ids), np.float32)
            writer.write(FrameMasks(frame, ids, masks, scores, ones, ones > 2), pts=frame)
    return path


def test_ledger_is_what_the_masks_say(table: Path) -> None:
    """First frame, last present frame and best score come from the table; label and source from
    what was announced. An object that nobody announced is listed, as is one that has no rows."""
    announced = [
        ResultObject(id=4, label="dog", source="prompt"),
        ResultObject(id=30, source="automatic"),
    ]

    four, nine, thirty = make_ledger(table, announced).objects

    assert (four.id, four.label, four.source) == (4, "dog", "prompt")
    assert (four.first_frame, four.last_frame) == (2, 5)
    assert four.best_score == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert nine == ResultObject(id=9, first_frame=4)
    assert thirty == announced[1]


def test_ledger_is_read_as_it_was_written(table: Path, tmp_path: Path) -> None:
    """Keys of later versions are passed over; what is no ledger is told in one line."""
    ledger = make_ledger(table, [])
    path = tmp_path / "objects.json"
    path.write_text(json.dumps({**ledger.model_dump(mode="json"), "later": 1}))

    assert read_ledger(path) == ledger
    path.write_text('{"objects": 3}')
    with pytest.raises(StorageError, match=r"objects\.json: it is no list of objects"):
        read_ledger(path)
