"""Objects that detectors find on the way: ids and rows as the truth says, wherever cuts lie."""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samcore.chunks.plan import plan_chunks
from samcore.config import TrackSettings
from samcore.detectors.detector import Detection
from samcore.errors import InputError, StateError
from samcore.identities.config import AssociationConfig
from samcore.masks.table import MaskWriter, concat_tables
from samcore.prompts.prompt import Prompt
from samcore.scenes import Scene
from samcore.tracking.identity_tracker import IdentityTracker
from samcore.tracking.state import TrackerState
from samcore.tracking.state_header import read_header
from samcore.tracking.tracker import VideoTracker
from tests.samcore.tracking.colour_model import SIDE, Block, Blocks, ColourModel

NUM_FRAMES = 66
DELAY = AssociationConfig().delay

RED = Block((200, 20, 20), {0: (0, 2, 12, 14), 60: (50, 2, 62, 14)})
GREEN = Block((20, 200, 20), {0: (50, 4, 62, 16), 60: (0, 4, 12, 16)})
"""Crosses `RED`, in front of it."""
BLUE = Block((20, 20, 200), {0: (4, 24, 16, 36)}, shown=range(9, 30))
BACK = Block(
    (200, 200, 20), {0: (4, 44, 16, 60)}, detected=[range(12), range(17, 22), range(62, 66)]
)
"""Not detected for 5 and for 40 frames."""
STAIN = Block((90, 90, 90), {0: (24, 24, 34, 34)}, detected=[range(12, 15)])
"""A false alarm of 3 frames."""
LONG_STAIN = Block((20, 120, 120), {0: (40, 24, 50, 34)}, detected=[range(30, 42)])
"""One of 12 frames."""
LATE = Block((120, 20, 120), {0: (40, 44, 56, 60)}, shown=range(60, 66))
STAGE = Blocks([RED, GREEN, BLUE, BACK, STAIN, LONG_STAIN, LATE], NUM_FRAMES)
PERSON = Prompt(1, 0, box_xyxy_px=(4, 44, 16, 60))
"""Names `BACK`."""


def start(*, prompts=(PERSON,), settings=None, **options) -> IdentityTracker:
    """A tracker after the prompt pass."""
    tracker = IdentityTracker(
        ColourModel(),
        height=SIDE,
        width=SIDE,
        num_frames=NUM_FRAMES,
        settings=settings,
        association=AssociationConfig(**options),
    )
    for prompt in prompts:
        tracker.add_prompt(prompt)
    tracker.encode_prompts(STAGE.frames())
    return tracker


def write(path, outputs) -> Path:
    """A table of outputs."""
    with MaskWriter(path, height=SIDE, width=SIDE) as writer:
        for output in outputs:
            writer.write(output, pts=output.frame_idx)
    return path


def numbers_of(outputs, stage=STAGE, *, least=0.8) -> dict[int, set[int]]:
    """Which blocks the masks of each object lie on, by id; empty masks lie on none."""
    blocks: dict[int, set[int]] = {}
    for output in outputs:
        truth_nhw = [stage.truth(output.frame_idx, n) for n in range(len(stage.blocks))]
        for obj_id, mask_hw in zip(output.obj_ids, output.masks_nhw, strict=True):
            ious = [(mask_hw & t).sum() / max(1, (mask_hw | t).sum()) for t in truth_nhw]
            if mask_hw.any():
                assert max(ious) > least, (output.frame_idx, obj_id, ious)
                blocks.setdefault(obj_id, set()).add(int(np.argmax(ious)))
    return blocks


@pytest.fixture(scope="module")
def found():
    """What the scripted detector says of the stage."""
    return STAGE.detections()


@pytest.fixture(scope="module")
def one_pass(found, tmp_path_factory):
    """The outputs of one pass, and their table."""
    outputs = list(start().track(STAGE.frames(), found))
    path = write(tmp_path_factory.mktemp("one") / "all.parquet", outputs)
    return outputs, path.read_bytes()


