"""A tracker that begins with another video's memory of an object, with every memory policy."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from samcore.errors import StateError
from samcore.prompts.prompt import Prompt
from samcore.tracking.memory.policy import POLICIES
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from samcore.tracking.warm_start import MAX_FRAMES
from tests.samcore.tracking.memory.remembered import History, Remembered
from tests.samcore.tracking.memory.test_policies import LIMITS, every_policy, new_policy
from tests.samcore.tracking.test_chunk_invariance import bits
from tests.samcore.tracking.test_every_policy import (
    HEIGHT,
    NUM_FRAMES,
    WIDTH,
    Numbered,
    clip,  # noqa: F401  # fixtures
    every_name,
    model,  # noqa: F401
    settings_of,
    started,
)

SEEN = (Prompt(1, 0, box_xyxy_px=(5, 25, 46, 66)), Prompt(1, 5, box_xyxy_px=(5, 25, 46, 66)))
"""Of the disc, in the video that it is known from."""
STOP = 24
CORRECTION = Prompt(1, 9, box_xyxy_px=(1, 27, 37, 63))


@pytest.fixture(scope="module")
def known(model, clip):  # noqa: F811
    """By policy the state of a tracker that was told of a disc, at frame 0 and tracked to 7."""
    states = {}
    for entry in POLICIES:
        tracker = started(model, clip, settings_of(entry.name), SEEN)
        fresh = tracker.state()
        for _ in tracker.track(clip[:7]):
            pass
        states[entry.name] = (fresh, tracker.state())
    return states


@pytest.fixture(scope="module")
def other(clip):  # noqa: F811
    """Another video: the same scene, looked at from elsewhere."""
    return [np.ascontiguousarray(image[::-1]) for image in clip[:STOP]]


def warm(model, images, name, state, prompts=(), start=0, **more):  # noqa: F811
    """A tracker after the prompt pass that began with a state."""
    tracker = VideoTracker(
        model,
        height=HEIGHT,
        width=WIDTH,
        num_frames=NUM_FRAMES,
        start_frame=start,
        settings=settings_of(name, **more),
        warm_start=state,
    )
    for prompt in prompts:
        tracker.add_prompt(prompt)
    tracker.encode_prompts(Numbered(i, image) for i, image in enumerate(images))
    return tracker


@every_name
def test_an_object_is_known_without_a_prompt(model, other, known, name):  # noqa: F811
    """From the first frame on it has rows; it is found where it is, and no mask counts as
    prompted. That the state was taken before the first frame or later makes no difference."""
    for state in known[name]:
        outputs = list(warm(model, other, name, state).track(other[:8]))
        assert [output.obj_ids for output in outputs] == [(1,)] * 8
        assert not any(output.prompted_n.any() for output in outputs)
        disc = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
        disc[HEIGHT - 63 : HEIGHT - 27, 7:43] = True
        found = outputs[4].masks_nhw[0]
        assert (found & disc).sum() > 0.6 * (found | disc).sum()


@every_name
@pytest.mark.parametrize("cuts", [(1, 10, 17), (4, 9)])
def test_cuts_change_nothing(model, other, known, tmp_path, name, cuts):  # noqa: F811
    """Saved, loaded and gone on with at each cut, with a correction and another object besides,
    the outputs are those of one pass bit for bit."""
    prompts = (CORRECTION, Prompt(2, 3, box_xyxy_px=(79, 53, 113, 87)))
    state = known[name][1]
    whole = [bits(o) for o in warm(model, other, name, state, prompts).track(other)]
    file = tmp_path / "state.safetensors"
    tracker, found, begun = warm(model, other, name, state, prompts), [], 0
    for cut in (*cuts, STOP):
        tracker.state().save(file)
        settings = settings_of(name)
        tracker = VideoTracker.from_state(model, TrackerState.load(file), settings=settings)
        found += [bits(output) for output in tracker.track(other[begun:cut])]
        begun = cut

    assert found == whole


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
images = np.load(folder / "frames.npy")
for file in folder.glob("*.safetensors"):
    state = TrackerState.load(file)
    settings = TrackSettings(
        encode_batch=1,
        memory_policy=state.policy.partition(" ")[0],
        memory_policy_options=state.policy_options,
    )
    tracker = VideoTracker(
        model, height=96, width=128, num_frames=60, settings=settings, warm_start=state
    )
    outputs = list(tracker.track(images))
    np.savez(file.with_suffix(".npz"), masks=np.stack([o.masks_nhw for o in outputs]),
             scores=np.stack([o.object_scores_n for o in outputs]))
"""


def test_a_fresh_process_begins_bit_for_bit(model, other, known, tmp_path):  # noqa: F811
    """Begun with from its file in another process, each policy's state gives the same masks."""
    for name, (_, state) in known.items():
        state.save(tmp_path / f"{name}.safetensors")
    np.save(tmp_path / "frames.npy", np.stack(other[:6]))

    command = [sys.executable, "-c", CARRY_ON, str(tmp_path), str(torch.get_num_threads())]
    subprocess.run(command, check=True, timeout=300)

    for name, (_, state) in known.items():
        theirs = np.load(tmp_path / f"{name}.npz")
        ours = list(warm(model, other, name, state).track(other[:6]))
        np.testing.assert_array_equal(theirs["masks"], np.stack([o.masks_nhw for o in ours]))
        np.testing.assert_array_equal(theirs["scores"], np.stack([o.object_scores_n for o in ours]))


