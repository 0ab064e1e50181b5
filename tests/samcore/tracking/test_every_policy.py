"""Every memory policy in the tracker: cuts, another process, and other objects change nothing."""

import subprocess
import sys
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from samcore.config import TrackSettings
from samcore.errors import StateError
from samcore.models.family import Candidates
from samcore.prompts.prompt import Prompt
from samcore.tracking.memory.policy import POLICIES
from samcore.tracking.seen import see
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from tests.samcore.tracking.test_chunk_invariance import bits

HEIGHT, WIDTH, NUM_FRAMES = 96, 128, 60
LEAVES, RETURNS = 18, 38
"""Frames between which the disc is out of the picture."""
OPTIONS: dict[str, dict[str, float]] = {
    "sam2-stride": {"stride": 3},
    "recent": {"frames": 4},
    "samurai": {"stable_frames": 6},  # reached before the disc leaves
    "sam3": {"memory_iou": 0.3},
}
PROMPTS = (
    Prompt(1, 0, box_xyxy_px=(5, 25, 46, 66)),
    Prompt(2, 0, box_xyxy_px=(79, 9, 113, 43)),
    Prompt(2, 47, box_xyxy_px=(82, 9, 116, 43)),
)


@dataclass(frozen=True)
class Numbered:
    """A frame as the video reader gives it."""

    frame_idx: int
    image_rgb_hwc_u8: np.ndarray


def settings_of(name: str, **more: object) -> TrackSettings:
    return TrackSettings(
        encode_batch=1, memory_policy=name, memory_policy_options=OPTIONS.get(name, {}), **more
    )


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    """A disc that leaves to the left and comes back, and a square that stays."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(60, 160, (HEIGHT, WIDTH, 3)).astype(np.uint8), (0, 0), 5)
    images = []
    for frame_idx in range(NUM_FRAMES):
        image = ground.copy()
        x = 25 - max(0, min(frame_idx, LEAVES) - 8) * 6 + max(0, frame_idx - RETURNS) * 4
        cv2.circle(image, (min(x, 60), 45), 18, (210, 60, 50), -1)
        left = 80 + frame_idx % 8 // 4
        cv2.rectangle(image, (left, 10), (left + 32, 42), (50, 90, 220), -1)
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


@pytest.fixture(scope="module")
def whole(model, clip):
    """Each policy's outputs of one pass, by name."""
    return {
        entry.name: list(started(model, clip, settings_of(entry.name)).track(clip))
        for entry in POLICIES
    }


every_name = pytest.mark.parametrize("name", [entry.name for entry in POLICIES])


@every_name
@pytest.mark.parametrize("cuts", [(1, 9, 20, 41), (13, 30, 31, 52)])
def test_cuts_change_nothing(model, clip, whole, tmp_path, name, cuts):
    """Saved, loaded and gone on with at each cut, the outputs are those of one pass bit for bit;
    cuts lie before, in and after the absence."""
    file = tmp_path / "state.safetensors"
    tracker = started(model, clip, settings_of(name))
    begun = 0
    for cut in cuts:
        for output in tracker.track(clip[begun:cut]):
            assert bits(output) == bits(whole[name][output.frame_idx]), output.frame_idx
        tracker.state().save(file)
        assert file.stat().st_size < 2**20
        tracker = VideoTracker.from_state(
            model, TrackerState.load(file), settings=settings_of(name)
        )
        begun = cut
    for output in tracker.track(clip[begun : begun + 8]):
        assert bits(output) == bits(whole[name][output.frame_idx]), output.frame_idx


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
    state = TrackerState.load(file)
    settings = TrackSettings(
        encode_batch=1,
        memory_policy=state.policy.partition(" ")[0],
        memory_policy_options=state.policy_options,
    )
    tracker = VideoTracker.from_state(model, state, settings=settings)
    outputs = list(tracker.track(clip))
    np.savez(file.with_suffix(".npz"), masks=np.stack([o.masks_nhw for o in outputs]),
             scores=np.stack([o.object_scores_n for o in outputs]))