def test_ids_and_masks_are_as_the_truth_says(one_pass):
    """Crossing, leaving, entering, missed for long, prompted, false: each object has one id, and
    its rows begin where it was first detected."""
    outputs, _ = one_pass
    first = {}
    for output in outputs:
        for obj_id in output.obj_ids:
            first.setdefault(obj_id, output.frame_idx)

    places = [STAGE.blocks.index(block) for block in (BACK, RED, GREEN, BLUE, LONG_STAIN, LATE)]
    # 5 was the stain's of three frames, which is gone.
    ids = [1, 2, 3, 4, 6, 7]
    assert numbers_of(outputs) == {i: {place} for i, place in zip(ids, places, strict=True)}
    assert first == dict(zip(ids, [0, 0, 0, 9, 30, 60], strict=True))
    assert all(
        list(o.prompted_n) == [o.frame_idx == 0, *[False] * (len(o.obj_ids) - 1)] for o in outputs
    )


def carried(begin, found, folder, chunk_frames):
    """Track chunk after chunk from the state that the one before saved, and join what each gives;
    the joined table."""
    begin.state().save(folder / "state.safetensors")
    parts, done = [], 0
    for chunk in plan_chunks(0, NUM_FRAMES, chunk_frames=chunk_frames, overlap=0):
        state = TrackerState.load(folder / "state.safetensors")
        tracker = IdentityTracker.from_state(begin.model, state, settings=begin.settings)
        assert tracker.first_held == done
        rows = list(tracker.track(STAGE.frames(chunk.start, chunk.stop), found))
        assert [row.frame_idx for row in rows] == list(range(done, done + len(rows)))
        parts.append((write(folder / f"{chunk.index}.parquet", rows), done, done + len(rows)))
        done += len(rows)
        tracker.state().save(folder / "state.safetensors")
    assert done == NUM_FRAMES
    concat_tables(parts, folder / "all.parquet")
    return (folder / "all.parquet").read_bytes()


@pytest.mark.parametrize("chunk_frames", [1, 7, 20, 64])
def test_tables_do_not_depend_on_the_chunks(found, one_pass, tmp_path, chunk_frames):
    """Rows, ids and scores are the same bytes as of one pass, though objects were born, removed
    and held back over the cuts."""
    assert carried(start(), found, tmp_path, chunk_frames) == one_pass[1]


RULES = {
    "detect_every": 3,
    "confirm_frames": 2,
    "suppress_unmatched": True,
    "keep_alive": 2,
    "reanchor_every": 6,
    "reanchor_iou": 0.5,
    "reanchor_logit": -5.0,
    "overlap_iou": 0.2,
}


@pytest.mark.parametrize("anchor", ["track", "detection"])
@pytest.mark.parametrize("chunk_frames", [7, 20])
def test_neither_do_they_with_all_rules_on(tmp_path, chunk_frames, anchor):
    """Boxes, every third frame, retirement, anchors, confirmation: likewise."""
    found = STAGE.detections(every=3, boxes=True)
    settings = TrackSettings(retire_after=4, look_for_every=5, encode_batch=4, object_batch=2)
    options = {"prompts": (), "settings": settings, "anchor": anchor, **RULES}

    outputs = list(start(**options).track(STAGE.frames(), found))
    whole = write(tmp_path / "whole.parquet", outputs).read_bytes()
    assert any(output.retired for output in outputs)
    assert whole == carried(start(**options), found, tmp_path, chunk_frames)


