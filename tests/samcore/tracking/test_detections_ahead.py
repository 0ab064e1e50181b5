"""What detectors see ahead of the tracker: the same wherever one begins, and each frame once."""

import contextlib
import json
from collections.abc import Iterator, Sequence

import pytest

from samcore.detectors import detector as detectors
from samcore.detectors.detector import Detection, DetectorEntry
from samcore.machine.meters import StageClock
from samcore.prompts.automatic import AutomaticPrompts
from samcore.registry import Registry
from samcore.tracking.detections_ahead import DetectionsAhead
from samcore.tracking.encoder import FrameLike, numbered
from tests.samcore.detectors.examples import moving_square

NUM_FRAMES = 330


@pytest.fixture(scope="module")
def images():
    return moving_square(NUM_FRAMES)


def looking(images, *, batch=8, cuts=(), reads=None, clock=None, **options):
    """Detections ahead over these pictures; `reads` takes note of what is read again."""

    @contextlib.contextmanager
    def read(start: int, stop: int) -> Iterator[Iterator[FrameLike]]:
        if reads is not None:
            reads.append((start, stop))
        yield numbered(images[start:stop], start)

    return DetectionsAhead(
        AutomaticPrompts(**options),
        None,
        cuts=cuts,
        read=read,
        batch=batch,
        clock=clock or StageClock(),
    )


def seen(ahead, images, start, stop) -> dict[int, list[object]]:
    """What is found on the frames [start, stop), as a tracker asks for it."""
    found = {}
    for frame in ahead.frames(numbered(images[start:stop], start)):
        items = ahead.of(frame.frame_idx)
        assert ahead.of(frame.frame_idx) is items
        if items is not None:
            found[frame.frame_idx] = [(one.source, one.label, one.box_xyxy_px) for one in items]
    return found


def test_what_is_seen_does_not_depend_on_where_one_begins(images):
    """A detector of motion sees the frames before a chunk once more, and only where it has not
    gone on from them; on each frame that is looked at it finds what it finds in one pass."""
    options = {"detector": "motion", "detect_every": 7}
    clock, reads = StageClock(), []
    whole = seen(looking(images, **options, clock=clock), images, 0, NUM_FRAMES)
    assert list(whole) == list(range(0, NUM_FRAMES, 7))
    assert sum(len(items) == 1 for items in whole.values()) > 30
    assert clock.seconds["detect"] > 0

    ahead = looking(images, **options, reads=reads)
    parts = seen(ahead, images, 250, 300) | seen(ahead, images, 300, NUM_FRAMES)
    assert parts == {frame: items for frame, items in whole.items() if frame >= 250}
    # Frame 252 is the first one that is looked at.
    assert reads == [(0, 252)]


def test_several_detectors_look_at_the_same_frames(images, tmp_path):
    """Each detection says who found it; what is too small, unsure or of another label is left out
    by each detector's own bounds; frames that nobody looks at are not those without anything."""
    listed = [
        {"frame": 5, "box": [10, 20, 60, 90], "score": 0.9, "label": "dog"},
        {"frame": 5, "box": [10, 20, 60, 90], "score": 0.3, "label": "dog"},
        {"frame": 5, "box": [10, 20, 12, 22], "score": 0.9, "label": "dog"},
        {"frame": 5, "box": [10, 20, 60, 90], "score": 0.9, "label": "cat"},
        {"frame": 100, "box": [90, 20, 110, 90], "label": "dog"},
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"detections": listed}))
    ahead = looking(
        images,
        detector=f"file:{path}",
        more_detectors=("motion",),
        labels="dog",
        min_score=0.5,
        detect_every="cuts",
        cuts=(0, 5, 100),
    )
    found = seen(ahead, images, 0, 120)
    assert list(found) == [0, 5, 100]
    assert found[0] == []
    assert found[5] == [("file", "dog", (10.0, 20.0, 60.0, 90.0))]
    assert [(source, label) for source, label, _ in found[100]] == [
        ("file", "dog"),
        ("motion", None),
    ]


class Counting:
    """Takes several pictures at once, and tells how many it was given."""

    def __init__(self, model: object, options: AutomaticPrompts, *, batch: int) -> None:
        self.batch = batch

    def detect(
        self, images: Sequence[object], *, first_frame: int = 0, on_progress: object = None
    ) -> list[list[Detection]]:
        assert len(images) <= self.batch
        label = f"{first_frame}+{len(images)}"
        return [
            [Detection(0.9, (120, 160), box_xyxy_px=(0.0, 0.0, 50.0, 50.0), label=label)]
            for _ in images
        ]


@pytest.mark.parametrize(
    ("every", "wanted"),
    [
        (1, {5: "5+3", 6: "5+3", 7: "5+3", 8: "8+4", 11: "8+4", 12: "12+2", 13: "12+2"}),
        (3, {6: "6+1", 9: "9+1", 12: "12+1"}),
    ],
)
def test_batches_lie_at_absolute_frames(images, monkeypatch, every, wanted):
    """Frame `i` is in the batch `i // 4`, wherever a chunk begins, and where memory allows only 4
    of 64; a tracker that is some frames ahead is told of each frame."""
    entry = DetectorEntry(
        name="counting",
        about="counts",
        home="tests.samcore.tracking.test_detections_ahead:Counting",
        batch=64,
    )
    registry = Registry("detector", "longtake.none", DetectorEntry, [entry])
    monkeypatch.setattr(detectors, "DETECTORS", registry)
    ahead = looking(images, detector="counting", detect_every=every, batch=4)
    found = {i: items[0][1] for i, items in seen(ahead, images, 5, 14).items()}
    assert {i: found.get(i) for i in wanted} == wanted
    assert list(found) == [i for i in range(5, 14) if i % every == 0]
