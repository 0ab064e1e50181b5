"""The ledger of a result's objects."""

import json
from pathlib import Path

import numpy as np
import pytest

from samcore.errors import StorageError
from samcore.masks.frame_masks import FrameMasks
from samcore.masks.ledger import MAX_RETIREMENTS, ResultObject, make_ledger, read_ledger
from samcore.masks.table import MaskReader, MaskWriter


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


def write_gone(path: Path, gone: dict[int, dict[str, tuple[int, ...]]], *, frames: int) -> Path:
    """Object 1 on all frames, in small row groups; on some the others are gone."""
    with MaskWriter(path, height=8, width=8, rows_per_group=3) as writer:
        for frame in range(frames):
            here = tuple(
                n for n in (1, 2, 5) if all(n not in ids for ids in gone.get(frame, {}).values())
            )
            ones = np.ones(len(here), np.float32)
            masks = np.ones((len(here), 8, 8), bool)
            output = FrameMasks(frame, here, masks, ones, ones, ones > 2, **gone.get(frame, {}))
            writer.write(output, pts=frame)
    return path


def test_ledger_says_when_an_object_was_not_tracked(tmp_path: Path) -> None:
    """Retired, given up and returned are frames, whatever row groups they lie in. Where nobody
    retires the file says nothing of it."""
    gone = {frame: {"retired": (2,)} for frame in range(3, 7)}
    gone |= {frame: {"retired": (2, 5)} for frame in range(9, 11)}
    gone |= {frame: {"retired": (5,), "given_up": (2,)} for frame in range(11, 14)}
    gone |= {14: {"given_up": (2,)}}

    path = write_gone(tmp_path / "masks.parquet", gone, frames=16)
    one, two, five = make_ledger(path, []).objects

    assert one.retirements == ()
    assert list(map(str, two.retirements)) == [
        "retired at 3, returned at 7",
        "retired at 9, given up at 11, returned at 15",
    ]
    assert list(map(str, five.retirements)) == ["retired at 9, returned at 14"]
    assert "retirements" not in one.model_dump_json()
    assert (two.first_frame, two.last_frame) == (0, 15)
    with MaskReader(path) as reader:
        assert [(row.frame, row.object_id) for row in reader.rows()] == [
            (frame, object_id) for frame in range(16) for object_id in (1, 2, 5)
        ]
        assert not reader.masks(4)[2].any()


def test_ledger_is_bounded(tmp_path: Path) -> None:
    """Of an object that comes and goes all the time the first retirements and the last are told."""
    gone = {frame: {"retired": (2,)} for frame in range(1, 300, 2)}
    path = write_gone(tmp_path / "masks.parquet", gone, frames=300)

    _, two, _ = make_ledger(path, []).objects

    assert len(two.retirements) == MAX_RETIREMENTS
    assert [str(two.retirements[place]) for place in (0, -1)] == [
        "retired at 1, returned at 2",
        "retired at 299",
    ]
