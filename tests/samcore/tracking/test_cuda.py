"""On a GPU: bfloat16 beside the package, and the same bits wherever chunks are cut."""

import numpy as np
import pytest
import torch

from samcore.config import TrackSettings
from samcore.machine.device import choose_compute
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker

pytestmark = pytest.mark.needs_cuda

TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"


@pytest.fixture(scope="module")
def cuda_model(tiny_model) -> Sam2Model:
    """The small model in the GPU's own precision."""
    model = build_model(
        TINY,
        None,
        seed=0,
        image_size=tiny_model.facts.image_size,
        fingerprint=tiny_model.facts.fingerprint,
        compute=choose_compute("cuda", "auto"),
    )
    model._net.load_state_dict(tiny_model._net.state_dict())
    return model


def test_the_gpu_follows_the_cpu(run_ours, cuda_model, tiny_model, frames, five_objects):
    """Narrow arithmetic on the GPU gives the float32 masks but for a few pixels in a hundred."""
    prompts = tuple(p for p in five_objects if p.frame_idx == 0)

    on_gpu = run_ours(cuda_model, frames[:20], prompts)
    on_cpu = run_ours(tiny_model, frames[:20], prompts)

    for at, mask in on_cpu.masks.items():
        assert np.mean(mask != on_gpu.masks[at]) < 0.05, at


def test_masks_of_the_gpu_do_not_depend_on_the_cut(cuda_model, frames, tmp_path):
    """A state saved at frame 21, inside an encoder batch, carries on bit for bit."""
    settings = TrackSettings(encode_batch=8)
    tracker = VideoTracker(cuda_model, height=96, width=128, num_frames=66, settings=settings)
    tracker.add_box(1, 0, (10, 10, 60, 70))
    tracker.add_points(2, 9, [(50, 40)])
    tracker.encode_prompts(frames)
    whole = []
    for output in tracker.track(frames[:40]):
        whole.append(output)
        if tracker.next_frame == 21:
            tracker.state().save(tmp_path / "state.safetensors")

    state = TrackerState.load(tmp_path / "state.safetensors")
    rest = list(VideoTracker.from_state(cuda_model, state, settings=settings).track(frames[21:40]))

    for a, b in zip(whole[21:], rest, strict=True):
        np.testing.assert_array_equal(a.masks_nhw, b.masks_nhw)
        np.testing.assert_array_equal(a.object_scores_n, b.object_scores_n)


def test_gpu_memory_of_tracking_is_flat(cuda_model, frames):
    """Once the memory is full, more frames take no more of the GPU."""
    tracker = VideoTracker(cuda_model, height=96, width=128)
    tracker.add_box(1, 0, (10, 10, 60, 70))
    images = [frame.image_rgb_hwc_u8 for frame in frames]
    for _ in tracker.track(images[:32]):
        pass
    torch.cuda.reset_peak_memory_stats()
    for _ in tracker.track(images[32:48]):
        pass
    early = torch.cuda.max_memory_allocated()
    for _ in tracker.track(images * 3):
        pass

    assert torch.cuda.max_memory_allocated() <= early