@every_name
def test_prompts_of_its_number_correct_it(model, other, known, name):  # noqa: F811
    """A warm-started object that is prompted later is one object: its rows begin with the video,
    and the prompted frame's mask comes from the prompt."""
    prompted = warm(model, other, name, known[name][1], [CORRECTION])
    outputs = list(prompted.track(other[:12]))

    assert [output.obj_ids for output in outputs] == [(1,)] * 12
    assert [i for i, output in enumerate(outputs) if output.prompted_n[0]] == [9]


def test_without_a_warm_start_nothing_changes(model, clip):  # noqa: F811
    """None given, states are what they were."""
    ours = started(model, clip, settings_of("sam2")).state()
    assert all(memory.frame_idx >= 0 for obj in ours.objects for memory in obj.memories)


@every_name
def test_memories_have_frames_before_the_video(model, other, known, name):  # noqa: F811
    """They are the other video's, bit for bit, under negative numbers, also with a later start."""
    for start in (0, 12):
        tracker = warm(model, other, name, known[name][0], start=start)
        (obj,) = tracker.state().objects
        assert obj.begins == start
        assert [memory.frame_idx for memory in obj.memories] == [-3, -2]
        theirs = known[name][0].objects[0].memories
        for mine, memory in zip(obj.memories, theirs, strict=True):
            assert mine.maskmem.equal(memory.maskmem)
            assert mine.obj_ptr_1c.equal(memory.obj_ptr_1c)


def test_no_more_than_the_most_are_taken(model, clip):  # noqa: F811
    """Of many prompted frames the first and the last ones are begun with."""
    prompts = [Prompt(1, t, box_xyxy_px=(5, 25, 46, 66)) for t in range(MAX_FRAMES + 3)]
    state = started(model, clip, settings_of("sam2"), prompts).state()

    (obj,) = warm(model, clip, "sam2", state).state().objects

    assert [memory.frame_idx for memory in obj.memories] == list(range(-1 - MAX_FRAMES, -1))
    theirs = state.objects[0].memories
    wanted = [theirs[0], *theirs[1 - MAX_FRAMES :]]
    for mine, memory in zip(obj.memories, wanted, strict=True):
        assert mine.obj_ptr_1c.equal(memory.obj_ptr_1c)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_fingerprint": "sha256:0"}, "another model: sha256:0, here it is sha256:"),
        ({"image_size": 256}, "another image size: 256, here it is 128"),
        ({"dtype": "bfloat16"}, "another precision: bfloat16, here it is float32"),
        ({"policy": "samurai 1"}, "another memory policy: samurai 1, here it is sam2 1"),
        ({"objects": ()}, "has no objects"),
    ],
)
def test_what_does_not_fit_is_refused(model, clip, known, change, words):  # noqa: F811
    """One line names what differs, both values, and the way out."""
    with pytest.raises(StateError, match=words) as caught:
        warm(model, clip, "sam2", replace(known["sam2"][0], **change))
    assert "\n" not in str(caught.value)


def test_an_object_without_a_prompt_is_refused(model, clip, known):  # noqa: F811
    """There is nothing of it to begin with."""
    (obj,) = known["sam2"][0].objects
    empty = replace(obj, memories=(), policy={"cond": [], "tracked": [], "next_frame": 0})
    with pytest.raises(StateError, match="nothing of object 1 to begin with"):
        warm(model, clip, "sam2", replace(known["sam2"][0], objects=(empty,)))


@every_policy
@pytest.mark.parametrize("count", [1, 2, 5, MAX_FRAMES])
def test_what_is_held_is_all_that_is_read(entry, count):
    """Begun with memories of another video, a store that drops what the policy does not hold reads
    as one that keeps all, within the bound, and warm memories are read as conditioning frames."""
    history = History(120, seed=count, every=30)
    pruned, whole = (Remembered(new_policy(entry), prune=prune) for prune in (True, False))
    for remembered in (pruned, whole):
        for number in range(-1 - count, -1):
            remembered.recall(number)
    pruned.policy = pruned.policy.forget(0)
    pruned.store.keep_only(pruned.policy.holds())
    assert {t for t, position in pruned.policy.read(0).spatial if t < 0 and position == 0}
    bound = pruned.policy.bound
    for frame_idx in history.lived_by(pruned, whole):
        read = pruned.policy.read(frame_idx)
        assert read == whole.policy.read(frame_idx)
        assert all(position == 0 for t, position in read.spatial if t < 0)
        assert len(read.spatial) <= LIMITS.num_maskmem - 1 + LIMITS.max_cond_frames
        assert pruned.read_frames(frame_idx) == (
            [t for t, _ in read.spatial],
            [t for t, _ in read.pointers],
        )
        behind = [memory for memory in pruned.store if memory.frame_idx < frame_idx]
        assert sum(memory.maskmem is not None for memory in behind) <= bound.spatial
        assert len(behind) <= bound.pointers
