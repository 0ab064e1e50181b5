"""Objects that are gone for long: they retire, are looked for, and return under their old ids."""

import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open

from samcore.config import TrackSettings
from samcore.errors import StateError
from samcore.masks.frame_masks import FrameMasks
from samcore.models.sam2.adapter import Sam2Model
from samcore.prompts.prompt import Prompt
from samcore.tracking.keepsakes import Keepsakes
from samcore.tracking.memory.policy import POLICIES, MemoryLimits, PolicyOptions
from samcore.tracking.memory.sam2 import Sam2Policy
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.resize import resize_state
from samcore.tracking.retired import Retirement
from samcore.tracking.state import TrackerState
from samcore.tracking.tracked_object import TrackedObject
from samcore.tracking.tracker import VideoTracker
from tests.samcore.tracking.test_chunk_invariance import bits
from tests.samcore.tracking.test_every_policy import Numbered

HEIGHT, WIDTH, NUM_FRAMES = 96, 128, 70
LEFT, RETURNS = 16, 38
"""Frames between which the disc is out of the picture."""
CORRECTED = 58
DISC, SQUARE, BALL = 1, 2, 3
PROMPTS = (
    Prompt(DISC, 0, box_xyxy_px=(7, 27, 43, 63)),
    Prompt(SQUARE, 0, box_xyxy_px=(79, 9, 113, 43)),
    Prompt(BALL, 0, box_xyxy_px=(86, 60, 114, 90)),
    Prompt(BALL, CORRECTED, box_xyxy_px=(86, 60, 114, 90)),
)


def settings_of(policy: str = "sam2", **more: object) -> TrackSettings:
    asked = {"encode_batch": 1, "retire_after": 4, "look_for_every": 5, "archive_size": 1}
    return TrackSettings(memory_policy=policy, **{**asked, **more})


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    """A disc that leaves to the left and returns, a square that stays, and a ball that leaves to
    the right and is back where it was from `CORRECTED` on."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(60, 160, (HEIGHT, WIDTH, 3)).astype(np.uint8), (0, 0), 5)
    images = []
    for frame_idx in range(NUM_FRAMES):
        image = ground.copy()
        x = 25 - max(0, min(frame_idx, LEFT) - 6) * 6 + max(0, frame_idx - RETURNS) * 5
        cv2.circle(image, (min(x, 60), 45), 18, (210, 60, 50), -1)
        left = 80 + frame_idx % 8 // 4
        cv2.rectangle(image, (left, 10), (left + 32, 42), (50, 90, 220), -1)
        x = 100 if frame_idx >= CORRECTED else 100 + max(0, frame_idx - 3) * 7
        cv2.ellipse(image, (x, 75), (13, 14), 0, 0, 360, (60, 200, 70), -1)
        images.append(image)
    return images


@pytest.fixture(scope="module")
def model(encoding_once):
    return encoding_once


def started(model, clip, settings: TrackSettings, prompts=PROMPTS) -> VideoTracker:
    """A tracker after the prompt pass."""
    tracker = VideoTracker(
        model, height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES, settings=settings
    )
    for prompt in prompts:
        tracker.add_prompt(prompt)
    tracker.encode_prompts(Numbered(i, image) for i, image in enumerate(clip))
    return tracker


def all_bits(output: FrameMasks) -> tuple:
    return (*bits(output), output.retired, output.given_up)


@pytest.fixture(scope="module")
def whole(model, clip):
    """The outputs of one pass."""
    return list(started(model, clip, settings_of()).track(clip))


@pytest.fixture(scope="module")
def state_at_30(model, clip, tmp_path_factory):
    """The state while the disc and the ball are retired, as a file."""
    path = tmp_path_factory.mktemp("state") / "30.safetensors"
    tracker = started(model, clip, settings_of())
    for _ in tracker.track(clip[:30]):
        pass
    tracker.state().save(path)
    return path


def test_an_object_retires_and_returns(whole, clip):
    """The disc retires after four empty masks, has no mask while it is away, and returns under its
    number on a frame on which it is looked for, as itself. All objects are listed throughout."""
    gone = [output.frame_idx for output in whole if DISC in output.retired]
    areas = {
        o.frame_idx: int(o.masks_nhw[o.obj_ids.index(DISC)].sum())
        for o in whole
        if DISC in o.obj_ids
    }

    assert [areas[gone[0] - i] > 0 for i in range(5, 0, -1)] == [True, *[False] * 4]
    assert LEFT < gone[0] <= LEFT + 10
    assert gone == list(range(gone[0], gone[-1] + 1))
    assert (gone[-1] + 1) % 5 == 0
    assert RETURNS < gone[-1] + 1 <= RETURNS + 10
    disc_hw = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(disc_hw, (60, 45), 18, 1, -1)
    last = whole[-1].masks_nhw[whole[-1].obj_ids.index(DISC)]
    assert (last & (disc_hw > 0)).sum() > 0.7 * (last | (disc_hw > 0)).sum()
    for output in whole:
        assert sorted((*output.obj_ids, *output.retired)) == [DISC, SQUARE, BALL]
        assert output.given_up == ()


def test_a_prompt_brings_an_object_back(whole, model, clip, state_at_30):
    """The ball, which has a prompt ahead, retires and returns on its frame. A prompt that comes
    while the disc is retired brings it back at once."""
    gone = [output.frame_idx for output in whole if BALL in output.retired]
    assert gone[0] < 30
    assert gone[-1] == CORRECTED - 1
    row = whole[CORRECTED].obj_ids.index(BALL)
    assert whole[CORRECTED].prompted_n[row]
    assert whole[CORRECTED + 3].masks_nhw[row].any()

    tracker = VideoTracker.from_state(model, TrackerState.load(state_at_30), settings=settings_of())
    tracker.add_box(DISC, 31, (20, 20, 60, 60))
    first, second, third = tracker.track(clip[30:33])
    assert first.retired == (DISC, BALL)
    assert (second.obj_ids, second.retired) == ((DISC, SQUARE), (BALL,))
    assert second.prompted_n.tolist() == [True, False]
    assert third.obj_ids == (DISC, SQUARE)


@pytest.mark.parametrize("chunk_frames", [7, 20, 64])
def test_cuts_change_nothing(model, clip, whole, tmp_path, chunk_frames):
    """Saved, loaded and gone on with at each cut, the outputs are those of one pass bit for bit;
    cuts lie before, in and after retirements."""
    file = tmp_path / "state.safetensors"
    tracker = started(model, clip, settings_of())
    for begin in range(0, NUM_FRAMES, chunk_frames):
        for output in tracker.track(clip[begin : begin + chunk_frames]):
            assert all_bits(output) == all_bits(whole[output.frame_idx]), output.frame_idx
        tracker.state().save(file)
        tracker = VideoTracker.from_state(model, TrackerState.load(file), settings=settings_of())


CARRY_ON = """
import sys
from pathlib import Path
import numpy as np
import torch
from samcore import TrackSettings, TrackerState, VideoTracker, choose_compute, load_model
from samcore import resolve_model

