"""The tracker as a programmer uses it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from samcore.config import TrackSettings
from samcore.errors import InputError, StateError
from samcore.machine.device import choose_compute
from samcore.models.sam2.adapter import Sam2Model
from samcore.prompts.prompt import Prompt
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker

HEIGHT, WIDTH = 96, 128


@pytest.fixture
def tracker(smallest_model):
    """A tracker for a stream of unknown length."""
    return VideoTracker(smallest_model, height=HEIGHT, width=WIDTH)


@pytest.fixture(scope="session")
def images(frames):
    """Plain arrays, as a camera gives them."""
    return [frame.image_rgb_hwc_u8 for frame in frames]


def test_an_object_begins_at_its_first_prompt(tracker, images):
    """Before it there is no row; the prompted frame says so; then it stays."""
    tracker.add_box(7, 2, (10, 10, 60, 70))

    outputs = list(tracker.track(iter(images[:5])))

    assert [o.frame_idx for o in outputs] == [0, 1, 2, 3, 4]
    assert [o.obj_ids for o in outputs] == [(), (), (7,), (7,), (7,)]
    assert [list(o.prompted_n) for o in outputs] == [[], [], [True], [False], [False]]
    assert outputs[4].masks_nhw.shape == (1, HEIGHT, WIDTH)
    assert outputs[4].masks_nhw.any()


def test_frames_before_any_object_cost_no_model_run(tracker, images, monkeypatch):
    """Waiting for the first prompt does not run the image encoder."""
    monkeypatch.setattr(tracker.model, "encode_images", lambda _: pytest.fail("encoded"))

    assert [o.obj_ids for o in tracker.track(images[:3])] == [(), (), ()]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_arithmetic_gives_nearly_the_same(smallest_model, images, five_objects, dtype):
    """As on newer and older GPUs, whose memories are bfloat16 in any case."""
    rough = Sam2Model(
        smallest_model._net, compute=choose_compute("cpu", dtype), fingerprint="rough"
    )
    found = []
    for model in (smallest_model, rough):
        tracker = VideoTracker(model, height=HEIGHT, width=WIDTH, num_frames=5)
        for prompt in five_objects[:3]:
            tracker.add_prompt(prompt)
        found.append([o.object_scores_n for o in tracker.track(images[:5])])

    np.testing.assert_allclose(found[1], found[0], rtol=0.05, atol=0.05)


def test_a_live_stream_takes_prompts_as_it_goes(tracker, images):
    """A prompt given between two frames counts from the next frame on."""
    tracker.add_box(1, 0, (10, 10, 60, 70))
    assert tracker.step(images[0]).obj_ids == (1,)
    tracker.add_points(2, 1, [(90, 30)])
    second = tracker.step(images[1])

    assert second.obj_ids == (1, 2)
    assert list(second.prompted_n) == [False, True]


@pytest.mark.parametrize("encode_batch", [1, 3])
def test_a_frame_waits_for_its_batch_only(smallest_model, images, encode_batch):
    """A frame's masks are there before any frame of the next batch is asked for: on a live stream
    none is late with batches of one."""
    settings = TrackSettings(encode_batch=encode_batch)
    tracker = VideoTracker(smallest_model, height=HEIGHT, width=WIDTH, settings=settings)
    tracker.add_box(1, 0, (10, 10, 60, 70))
    asked = 0

    def camera():
        nonlocal asked
        for image in images[:7]:
            asked += 1
            yield image

    found = [(output.frame_idx, asked) for output in tracker.track(camera())]

    ends = [min((frame // encode_batch + 1) * encode_batch, 7) for frame in range(7)]
    assert found == list(enumerate(ends))


def test_a_correction_starts_the_object_anew_from_what_was_said(tracker, images):
    """A mask given mid-way is the mask of that frame, and it changes the frames after it."""
    corrected = VideoTracker(tracker.model, height=HEIGHT, width=WIDTH)
    right = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    right[40:80, 70:120] = True
    for either in (tracker, corrected):
        either.add_box(1, 0, (10, 10, 60, 70))
    corrected.add_mask(1, 3, right)

    plain = [o.masks_nhw[0] for o in tracker.track(images[:6])]
    better = [o.masks_nhw[0] for o in corrected.track(images[:6])]

    assert all(np.array_equal(a, b) for a, b in zip(plain[:3], better[:3], strict=True))
    assert np.count_nonzero(better[3] != right) < 0.03 * right.size
    assert not np.array_equal(plain[4], better[4])


def test_a_removed_object_leaves_no_trace(tracker, images):
    """No rows, no memory, no prompts ahead; the others go on unchanged."""
    alone = VideoTracker(tracker.model, height=HEIGHT, width=WIDTH)
    alone.add_box(1, 0, (10, 10, 60, 70))
    tracker.add_box(1, 0, (10, 10, 60, 70))
    tracker.add_points(2, 0, [(90, 30)])
    tracker.add_points(2, 30, [(90, 30)])
    before = [tracker.step(image) for image in images[:3]]

    tracker.remove_object(2)

    assert tracker.obj_ids == (1,)
    assert tracker.prompted_frames == ()
    assert [o.obj_id for o in tracker.state().objects] == [1]
    after = [tracker.step(image) for image in images[3:5]]
    wanted = list(alone.track(images[:5]))
    assert [o.obj_ids for o in before + after] == [(1, 2)] * 3 + [(1,)] * 2
    for output, lone in zip(before + after, wanted, strict=True):
        assert np.count_nonzero(output.masks_nhw[0] != lone.masks_nhw[0]) <= 3
    with pytest.raises(InputError, match="no object 2"):
        tracker.remove_object(2)


def test_memory_stays_bounded_while_tracking(tracker, images):
    """After 40 frames the state is as large as after 20."""
    tracker.add_box(1, 0, (10, 10, 60, 70))
    sizes = []
    for output in tracker.track(images[:40]):
        if output.frame_idx in (19, 39):
            (obj,) = tracker.state().objects
            kept = [t for m in obj.memories for t in (m.maskmem, m.obj_ptr_1c) if t is not None]
            sizes.append(sum(t.numel() for t in kept))

    assert sizes[0] == sizes[1]


def test_memory_is_stored_in_bfloat16(tracker, images):
    """As upstream, also in float32 arithmetic: other bits would be other masks."""
    tracker.add_box(1, 0, (10, 10, 60, 70))
    list(tracker.track(images[:2]))

    (obj,) = tracker.state().objects
    assert {memory.maskmem.dtype for memory in obj.memories} == {torch.bfloat16}


def _mask(height, width):
    return np.ones((height, width), dtype=np.bool_)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(1, 0, box_xyxy_px=(1, 1, 9, 9)), "comes too late: the next frame is 2"),
        (Prompt(1, 50, box_xyxy_px=(1, 1, 9, 9)), "outside the video, which has 50 frames"),
        (Prompt(1, 5), "no box, point or mask"),
        (Prompt(1, 5, points_xy_px=((1, 1),)), "1 points, 0 labels"),
        (Prompt(1, 5, points_xy_px=((1, 1),), point_labels=(2,)), "wanted 1"),
        (Prompt(1, 5, mask_hw=_mask(9, 9)), r"shape \(9, 9\); wanted \(96, 128\)"),
        (Prompt(1, 5, box_xyxy_px=(1, 1, 9, 9), mask_hw=_mask(96, 128)), "a box beside a mask"),
        (Prompt(9, 9, box_xyxy_px=(1, 1, 9, 9)), "the second one there"),
        (Prompt(9, 8, box_xyxy_px=(1, 1, 9, 9)), "the second one there"),
    ],
)
def test_a_prompt_that_cannot_be_meant_is_refused(smallest_model, frames, prompt, message):
    """Each with one line that names object and frame, and nothing is changed."""
    tracker = VideoTracker(smallest_model, height=HEIGHT, width=WIDTH, num_frames=50)
    tracker.add_box(9, 8, (1, 1, 9, 9))
    tracker.encode_prompts(frames[8:9])
    tracker.add_box(9, 9, (1, 1, 9, 9))
    list(tracker.track(frames[:2]))

    with pytest.raises(InputError, match=message) as refusal:
        tracker.add_prompt(prompt)

    assert "\n" not in str(refusal.value)
    assert f"object {prompt.obj_id} on frame {prompt.frame_idx}" in str(refusal.value)
    assert tracker.prompted_frames == (9,)


def test_a_gap_in_the_frames_is_refused(tracker, frames):
    """Memories would lie at wrong ages: the frame that is missing is named."""
    with pytest.raises(InputError, match="wanted frame 1, got 2"):
        list(tracker.track([frames[0], frames[2]]))


@pytest.mark.parametrize(
    "image", [np.zeros((96, 120, 3), np.uint8), np.zeros((96, 128, 3), np.float32)]
)
def test_a_frame_of_another_kind_is_refused(tracker, image):
    """Size and type of a frame are checked, and the message says what was wanted."""
    tracker.add_box(1, 0, (10, 10, 60, 70))

    with pytest.raises(InputError, match=r"frame 0 .* wanted uint8 of shape \(96, 128, 3\)"):
        tracker.step(image)


def test_a_state_with_prompts_to_come_is_refused(tracker):
    """What a state cannot carry it does not drop in silence."""
    tracker.add_box(1, 5, (10, 10, 60, 70))

    with pytest.raises(StateError, match=r"frames \[5\] are not encoded"):
        tracker.state()


def test_a_state_survives_its_file(tracker, frames, tmp_path):
    """Saved and loaded, all numbers are the same, also of prompts ahead; the file has no pickle."""
    tracker.add_box(1, 0, (10, 10, 60, 70))
    tracker.add_points(2, 9, [(40, 40)])
    tracker.encode_prompts(frames)
    list(tracker.track(frames[:4]))
    state = tracker.state()

    state.save(tmp_path / "state.safetensors")
    loaded = TrackerState.load(tmp_path / "state.safetensors")

    assert (loaded.next_frame, loaded.height, loaded.width, loaded.num_frames) == (4, 96, 128, None)
    for mine, theirs in zip(state.objects, loaded.objects, strict=True):
        assert mine.obj_id == theirs.obj_id
        assert (mine.begins, mine.policy) == (theirs.begins, theirs.policy)
        for a, b in zip(mine.memories, theirs.memories, strict=True):
            assert (a.frame_idx, a.score, a.predicted_iou) == (
                b.frame_idx,
                b.score,
                b.predicted_iou,
            )
            assert torch.equal(a.maskmem, b.maskmem)
            assert torch.equal(a.obj_ptr_1c, b.obj_ptr_1c)
        for a, b in zip(mine.outputs, theirs.outputs, strict=True):
            assert (a.frame_idx, a.score, a.predicted_iou) == (
                b.frame_idx,
                b.score,
                b.predicted_iou,
            )
            assert torch.equal(a.logits_11hw, b.logits_11hw)
    assert [o.frame_idx for o in loaded.objects[1].outputs] == [9]
    assert list(tmp_path.iterdir()) == [tmp_path / "state.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "cut off", "not ours"])
def test_a_damaged_state_is_refused(tracker, frames, tmp_path, damage):
    """It is an error that names the file; nothing of it is used."""
    path = tmp_path / "state.safetensors"
    tracker.add_box(1, 0, (10, 10, 60, 70))
    tracker.encode_prompts(frames)
    tracker.state().save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        from safetensors.numpy import save_file

        save_file({"a": np.zeros(3)}, path)

    with pytest.raises(StateError, match=r"state\.safetensors"):
        TrackerState.load(path)


def test_a_state_of_an_older_format_is_refused(tracker, frames, tmp_path):
    """One line says which version it is of and what to do; nothing of it is used."""
    path = tmp_path / "state.safetensors"
    tracker.add_box(1, 0, (10, 10, 60, 70))
    tracker.encode_prompts(frames)
    tracker.state().save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["longtake.tracker_state"])
    text = json.dumps({**header, "version": 1})
    save_file({"a": torch.zeros(3)}, path, metadata={"longtake.tracker_state": text})

    with pytest.raises(StateError, match="of format version 1; this Longtake reads version 2"):
        TrackerState.load(path)


def test_a_state_of_another_policy_is_refused(tracker, frames):
    """What one policy kept is not what another one reads."""
    tracker.add_box(1, 0, (10, 10, 60, 70))
    tracker.encode_prompts(frames)
    state = replace(tracker.state(), policy="recent 1")

    with pytest.raises(StateError, match="another memory policy: recent 1, here it is sam2 1"):
        VideoTracker.from_state(tracker.model, state)


def test_a_state_of_another_model_is_refused(tracker, sam2_0_model, frames):
    """Its memories would mean nothing; the message says which model is which."""
    tracker.add_box(1, 0, (10, 10, 60, 70))
    tracker.encode_prompts(frames)

    with pytest.raises(StateError, match=r"another model: sha256:\w+, here it is random:"):
        VideoTracker.from_state(sam2_0_model, tracker.state())
