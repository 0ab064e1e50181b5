"""What the engine promises holds with every family: chunks, states, batches, bounded memory."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from samcore.chunks.plan import plan_chunks
from samcore.config import TrackSettings
from samcore.detectors.masks import MaskGrid
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resized_model, resolve_model
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.prompt import Prompt
from samcore.tracking.resize import resize_state
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from tests.samcore.models.transformers.conftest import HEIGHT, WIDTH, start
from tests.samcore.models.transformers.small_models import SIZES

CPU = choose_compute("cpu", "float32")


def bits(output) -> tuple:
    """All of an output, comparable bit for bit."""
    return (
        output.obj_ids,
        output.masks_nhw.tobytes(),
        output.object_scores_n.tobytes(),
        output.predicted_ious_n.tobytes(),
    )


def test_masks_do_not_depend_on_the_chunks(small_model, family, frames, prompts, tmp_path):
    """Two ways to cut give the bits of a single pass, in the overlaps too."""
    model, state_file = small_model(family), tmp_path / "state.safetensors"
    frames = frames[:14]
    whole = {
        output.frame_idx: bits(output) for output in start(model, frames, prompts).track(frames)
    }

    for chunk_frames, overlap in ((6, 3), (10, 0)):
        start(model, frames, prompts).state().save(state_file)
        plan = plan_chunks(0, len(frames), chunk_frames=chunk_frames, overlap=overlap)
        for chunk, successor in zip(plan, [*plan[1:], None], strict=True):
            tracker = VideoTracker.from_state(model, TrackerState.load(state_file))
            for output in tracker.track(frames[chunk.start : chunk.stop]):
                assert whole[output.frame_idx] == bits(output), (chunk, output.frame_idx)
                if successor and tracker.next_frame == successor.start:
                    tracker.state().save(state_file)


def test_objects_in_a_batch_do_not_change_each_other(
    run_ours, small_model, family, frames, prompts
):
    """Three objects at once give what each gives alone, within float tolerance."""
    model = small_model(family)
    third = Prompt(3, 0, box_xyxy_px=(60, 20, 120, 90))
    several = (*prompts, third, replace(third, frame_idx=5))

    batched = run_ours(model, frames[:9], several, TrackSettings(object_batch=3))
    alone = run_ours(model, frames[:9], several, TrackSettings(object_batch=1))

    assert batched.keys() == alone.keys()
    largest = max(logits.abs().max().item() for logits in alone.values())
    for at, logits in batched.items():
        torch.testing.assert_close(logits, alone[at], atol=2e-5 * largest, rtol=0, msg=str(at))


def test_what_is_remembered_stays_bounded(small_model, family, frames, prompts):
    """Past the horizon a state has the same size at every frame."""
    tracker = start(small_model(family), frames[:16], prompts)
    sizes = []
    for _ in tracker.track(frames[:16]):
        memories = [memory for obj in tracker.state().objects for memory in obj.memories]
        sizes.append(sum(m.maskmem.nbytes for m in memories if m.maskmem is not None))

    assert len(set(sizes[12:])) == 1
    assert sizes[-1] > 0


@pytest.mark.parametrize("points", [2])
def test_the_mask_generator_works_with_it(small_model, family, frames, points):
    """Masks are found by clicks on a grid; a point's are the same whatever is in its batch."""
    options = AutomaticPrompts(points_per_side=points, min_predicted_iou=0, min_stability=0)
    model = small_model(family)

    (found,) = MaskGrid(model, options, batch=64).detect([frames[0]])
    (one_by_one,) = MaskGrid(model, options, batch=1).detect([frames[0]])

    assert len(found) == len(one_by_one) > 0
    assert found[0].enlarged().shape == (HEIGHT, WIDTH)
    assert [d.score for d in found] == pytest.approx([d.score for d in one_by_one], abs=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_arithmetic_gives_nearly_the_same(small_model, family, frames, prompts, dtype):
    """As on GPUs, newer and older: mask prompts' frames and scores are near those of float32."""
    exact = small_model(family)
    rough = type(exact)(
        exact._net,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        compute=choose_compute("cpu", dtype),
        fingerprint="rough",
    )
    for wanted, found in zip(
        start(exact, frames[:7], prompts).track(frames[:7]),
        start(rough, frames[:7], prompts).track(frames[:7]),
        strict=True,
    ):
        np.testing.assert_allclose(found.object_scores_n, wanted.object_scores_n, rtol=0.05)
        if wanted.frame_idx == 5:
            np.testing.assert_array_equal(found.masks_nhw, wanted.masks_nhw)


CARRY_ON = """
import sys
from pathlib import Path
import numpy as np
import torch
from samcore import TrackerState, VideoTracker, choose_compute, load_model, resolve_model

torch.set_num_threads(int(sys.argv[2]))
folder = Path(sys.argv[1])
frames = np.load(folder / "frames.npy")
for family in sys.argv[3:]:
    spec = resolve_model(f"hf:{folder / family}", cache_dir=folder)
    model = load_model(spec, choose_compute("cpu", "float32"))
    state = TrackerState.load(folder / f"{family}.safetensors")
    outputs = list(VideoTracker.from_state(model, state).track(frames))
    np.savez(folder / f"{family}.npz", masks=np.stack([o.masks_nhw for o in outputs]),
             scores=np.stack([o.object_scores_n for o in outputs]))
"""


def test_a_fresh_process_carries_on_bit_for_bit(folders, frames, prompts):
    """Each family's state goes on in another process, which loads the model from its folder, as if
    nothing had happened."""
    here = folders / "states"
    here.mkdir()
    np.save(here / "frames.npy", frames[10:14])
    ours = {}
    for family in SIZES:
        (here / family).symlink_to(folders / family)
        spec = resolve_model(f"hf:{folders / family}", cache_dir=here)
        tracker = start(load_model(spec, CPU), frames, prompts)
        for _ in tracker.track(frames[:10]):
            pass
        tracker.state().save(here / f"{family}.safetensors")
        ours[family] = list(tracker.track(frames[10:14]))

    command = [sys.executable, "-c", CARRY_ON, str(here), str(torch.get_num_threads()), *SIZES]
    subprocess.run(command, check=True, timeout=200)

    for family, outputs in ours.items():
        theirs = np.load(here / f"{family}.npz")
        np.testing.assert_array_equal(theirs["masks"], np.stack([o.masks_nhw for o in outputs]))
        np.testing.assert_array_equal(
            theirs["scores"], np.stack([o.object_scores_n for o in outputs])
        )


def test_the_folder_gives_the_network_that_was_saved(folders, small_model, family, frames):
    """Equal features; of a model with a detector, those of its tracker."""
    model = load_model(resolve_model(f"hf:{folders / family}", cache_dir=folders), CPU)
    saved = small_model(family)

    mine, theirs = dict(model._net.named_parameters()), dict(saved._net.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert model.facts.logits_size == saved.facts.logits_size
    assert model.facts.image_size == SIZES[family]


@pytest.mark.parametrize(("family", "size"), [("sam2", 64), ("sam3", 70), ("edgetam", 64)])
def test_a_smaller_input_goes_on_from_a_state(folders, frames, prompts, tmp_path, family, size):
    """Where memory does not suffice a run goes on with a smaller input of the same model."""
    spec = resolve_model(f"hf:{folders / family}", cache_dir=tmp_path)
    tracker = start(load_model(spec, CPU), frames[:8], prompts)
    for _ in tracker.track(frames[:6]):
        pass
    small = resized_model(spec, size)

    state = resize_state(tracker.state(), model_fingerprint=small.fingerprint, image_size=size)
    outputs = list(VideoTracker.from_state(load_model(small, CPU), state).track(frames[6:8]))

    assert [output.frame_idx for output in outputs] == [6, 7]
    assert all(np.isfinite(output.object_scores_n).all() for output in outputs)


def test_the_folder_alone_decides(folders, tmp_path):
    """Another place, the same fingerprint; another size, another one."""
    first = resolve_model(f"hf:{folders / 'sam2'}", cache_dir=tmp_path)
    (tmp_path / "moved").symlink_to(folders / "sam2")
    moved = resolve_model(f"hf:{tmp_path / 'moved'}", cache_dir=tmp_path)

    assert moved.fingerprint == first.fingerprint
    assert resized_model(first, 64).fingerprint != first.fingerprint
    assert Path(first.config) == (folders / "sam2").resolve()
