"""A step that fails for want of memory changes nothing, and can be taken again."""

import numpy as np
import pytest
import torch

import samcore.tracking.postprocess
from samcore.config import TrackSettings
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resized_model, resolve_model
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.tracking.resize import resize_state
from samcore.tracking.tracker import VideoTracker

HEIGHT, WIDTH = 96, 128
STOP = 9
CALLS = {
    "preprocess": (Sam2Model, "preprocess"),
    "encode": (Sam2Model, "encode_images"),
    "attention": (Sam2Model, "with_memory"),
    "decoder": (Sam2Model, "decode"),
    "memory encoder": (Sam2Model, "encode_memory"),
    "masks": (samcore.tracking.postprocess, "masks_at_video_size"),
}


def _tracker(model: Sam2Model, **options: object) -> VideoTracker:
    """Three objects: one from the start, one with a prompt ahead, one whose prompt waits."""
    settings = TrackSettings(encode_batch=4, object_batch=1)
    tracker = VideoTracker(
        model, height=HEIGHT, width=WIDTH, num_frames=66, settings=settings, **options
    )
    tracker.add_box(1, 0, (10, 10, 60, 70))
    tracker.add_points(2, 7, [(50, 40)])
    return tracker


def _bits(tracker: VideoTracker) -> dict[str, object]:
    """All of the tracker's state, comparable bit for bit; its waiting prompts, too."""
    found: dict[str, object] = {"next": tracker.next_frame, "waiting": tracker.prompted_frames}
    for obj_id, obj in tracker._objects.items():
        found[f"{obj_id} policy"] = obj.policy.dump()
        for memory in obj.store:
            at = (obj_id, memory.frame_idx)
            maskmem = memory.maskmem
            found[f"{at} spatial"] = None if maskmem is None else maskmem.float().numpy().tobytes()
            found[f"{at} pointer"] = memory.obj_ptr_1c.numpy().tobytes()
        for frame_idx, output in obj.outputs.items():
            found[f"{obj_id} ahead {frame_idx}"] = output.logits_11hw.numpy().tobytes()
    return found


@pytest.fixture(scope="module")
def undisturbed(smallest_model, frames) -> list[bytes]:
    """The masks and scores of each frame."""
    tracker = _tracker(smallest_model)
    tracker.encode_prompts([frames[0]])
    tracker.add_points(3, 5, [(80, 50)])
    return [_output_bits(output) for output in tracker.track(frames[:STOP])]


def _output_bits(output) -> bytes:
    return output.masks_nhw.tobytes() + output.object_scores_n.tobytes()


@pytest.mark.parametrize("stage", CALLS)
def test_a_failed_step_leaves_the_tracker_as_it_was(
    stage, smallest_model, frames, undisturbed, monkeypatch
) -> None:
    """On some calls of a stage memory runs out, before its work or after it: the state and the
    waiting prompts are those before the step, and trying again gives the very same masks."""
    owner, name = CALLS[stage]
    real = getattr(owner, name)
    calls = 0

    def failing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls in (2, 3, 8, 21):
            if calls % 2 == 0:
                real(*args, **kwargs)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*args, **kwargs)

    tracker = _tracker(smallest_model)
    tracker.encode_prompts([frames[0]])
    tracker.add_points(3, 5, [(80, 50)])
    monkeypatch.setattr(owner, name, failing)
    outputs: list[bytes] = []
    failures = 0
    before = _bits(tracker)
    while tracker.next_frame < STOP:
        try:
            for output in tracker.track(frames[tracker.next_frame : STOP]):
                outputs.append(_output_bits(output))
                before = _bits(tracker)
        except torch.OutOfMemoryError:
            failures += 1
            assert _bits(tracker) == before

    assert failures >= 2
    assert outputs == undisturbed


def test_a_failed_prompt_pass_goes_on(smallest_model, frames, monkeypatch) -> None:
    """Prompts that were encoded before memory ran out stay, the others still wait."""
    calm = _tracker(smallest_model)
    calm.encode_prompts(frames)
    real = Sam2Model.encode_memory
    calls = 0

    def failing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        return real(*args, **kwargs)

    monkeypatch.setattr(Sam2Model, "encode_memory", failing)
    tracker = _tracker(smallest_model)
    with pytest.raises(MemoryError):
        tracker.encode_prompts(frames)

    assert tracker.prompted_frames == (7,)
    tracker.encode_prompts(frames)
    assert _bits(tracker) == _bits(calm)


def test_a_bank_on_the_cpu_changes_no_bit(smallest_model, frames, undisturbed) -> None:
    """Where memories lie does not reach the masks."""
    tracker = _tracker(smallest_model, bank_on_cpu=True)
    tracker.encode_prompts([frames[0]])
    tracker.add_points(3, 5, [(80, 50)])

    assert [_output_bits(o) for o in tracker.track(frames[:STOP])] == undisturbed


@pytest.mark.needs_cuda
def test_a_bank_on_the_cpu_frees_the_gpu(frames, tiny_model) -> None:
    """With the bank in main memory the masks are the same bits, and less lies on the GPU."""
    model = build_model(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        None,
        seed=0,
        image_size=256,
        fingerprint="cuda",
        compute=choose_compute("cuda", "auto"),
    )
    held, bits = [], []
    for on_cpu in (False, True):
        tracker = _tracker(model, bank_on_cpu=on_cpu)
        tracker.encode_prompts(frames)
        bits.append([_output_bits(o) for o in tracker.track(frames[:STOP])])
        held.append(torch.cuda.memory_allocated())
        del tracker

    assert bits[0] == bits[1]
    assert held[1] < held[0]


def test_a_smaller_input_goes_on_from_the_same_memory(smallest_model, frames, tmp_path) -> None:
    """A state brought to a smaller input is one that the smaller model accepts, and it still
    follows what the larger one followed."""
    whole = _tracker(smallest_model)
    whole.encode_prompts(frames)
    first = list(whole.track(frames[:STOP]))
    spec = resolve_model("nano", cache_dir=tmp_path)
    small = load_model(resized_model(spec, 96), choose_compute("cpu", "float32"))

    state = resize_state(whole.state(), model_fingerprint=small.facts.fingerprint, image_size=96)
    went_on = VideoTracker.from_state(small, state)
    outputs = list(went_on.track(frames[STOP : STOP + 4]))
    outputs_whole = list(whole.track(frames[STOP : STOP + 4]))

    for ours, theirs in zip(outputs, outputs_whole, strict=True):
        inside = np.logical_and(ours.masks_nhw[0], theirs.masks_nhw[0]).sum()
        either = np.logical_or(ours.masks_nhw[0], theirs.masks_nhw[0]).sum()
        assert inside / either > 0.6
    assert first[-1].obj_ids == (1, 2)