@pytest.mark.parametrize(("chunk_frames", "overlap"), [(7, 0), (20, 5), (30, 20)])
def test_chunks_that_see_past_their_end_give_all_their_rows(
    found, one_pass, tmp_path, chunk_frames, overlap
):
    """A chunk that is shown as many frames past its end as rows are late gives the rows of its own
    frames, from a state saved at its successor's first frame; overlaps are equal, too."""
    plan = plan_chunks(0, NUM_FRAMES, chunk_frames=chunk_frames, overlap=overlap)
    state, parts, shown = start().state(), [], {}
    for chunk, successor in zip(plan, [*plan[1:], None], strict=True):
        tracker = IdentityTracker.from_state(ColourModel(), state)
        cut = NUM_FRAMES if successor is None else successor.start
        rows = list(tracker.track(STAGE.frames(chunk.start, cut), found))
        state = tracker.state()
        past = min(NUM_FRAMES, chunk.stop + DELAY)
        rows += tracker.track(STAGE.frames(cut, past), found)
        rows = [row for row in rows if chunk.start <= row.frame_idx < chunk.stop]
        assert [row.frame_idx for row in rows] == list(range(chunk.start, chunk.stop))
        for row in rows:
            bits = (row.obj_ids, row.masks_nhw.tobytes(), row.object_scores_n.tobytes())
            assert shown.setdefault(row.frame_idx, bits) == bits
        parts.append((write(tmp_path / f"{chunk.index}.parquet", rows), chunk.start, cut))
    concat_tables(parts, tmp_path / "all.parquet")
    assert (tmp_path / "all.parquet").read_bytes() == one_pass[1]


@pytest.mark.parametrize("enters", range(20, 34))
def test_an_object_that_enters_near_a_cut(enters, tmp_path):
    """Whichever frame it enters on, at a cut or in the 14 frames before it: the same rows."""
    stage = Blocks([RED, replace(BLUE, shown=range(enters, 60))], 40)
    found = stage.detections()
    tables = []
    for cuts in ([0, 40], [0, 30, 40]):
        tracker = IdentityTracker(ColourModel(), height=SIDE, width=SIDE, num_frames=40)
        outputs = []
        for begin, stop in itertools.pairwise(cuts):
            tracker = IdentityTracker.from_state(tracker.model, tracker.state())
            outputs += tracker.track(stage.frames(begin, stop), found)
        assert [o.frame_idx for o in outputs if 2 in o.obj_ids] == list(range(enters, 40))
        tables.append(write(tmp_path / f"{len(cuts)}.parquet", outputs).read_bytes())
    assert tables[0] == tables[1]


