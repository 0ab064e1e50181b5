"""Masks do not depend on where the video is cut, nor on which process tracks a chunk."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from samcore.chunks.plan import plan_chunks
from samcore.config import TrackSettings
from samcore.machine.device import choose_compute
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.prompt import Prompt
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker

HEIGHT, WIDTH, NUM_FRAMES = 96, 128, 66
PROMPTS = (
    Prompt(1, 0, box_xyxy_px=(10, 10, 60, 70)),
    Prompt(2, 9, points_xy_px=((50, 40),), point_labels=(1,)),
    Prompt(2, 41, box_xyxy_px=(30, 20, 90, 90)),
)


@pytest.fixture(scope="module")
def smallest_model(tmp_path_factory):
    """At the smallest size, too: what is equal to the last bit is so at any."""
    spec = resolve_model("nano", cache_dir=tmp_path_factory.mktemp("none"), image_size=64)
    return load_model(spec, choose_compute("cpu", "float32"))


def start(model, frames, settings, prompts=PROMPTS) -> VideoTracker:
    """A tracker after the prompt pass."""
    tracker = VideoTracker(
        model, height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES, settings=settings
    )
    for prompt in prompts:
        tracker.add_prompt(prompt)
    tracker.encode_prompts(frames)
    return tracker


def bits(output) -> tuple:
    """All of an output, comparable bit for bit."""
    return (
        output.obj_ids,
        output.masks_nhw.tobytes(),
        output.object_scores_n.tobytes(),
        output.predicted_ious_n.tobytes(),
        output.prompted_n.tobytes(),
    )


def in_chunks(model, frames, settings, folder: Path, *, chunk_frames: int, overlap: int) -> dict:
    """Track chunk after chunk, each from its predecessor's saved state; the last one counts."""
    state_file = folder / "state.safetensors"
    start(model, frames, settings).state().save(state_file)
    plan = plan_chunks(0, NUM_FRAMES, chunk_frames=chunk_frames, overlap=overlap)
    results: dict[int, tuple] = {}
    for chunk, successor in zip(plan, [*plan[1:], None], strict=True):
        tracker = VideoTracker.from_state(model, TrackerState.load(state_file), settings=settings)
        assert tracker.next_frame == chunk.start
        if successor and successor.start == chunk.start:
            continue
        for output in tracker.track(frames[chunk.start : chunk.stop]):
            seen = results.get(output.frame_idx)
            assert seen is None or seen == bits(output), f"seam at {output.frame_idx}"
            results[output.frame_idx] = bits(output)
            if successor and tracker.next_frame == successor.start:
                tracker.state().save(state_file)
    return results


@pytest.fixture(scope="module")
def unchunked(smallest_model, frames):
    """One pass over all frames, by encoder batch."""
    return {
        batch: {
            output.frame_idx: bits(output)
            for output in start(smallest_model, frames, TrackSettings(encode_batch=batch)).track(
                frames
            )
        }
        for batch in (1, 4)
    }


@pytest.mark.parametrize(
    ("chunk_frames", "overlap", "encode_batch"),
    [(7, 0, 1), (7, 5, 4), (20, 1, 4), (20, 5, 1), (64, 0, 4), (64, 5, 1)],
)
def test_masks_do_not_depend_on_the_chunks(
    smallest_model, frames, unchunked, tmp_path, chunk_frames, overlap, encode_batch
):
    """Masks and scores are bit-identical to a single pass, in the overlaps too."""
    chunked = in_chunks(
        smallest_model,
        frames,
        TrackSettings(encode_batch=encode_batch),
        tmp_path,
        chunk_frames=chunk_frames,
        overlap=overlap,
    )

    assert chunked == unchunked[encode_batch]


CARRY_ON = """
import sys
from pathlib import Path
import numpy as np
import torch
from samcore import TrackerState, VideoTracker, choose_compute, load_model, resolve_model

torch.set_num_threads(int(sys.argv[2]))
spec = resolve_model("nano", cache_dir=Path(sys.argv[1]), image_size=64)
model = load_model(spec, choose_compute("cpu", "float32"))
tracker = VideoTracker.from_state(model, TrackerState.load(Path(sys.argv[1], "state.safetensors")))
outputs = list(tracker.track(np.load(sys.argv[1] + "/frames.npy")))
np.savez(sys.argv[1] + "/out.npz", masks=np.stack([o.masks_nhw for o in outputs]),
         scores=np.stack([o.object_scores_n for o in outputs]))
"""


def test_a_fresh_process_carries_on_bit_for_bit(smallest_model, frames, tmp_path):
    """A state saved here and loaded by another process goes on as if nothing had happened."""
    tracker = start(smallest_model, frames, TrackSettings())
    for _ in tracker.track(frames[:20]):
        pass
    tracker.state().save(tmp_path / "state.safetensors")
    rest = [f.image_rgb_hwc_u8 for f in frames[20:32]]
    np.save(tmp_path / "frames.npy", np.stack(rest))

    command = [sys.executable, "-c", CARRY_ON, str(tmp_path), str(torch.get_num_threads())]
    subprocess.run(command, check=True, timeout=120)

    theirs = np.load(tmp_path / "out.npz")
    ours = list(tracker.track(rest))
    np.testing.assert_array_equal(theirs["masks"], np.stack([o.masks_nhw for o in ours]))
    np.testing.assert_array_equal(theirs["scores"], np.stack([o.object_scores_n for o in ours]))