"""


def test_a_fresh_process_carries_on_bit_for_bit(model, clip, whole, tmp_path):
    """Each policy's state, saved while the disc is gone, goes on in another process as here."""
    begins, stops = 34, 44
    for name in whole:
        tracker = started(model, clip, settings_of(name))
        for _ in tracker.track(clip[:begins]):
            pass
        tracker.state().save(tmp_path / f"{name}.safetensors")
    np.save(tmp_path / "frames.npy", np.stack(clip[begins:stops]))

    command = [sys.executable, "-c", CARRY_ON, str(tmp_path), str(torch.get_num_threads())]
    subprocess.run(command, check=True, timeout=300)

    for name, outputs in whole.items():
        theirs = np.load(tmp_path / f"{name}.npz")
        ours = outputs[begins:stops]
        np.testing.assert_array_equal(theirs["masks"], np.stack([o.masks_nhw for o in ours]))
        np.testing.assert_array_equal(theirs["scores"], np.stack([o.object_scores_n for o in ours]))


@every_name
def test_objects_do_not_see_each_other(model, clip, whole, name):
    """Two objects tracked together are those tracked apart: to the bit where each is a batch of
    its own, and within float tolerance where both are one batch."""
    stop = 46
    settings = settings_of(name, object_batch=1)
    together = list(started(model, clip, settings).track(clip[:stop]))
    for row, obj_id in enumerate((1, 2)):
        prompts = [prompt for prompt in PROMPTS if prompt.obj_id == obj_id]
        alone = list(started(model, clip, settings, prompts).track(clip[:stop]))
        for ours, both, batched in zip(alone, together, whole[name], strict=False):
            assert ours.masks_nhw[0].tobytes() == both.masks_nhw[row].tobytes()
            assert ours.object_scores_n[0] == both.object_scores_n[row]
            assert ours.object_scores_n[0] == pytest.approx(batched.object_scores_n[row], abs=0.05)


def test_policies_differ(whole):
    """What is remembered matters: each policy gives other masks than SAM 2's own."""
    own = [bits(output) for output in whole["sam2"]]
    for name, outputs in whole.items():
        assert (name == "sam2") == ([bits(output) for output in outputs] == own), name


def test_a_state_of_other_options_is_refused(model, clip):
    """The error names the option, its value in the state and here."""
    state = started(model, clip, settings_of("sam2-stride")).state()
    settings = TrackSettings(memory_policy="sam2-stride", memory_policy_options={"stride": 4})

    with pytest.raises(StateError, match="another stride of the memory policy: 3, here it is 4"):
        VideoTracker.from_state(model, state, settings=settings)
    with pytest.raises(StateError, match="another memory policy: sam2-stride 1, here it is sam2 1"):
        VideoTracker.from_state(model, state)


def test_stride_1_and_a_long_recent_are_sam2(model, clip, whole):
    """At these options both are SAM 2's own memory, bit for bit."""
    own = [bits(output) for output in whole["sam2"]][:30]
    for name, options in (("sam2-stride", {"stride": 1}), ("recent", {"frames": 15})):
        settings = TrackSettings(encode_batch=1, memory_policy=name, memory_policy_options=options)
        outputs = started(model, clip, settings).track(clip[:30])
        assert [bits(output) for output in outputs] == own


@pytest.mark.parametrize("at", [0, 12])
def test_an_object_that_is_gone_at_once(model, clip, at):
    """Absent from the frame after its prompt on, an object has its rows and breaks nothing."""
    empty = np.full_like(clip[0], 90)
    for entry in POLICIES:
        prompt = Prompt(1, 0, box_xyxy_px=(5, 25, 46, 66))
        tracker = started(model, clip, settings_of(entry.name), [prompt])
        outputs = list(tracker.track([clip[0], *[empty] * 8, *clip[1 : 1 + at]]))
        assert [output.obj_ids for output in outputs] == [(1,)] * (9 + at)


def test_boxes_are_parts_of_the_picture():
    """What is seen of a mask is its edges, whatever its size; zeros where there is none."""
    logits = torch.full((1, 2, 8, 16), -1.0)
    logits[0, 0, 2:4, 4:16] = 1.0
    candidates = Candidates(
        logits, torch.tensor([[0.5, 0.25]]), torch.zeros(1, 2, 4), torch.tensor([[3.0]])
    )

    (seen,) = see(candidates, {"scores", "boxes"})

    assert seen is not None
    assert seen.boxes_m4 == ((0.25, 0.25, 1.0, 0.5), (0.0, 0.0, 0.0, 0.0))
    assert (seen.ious_m, seen.score, seen.masks_mhw) == ((0.5, 0.25), 3.0, None)