def test_thirty_objects_enter_and_leave():
    """Each has an id of its own; no more are tracked than are there where they retire."""
    blocks = [
        Block(
            (60 + 60 * (n % 3), 60 + 60 * (n // 3 % 3), 60 + 60 * (n // 9)),
            {0: (4 + n % 5 * 12, 4 + n // 5 * 10, 14 + n % 5 * 12, 12 + n // 5 * 10)},
            shown=range(4 * n, 4 * n + 30),
        )
        for n in range(27)
    ]
    stage = Blocks(blocks, 150)
    settings = TrackSettings(retire_after=3, look_for_every=1000)
    tracker = IdentityTracker(
        ColourModel(), height=SIDE, width=SIDE, num_frames=150, settings=settings
    )
    outputs = list(tracker.track(stage.frames(), stage.detections()))

    assert numbers_of(outputs, stage) == {n + 1: {n} for n in range(27)}
    assert max(len(output.obj_ids) for output in outputs) <= 10
    assert len(outputs[-1].retired) == 27


def test_a_retired_object_that_is_detected_again_is_looked_for_at_once(tmp_path):
    """It returns under its old id on the frame of the detection, not under a new one; what never
    was there is new."""
    back = replace(BLUE, shown=[*range(5, 15), *range(33, 50)])
    stage = Blocks([RED, back, replace(GREEN, shown=range(36, 50))], 50)
    settings = TrackSettings(retire_after=3, look_for_every=1000)
    tables = []
    for cuts in ([0, 50], [0, 20, 30, 40, 50]):
        tracker = IdentityTracker(
            ColourModel(), height=SIDE, width=SIDE, num_frames=50, settings=settings
        )
        outputs = []
        for begin, stop in itertools.pairwise(cuts):
            state = tracker.state()
            tracker = IdentityTracker.from_state(tracker.model, state, settings=settings)
            outputs += tracker.track(stage.frames(begin, stop), stage.detections())
        assert numbers_of(outputs, stage) == {1: {0}, 2: {1}, 3: {2}}
        assert [o.frame_idx for o in outputs if 2 in o.retired] == list(range(18, 33))
        tables.append(write(tmp_path / f"{len(cuts)}.parquet", outputs).read_bytes())
    assert tables[0] == tables[1]


CARRY_ON = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from colour_model import ColourModel
from samcore import MaskWriter, TrackerState
from samcore.tracking.identity_tracker import IdentityTracker
import numpy as np
from samcore.detectors.detector import Detection

folder = Path(sys.argv[1])
data = np.load(folder / "rest.npz")
tracker = IdentityTracker.from_state(
    ColourModel(), TrackerState.load(folder / "state.safetensors")
)

def found(frame_idx):
    items = zip(data[f"masks{frame_idx}"], data[f"scores{frame_idx}"])
    return [
        Detection(score=float(s), picture_hw=m.shape, mask_hw=m, label="block") for m, s in items
    ]

with MaskWriter(folder / "rest.parquet", height=64, width=64) as writer:
    for output in tracker.track(data["images"], found):
        writer.write(output, pts=output.frame_idx)
"""


def test_a_fresh_process_carries_on_bit_for_bit(found, one_pass, tmp_path):
    """Rows that were held when the state was saved come first, then the others: the same bytes."""
    tracker = start()
    before = list(tracker.track(STAGE.frames(0, 18), found))
    tracker.state().save(tmp_path / "state.safetensors")
    rest = {"images": np.stack([f.image_rgb_hwc_u8 for f in STAGE.frames(18)])}
    for frame_idx in range(18, NUM_FRAMES):
        rest[f"masks{frame_idx}"] = np.stack([item.mask_hw for item in found[frame_idx]])
        rest[f"scores{frame_idx}"] = np.array([item.score for item in found[frame_idx]])
    np.savez(tmp_path / "rest.npz", **rest)

    command = [sys.executable, "-c", CARRY_ON, str(tmp_path), str(Path(__file__).parent)]
    subprocess.run(command, check=True, timeout=200, cwd=Path(__file__).parents[3])

    first = write(tmp_path / "first.parquet", before)
    parts = [(first, 0, len(before)), (tmp_path / "rest.parquet", len(before), NUM_FRAMES)]
    concat_tables(parts, tmp_path / "all.parquet")
    assert len(before) == 18 - DELAY
    assert (tmp_path / "all.parquet").read_bytes() == one_pass[1]


def test_rows_come_when_they_are_final(found):
    """Fourteen frames late, the last ones at the video's end, or when a stream is finished."""
    tracker = start(settings=TrackSettings(encode_batch=1))
    asked = 0

    def camera():
        nonlocal asked
        for frame in STAGE.frames(0, 20):
            asked = frame.frame_idx + 1
            yield frame

    late = [asked - output.frame_idx for output in tracker.track(camera(), found)]
    assert set(late) == {DELAY + 1}
    assert len(late) == 20 - DELAY
    assert tracker.first_held == 20 - DELAY
    assert [output.frame_idx for output in tracker.finish()] == list(range(20 - DELAY, 20))
    assert tracker.first_held == tracker.next_frame == 20


def test_nothing_is_lost_where_the_caller_stops(found, one_pass):
    """Each call goes on with the row that is due, whatever the one before took."""
    tracker, outputs = start(), []
    while tracker.first_held < NUM_FRAMES:
        step = tracker.track(STAGE.frames(tracker.next_frame), found)
        outputs += itertools.islice(step, 5)

    assert [output.frame_idx for output in outputs] == list(range(NUM_FRAMES))
    _assert_equal(outputs, one_pass[0])


def _assert_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert (one.frame_idx, one.obj_ids) == (other.frame_idx, other.obj_ids)
        np.testing.assert_array_equal(one.masks_nhw, other.masks_nhw)
        np.testing.assert_array_equal(one.object_scores_n, other.object_scores_n)


@pytest.mark.parametrize("what", ["encode_memory", "with_memory", "mask_to_output"])
def test_a_step_that_failed_can_be_taken_again(found, one_pass, monkeypatch, what):
    """Whatever fails on the way of a frame, ledger, memories and held rows are as before it."""
    works = getattr(ColourModel, what)
    calls = itertools.count()

    def unreliable(self, *args, **options):
        if next(calls) % 23 == 3:
            raise MemoryError
        return works(self, *args, **options)

    tracker, outputs, failures = start(), [], 0
    monkeypatch.setattr(ColourModel, what, unreliable)
    while tracker.first_held < NUM_FRAMES:
        try:
            for output in tracker.track(STAGE.frames(tracker.next_frame), found):
                outputs.append(output)
        except MemoryError:
            failures += 1
            assert failures < 200
    assert failures >= 1
    _assert_equal(outputs, one_pass[0])


def test_without_detections_the_masks_are_those_of_the_other_tracker(smallest_model, frames):
    """Decoding all before remembering any changes no bit of a person's objects."""
    prompts = [
        Prompt(1, 0, box_xyxy_px=(10, 10, 60, 70)),
        Prompt(2, 4, points_xy_px=((50, 40),), point_labels=(1,)),
    ]
    trackers = [
        kind(smallest_model, height=96, width=128) for kind in (VideoTracker, IdentityTracker)
    ]
    for tracker in trackers:
        for prompt in prompts:
            tracker.add_prompt(prompt)
        tracker.encode_prompts(frames)
    theirs = list(trackers[0].track(frames[:8]))
    ours = [*trackers[1].track(frames[:8]), *trackers[1].finish()]

    _assert_equal(ours, theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.predicted_ious_n.tobytes() == other.predicted_ious_n.tobytes()
        assert one.prompted_n.tobytes() == other.prompted_n.tobytes()


def test_a_prompted_object_is_as_without_detections(one_pass):
    """What is found beside it changes nothing of it."""
    alone = list(start().track(STAGE.frames()))
    for output, lone in zip(one_pass[0], alone, strict=True):
        assert output.obj_ids[0] == 1
        np.testing.assert_array_equal(output.masks_nhw[0], lone.masks_nhw[0])


@pytest.mark.slow
@pytest.mark.parametrize("boxes", [False, True])
def test_a_real_model_follows_what_is_found(smallest_model, boxes):
    """Objects of a generated scene that are all found, by masks or boxes: one id each, though one
    is not detected for a while."""
    video = Scene(5, num_frames=24, height=128, width=128, num_objects=2)
    found = {}
    for frame_idx in range(24):
        masks_nhw = video.masks_nhw(frame_idx)
        numbers = [n for n in range(2) if masks_nhw[n].any() and not (n and 8 < frame_idx < 16)]
        found[frame_idx] = [_detection(masks_nhw[n], boxes=boxes) for n in numbers]
    tracker = IdentityTracker(smallest_model, height=128, width=128, num_frames=24)
    outputs = list(tracker.track([video.frame(i) for i in range(24)], found))

    true_of: dict[int, int] = {}
    for output in outputs:
        truth_nhw = video.masks_nhw(output.frame_idx)
        for obj_id, mask_hw in zip(output.obj_ids, output.masks_nhw, strict=True):
            ious = [(mask_hw & t).sum() / max(1, (mask_hw | t).sum()) for t in truth_nhw]
            assert true_of.setdefault(obj_id, int(np.argmax(ious))) == int(np.argmax(ious))
            assert max(ious) > 0.5
    assert len(true_of) == len(tracker.ledger.tracks) == 2


def _detection(mask_hw, *, boxes):
    if not boxes:
        return Detection(score=0.9, picture_hw=mask_hw.shape, mask_hw=mask_hw)
    rows, columns = np.flatnonzero(mask_hw.any(1)), np.flatnonzero(mask_hw.any(0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return Detection(score=0.9, picture_hw=mask_hw.shape, box_xyxy_px=tuple(map(float, box)))


def test_a_detected_object_that_a_person_prompts_stays(found):
    """A correction vouches for it; it keeps its number; that of one that is gone does not come
    again."""
    tracker = start(prompts=())
    list(tracker.track(STAGE.frames(0, 4), found))
    tracker.add_box(1, 4, RED.at(4))
    list(tracker.track(STAGE.frames(4, 30), {t: [] for t in range(4, 30)}))
    assert tracker.obj_ids == (1,)
    tracker.remove_object(1)
    assert tracker.obj_ids == ()
    with pytest.raises(
        InputError, match=r"object 1 cannot begin now: .* up to 3 .*; take 4 or a lar"
    ):
        tracker.add_box(1, 30, RED.at(30))
    tracker.add_box(4, 30, RED.at(30))


def test_there_is_room_for_so_many_only(found):
    """The limit holds on every frame, prompted objects included."""
    tracker = start(max_objects=2)
    assert {len(output.obj_ids) for output in tracker.track(STAGE.frames(), found)} == {2}


def test_frames_without_anything_cost_no_model_run(monkeypatch):
    """Nobody looked, or nothing was found: the image encoder does not run."""
    monkeypatch.setattr(ColourModel, "encode_images", lambda *_: pytest.fail("encoded"))
    tracker = start(prompts=())
    weak = Detection(score=0.4, picture_hw=(SIDE, SIDE), box_xyxy_px=(1, 1, 9, 9))
    list(tracker.track(STAGE.frames(0, 20), {0: [], 5: [weak]}))
    assert tracker.next_frame == 20
    assert tracker.ledger.next_id == 1


def test_what_cannot_be_meant_is_refused():
    """A detection of another picture; masks at once; a state of the other kind of tracker."""
    tracker, model = start(), ColourModel()
    wrong = Detection(score=0.9, picture_hw=(48, 64), box_xyxy_px=(1, 1, 9, 9))
    with pytest.raises(InputError, match="on frame 2 is of a picture of 64 x 48; the video has 64"):
        list(tracker.track(STAGE.frames(), lambda t: [wrong] if t == 2 else None))
    with pytest.raises(InputError, match="set encode_every=1"):
        start(settings=TrackSettings(encode_every=2))
    with pytest.raises(InputError, match="final 14 frames later"):
        tracker.step(STAGE.frames(2, 3)[0].image_rgb_hwc_u8)
    with pytest.raises(
        StateError, match="another detect_every of the association: 1, here it is N"
    ):
        VideoTracker.from_state(model, tracker.state())
    plain = VideoTracker(model, height=SIDE, width=SIDE)
    with pytest.raises(StateError, match="of the association: None, here it is 1"):
        IdentityTracker.from_state(model, plain.state())
    other = AssociationConfig(min_score=0.6)
    with pytest.raises(StateError, match=r"min_score of the association: 0\.5, here it is 0\.6"):
        IdentityTracker.from_state(model, tracker.state(), association=other)


def test_a_state_survives_its_file(found, tmp_path):
    """Ledger and held rows come back as they were; without detections a file is as it was."""
    tracker = start()
    list(tracker.track(STAGE.frames(0, 30), found))
    state = tracker.state()
    state.save(tmp_path / "state.safetensors")
    replace(state, identities=None).save(tmp_path / "plain.safetensors")

    loaded = TrackerState.load(tmp_path / "state.safetensors")
    assert loaded.identities == state.identities
    assert len(loaded.identities.held) == DELAY
    assert read_header(tmp_path / "state.safetensors").version == 3
    header = read_header(tmp_path / "plain.safetensors")
    assert (header.version, "identities" in header.model_dump()) == (2, False)
