"""What every check promises; a new entry of `CHECKS` is held to it by the odd run that is here."""

import math

import numpy as np
import pytest

from samcore.chunks.matching import JoinedObject, LoneObject, SeamJoin
from samcore.findings.check import CHECKS, WatchedObject
from samcore.findings.rows import Rows
from samcore.masks.row import GIVEN_UP_SCORE
from samcore.masks.table import MaskReader
from samcore.prompts.prompt import Prompt
from tests.samcore.report.conftest import FRAMES, RATE, chunk, seam

SEEN = {sees: [one.name for one in CHECKS.built_in if one.sees == sees] for sees in ("rows", "run")}
PIECES = ([FRAMES], [1] * FRAMES, [7, 34, FRAMES - 41], [50, FRAMES - 50])


DOUBTFUL = SeamJoin(
    joined=(JoinedObject(object_id=2, mean_iou=0.5, frames=4, margin=0.1, doubtful=True),),
    ended=(LoneObject(object_id=2, best_iou=0.2, other=1, frames=4, doubtful=True),),
    begun=(LoneObject(object_id=2, best_iou=0.2, frames=4, doubtful=True),),
)


def odd_rows():
    """An object of 20 x 20 pixels that jumps, is absent and given up, is in doubt, and spreads."""
    frame = np.arange(FRAMES)
    absent, doubtful, spread = (frame >= 60) & (frame < 85), frame // 4 == 22, frame >= 95
    given_up = (frame >= 77) & (frame < 85)
    side = np.where(spread, 100, 20)
    return Rows(
        frame=frame,
        object_score=np.where(given_up, GIVEN_UP_SCORE, np.where(doubtful, 0.2, 6.0)).astype("f4"),
        predicted_iou=np.where(spread, 0.6, 0.9).astype("f4"),
        prompted=frame == 0,
        x=np.where(frame < 40, 30, 200).astype("i4"),
        y=np.full(FRAMES, 30, "i4"),
        w=side.astype("i4"),
        h=side.astype("i4"),
        area=np.where(absent, 0, np.where(spread, 4_000, 400)),
    )


def odd_run(facts):
    """Records of a run in which everything went wrong."""
    return facts(
        prompts=(Prompt(2, 3, box_xyxy_px=(90, 60, 110, 80)),),
        chunks=(chunk(0, 0, 44), chunk(1, 40, FRAMES, quality_loss=True)),
        seams=(seam(0, 40, 0.5).model_copy(update={"join": DOUBTFUL}),),
        min_agreement=0.99,
        damaged="frame 7 is broken",
    )


def check_told(found, name, object_ids):
    """Findings that can be shown: of the check's own kind, in the run, in one line."""
    assert found
    for item in found:
        assert item.kind == name
        assert 0 <= item.frame < FRAMES
        assert item.object_id in object_ids
        assert math.isfinite(item.severity)
        assert item.text == " ".join(item.text.split()) != ""


@pytest.mark.parametrize("name", SEEN["rows"])
def test_checks_of_rows_find_the_same_in_any_pieces(name):
    """Whole, row by row or in between: how the table is read changes no finding."""
    told = []
    for sizes in PIECES:
        found, begin = [], 0
        check = CHECKS.get(name).load()(WatchedObject(7, RATE, (480, 640)), found.append)
        for size in sizes:
            part = np.s_[begin : begin + size]
            rows = odd_rows()
            check.add(Rows(**{name: getattr(rows, name)[part] for name in Rows.__slots__}))
            begin += size
        check.end(FRAMES)
        check_told(found, name, {7})
        told.append(found)
    assert all(found == told[0] for found in told)


def test_an_absence_says_when_an_object_was_given_up():
    """The finding tells from which frame on nobody looked for it."""
    found = []
    check = CHECKS.get("absence").load()(WatchedObject(7, RATE, (480, 640)), found.append)
    check.add(odd_rows())
    check.end(FRAMES)

    (item,) = found
    assert item.text.startswith("absent for 2.5 s, until frame 85; given up at frame 77")


@pytest.mark.parametrize("name", SEEN["run"])
def test_checks_of_runs_tell_what_went_wrong(name, facts, table):
    """They find what is odd about an odd run, and nothing where there are no records at all."""
    found, calm = [], []
    with MaskReader(table) as reader:
        CHECKS.get(name).load()(odd_run(facts), reader, found.append)
        CHECKS.get(name).load()(facts(chunks=(), seams=()), reader, calm.append)
    check_told(found, name, {2, None})
    assert calm == []


@pytest.mark.parametrize("name", [one.name for one in CHECKS.built_in if one.sees == "pictures"])
def test_checks_of_pictures_tell_at_the_end(name, video):
    """They see each frame once, and tell when all went by; nothing, if the reading failed."""
    found = []
    with CHECKS.get(name).load()(found.append) as check, video.read(0, FRAMES) as images:
        for image in images:
            check.show(image)
    check_told(found, name, {None})

    calm = []
    with pytest.raises(KeyError), CHECKS.get(name).load()(calm.append) as check:  # noqa: PT012
        check.show(video.frame(0))
        raise KeyError
    assert calm == []


def test_headings_are_those_of_one_check():
    """The report can tell kinds apart by their headings."""
    assert len({entry.heading for entry in CHECKS}) == len(CHECKS.names)