folder = Path(sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
model = load_model(resolve_model("nano", cache_dir=folder), choose_compute("cpu", "float32"))
clip = np.load(folder / "frames.npy")
for file in folder.glob("*.safetensors"):
    settings = TrackSettings.model_validate_json(file.with_suffix(".json").read_text())
    tracker = VideoTracker.from_state(model, TrackerState.load(file), settings=settings)
    outputs = list(tracker.track(clip))
    np.savez(file.with_suffix(".npz"), masks=np.concatenate([o.masks_nhw for o in outputs]),
             scores=np.concatenate([o.object_scores_n for o in outputs]),
             retired=np.array([len(o.retired) for o in outputs]))
"""


def test_every_policy_goes_on_in_a_fresh_process(model, clip, tmp_path):
    """With each policy the disc retires, is saved while it is away, and returns in another process
    bit for bit as in this one."""
    begins, stops = 28, 47
    ours = {}
    for entry in POLICIES:
        settings = settings_of(entry.name)
        tracker = started(model, clip, settings, PROMPTS[:2])
        before = list(tracker.track(clip[:begins]))
        assert before[-1].retired == (DISC,), entry.name
        tracker.state().save(tmp_path / f"{entry.name}.safetensors")
        (tmp_path / f"{entry.name}.json").write_text(settings.model_dump_json())
        ours[entry.name] = list(tracker.track(clip[begins:stops]))
        assert ours[entry.name][-1].obj_ids == (DISC, SQUARE), entry.name
    np.save(tmp_path / "frames.npy", np.stack(clip[begins:stops]))

    command = [sys.executable, "-c", CARRY_ON, str(tmp_path), str(torch.get_num_threads())]
    subprocess.run(command, check=True, timeout=300)

    for name, outputs in ours.items():
        theirs = np.load(tmp_path / f"{name}.npz")
        masks = np.concatenate([o.masks_nhw for o in outputs])
        scores = np.concatenate([o.object_scores_n for o in outputs])
        np.testing.assert_array_equal(theirs["masks"], masks)
        np.testing.assert_array_equal(theirs["scores"], scores)
        np.testing.assert_array_equal(theirs["retired"], [len(o.retired) for o in outputs])


def test_a_frame_costs_what_is_there(model, clip, state_at_30, monkeypatch):
    """Retired objects are in no batch but every fifth frame; where nobody is tracked, frames on
    which nobody is looked for are not even encoded."""
    batches: list[tuple[int, int]] = []
    frames: list[int] = []
    with_memory, encode = Sam2Model.with_memory, model.encode_images

    def spy(self, features, memory):
        batches.append((tracker.next_frame, len(memory.ptr_ages[0])))
        return with_memory(self, features, memory)

    def spy_encode(images_n3hw):
        frames.append(tracker.next_frame)
        return encode(images_n3hw)

    monkeypatch.setattr(Sam2Model, "with_memory", spy)
    monkeypatch.setattr(model, "encode_images", spy_encode)
    tracker = VideoTracker.from_state(model, TrackerState.load(state_at_30), settings=settings_of())
    list(tracker.track(clip[30:37]))
    looked = {t: [n for frame, n in batches if frame == t] for t in range(30, 37)}
    assert [sum(looked[t]) for t in looked] == [3, 1, 1, 1, 1, 3, 1]
    tracker.remove_object(SQUARE)
    frames.clear()
    list(tracker.track(clip[37:42]))
    assert frames[:1] == [40]


def test_a_failed_step_changes_nothing(model, clip, whole, state_at_30, monkeypatch):
    """Memory runs out once on every frame, and twice where objects are looked for: before and after
    the tracked ones are done. The step is taken again, with the outputs of an undisturbed run."""
    encode_memory = Sam2Model.encode_memory
    failed: set[tuple[int, int]] = set()
    calls = 0

    def failing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if (tracker.next_frame, calls) not in failed:
            failed.add((tracker.next_frame, calls))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode_memory(*args, **kwargs)

    monkeypatch.setattr(Sam2Model, "encode_memory", failing)
    tracker = VideoTracker.from_state(model, TrackerState.load(state_at_30), settings=settings_of())
    while tracker.next_frame < 46:
        calls = 0
        try:
            (output,) = tracker.track(clip[tracker.next_frame : tracker.next_frame + 1])
            assert all_bits(output) == all_bits(whole[output.frame_idx]), output.frame_idx
        except torch.OutOfMemoryError:
            continue
    assert {t for t, call in failed if call == 1} == set(range(30, 46))
    assert {t for t, call in failed if call == 2} >= {30, 35, 40, 45}


def test_a_state_says_by_which_rules(model, clip, state_at_30):
    """A state of other rules is refused. Without retirement the file has no word of it."""
    state = TrackerState.load(state_at_30)
    with pytest.raises(StateError, match="another look_every of the retirement: 5, here it is 6"):
        VideoTracker.from_state(model, state, settings=settings_of(look_for_every=6))
    with pytest.raises(StateError, match="another after of the retirement: 4, here it is None"):
        VideoTracker.from_state(model, state, settings=TrackSettings(encode_batch=1))

    off = TrackSettings(encode_batch=1)
    tracker = started(model, clip, off, PROMPTS[:1])
    tracker.step(clip[0])
    path = state_at_30.with_name("off.safetensors")
    tracker.state().save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["longtake.tracker_state"])
    assert not {"retirement", "given_up"} & header.keys()
    assert header["objects"][0].keys() == {"obj_id", "begins", "policy"}


def test_what_is_kept_goes_to_a_smaller_input_too(state_at_30):
    """A state that is brought to a smaller input has all its memories at that size."""
    state = TrackerState.load(state_at_30)
    small = resize_state(state, model_fingerprint="small", image_size=state.image_size // 2)

    (disc, *_) = small.objects
    sides = {memory.maskmem.shape[-1] for memory in (*disc.keepsakes, *disc.memories)}
    assert sides == {state.image_size // 32}


# Rules alone, without a model.

RULES = settings_of(archive_size=2).retirement
LIMITS = MemoryLimits(num_maskmem=7, max_obj_ptrs=16, max_cond_frames=16)


def memory_at(frame_idx: int) -> FrameMemory:
    return FrameMemory(
        frame_idx,
        maskmem=torch.full((1, 2, 2, 2), float(frame_idx)),
        obj_ptr_1c=torch.full((1, 4), float(frame_idx)),
        score=torch.tensor(5.0),
        predicted_iou=torch.tensor(0.9),
    )


def rows(frame_idx: int, masks: dict[int, np.ndarray], scores: dict[int, float]) -> FrameMasks:
    ids = tuple(sorted(masks))
    return FrameMasks(
        frame_idx,
        ids,
        np.stack([masks[i] for i in ids]),
        np.array([scores.get(i, 5.0) for i in ids], np.float32),
        np.full(len(ids), 0.9, np.float32),
        np.zeros(len(ids), bool),
    )


def retired(at: int) -> TrackedObject:
    policy = Sam2Policy.new(LIMITS, PolicyOptions()).prompted(0, None)
    obj = TrackedObject(policy, 0, keepsakes=Keepsakes((memory_at(0),), absent=4), retired_at=at)
    obj.store.add(memory_at(0))
    return obj


def box(left: int, right: int) -> np.ndarray:
    mask_hw = np.zeros((10, 10), bool)
    mask_hw[:, left:right] = True
    return mask_hw


def new_retirement() -> Retirement:
    return Retirement(RULES, Sam2Policy.new(LIMITS, PolicyOptions()), torch.device("cpu"))


def test_what_somebody_else_has_is_not_found():
    """A retired object does not return on a mask that a tracked one has, nor with an empty one. Of
    two that claim one mask the higher score returns."""
    objects = {i: retired(5) for i in (2, 3, 4, 5)}
    masks = {1: box(0, 4), 2: box(0, 4), 3: box(6, 10), 4: box(6, 9), 5: box(0, 0)}

    found = new_retirement().settled(rows(10, masks, {3: 2.0, 4: 3.0}), objects, {2, 3, 4, 5})

    assert (found.obj_ids, found.retired) == ((1, 4), (2, 3, 5))
    assert found.masks_nhw.shape == (2, 10, 10)
    assert found.object_scores_n.tolist() == [5.0, 3.0]


def test_the_archive_is_bounded():
    """Those that retired first are given up, of equal ones the lower number; not one with a prompt
    ahead. A prompt makes the number an object again."""
    gone = new_retirement()
    objects = {1: retired(5), 2: retired(9), 3: retired(5), 4: retired(7), 6: retired(2)}
    objects[6].outputs[50] = object()
    nobody = replace(rows(10, {0: box(0, 1)}, {}), obj_ids=())

    changes = gone.changes(objects, nobody, {})
    gone.take(objects, changes, nobody)

    assert changes.dropped == (1, 3)
    assert sorted(objects) == [2, 4, 6]
    masks = gone.settled(rows(11, {3: box(0, 1)}, {}), objects, ())
    assert (masks.obj_ids, masks.retired, masks.given_up) == ((3,), (2, 4, 6), (1,))
    gone.take({3: retired(0)}, gone.changes({}, masks, {3: memory_at(11)}), masks)
    assert gone.given_up == {1}


def test_what_is_kept_is_bounded():
    """Of a long life these remain: the first prompt, the last one that shows the object, and the
    last two good views."""
    kept = Keepsakes()
    for t in range(400):
        if t % 100 == 0:
            kept = kept.after_prompt(memory_at(t), is_shown=t < 300)
        else:
            iou = 0.95 if t < 390 else 0.2
            kept = kept.after_step(memory_at(t), RULES, is_shown=True, predicted_iou=iou)

    assert [memory.frame_idx for memory in kept] == [0, 200, 376, 384]
    assert [memory.frame_idx for memory in kept.prompted] == [0, 200]


def test_one_known_from_elsewhere_retires_and_is_found(model, clip, tmp_path):
    """A warm start's object that is not in the video at first retires, keeps what it looked like
    there, also in a state's file, and is found when it comes. So does one that was retired where
    the state was saved."""
    known = started(model, clip, settings_of(), PROMPTS[:1])
    for _ in known.track(clip[:30]):
        pass
    file = tmp_path / "state.safetensors"
    for state in (started(model, clip, settings_of(), PROMPTS[:1]).state(), known.state()):
        tracker = VideoTracker(
            *(model,),
            **{"height": HEIGHT, "width": WIDTH, "num_frames": 40},
            settings=settings_of(),
            warm_start=state,
        )
        outputs = list(tracker.track(clip[22:30]))
        assert outputs[-1].retired == (DISC,)
        tracker.state().save(file)
        tracker = VideoTracker.from_state(model, TrackerState.load(file), settings=settings_of())
        outputs += tracker.track(clip[30:62])
        assert [output.frame_idx for output in outputs] == list(range(40))
        assert outputs[-1].obj_ids == (DISC,)
        assert outputs[-1].masks_nhw.any()
