"""What trades masks for speed: it does what it says, and still does not depend on chunks."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch

from samcore.chunks.plan import plan_chunks
from samcore.config import TrackSettings
from samcore.errors import InputError, StateError
from samcore.models.family import AttendedMemory, check_memory_pool
from samcore.models.sam2.pooled import (
    _cross_attention,
    _pooled_rotations,
    attend_pooled,
    pool_tokens,
)
from samcore.prompts.prompt import Prompt
from samcore.tracking.state import TrackerState
from samcore.tracking.tracker import VideoTracker
from tests.samcore.tracking.test_chunk_invariance import (
    HEIGHT,
    NUM_FRAMES,
    PROMPTS,
    WIDTH,
    bits,
    start,
)

EVERY_3 = TrackSettings(encode_every=3)
POOLED = TrackSettings(memory_pool=2)
SETTINGS = {
    "encode_every": EVERY_3,
    "encode_every in batches": TrackSettings(encode_every=3, encode_batch=6),
    "memory_pool": POOLED,
    "both": TrackSettings(encode_every=4, memory_pool=2, encode_batch=4),
}


def continued(tracker: VideoTracker, frames, stop: int):
    return tracker.track(frames[tracker.first_needed : stop])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_masks_do_not_depend_on_the_chunks(encoding_once, frames, tmp_path, settings):
    """Cut at frames that are encoded and at others, with overlaps: the bits of a single pass."""
    whole = [bits(out) for out in start(encoding_once, frames, settings).track(frames)]
    state_file = tmp_path / "state.safetensors"
    start(encoding_once, frames, settings).state().save(state_file)

    plan = plan_chunks(0, NUM_FRAMES, chunk_frames=11, overlap=3)
    tracked = 0
    for chunk, successor in pairwise([*plan, None]):
        tracker = VideoTracker.from_state(
            encoding_once, TrackerState.load(state_file), settings=settings
        )
        for output in continued(tracker, frames, chunk.stop):
            assert bits(output) == whole[output.frame_idx], output.frame_idx
            tracked += 1
            if successor and tracker.next_frame == successor.start:
                tracker.state().save(state_file)
    assert tracked == NUM_FRAMES + 3 * (len(plan) - 1)
    exact = start(encoding_once, frames, TrackSettings()).track(frames)
    assert whole != [bits(out) for out in exact]


def test_only_every_third_frame_is_encoded(smallest_model, frames, monkeypatch):
    """And those with a prompt, in the prompt pass."""
    seen: list[int] = []
    encode = smallest_model.encode_images

    def count(images_n3hw):
        seen.append(len(images_n3hw))
        return encode(images_n3hw)

    monkeypatch.setattr(smallest_model, "encode_images", count)
    tracker = start(smallest_model, frames, EVERY_3)
    assert len(seen) == len({prompt.frame_idx for prompt in PROMPTS})
    seen.clear()

    assert len(list(tracker.track(frames[:20]))) == 20

    assert seen == [1] * 7  # 0 3 6 9 12 15 18


def test_a_still_picture_is_tracked_exactly(encoding_once, frames):
    """Where nothing moves, the features of another frame are those of the frame."""
    still = [frames[0].image_rgb_hwc_u8] * 8
    prompts = PROMPTS[:1]

    def run(settings: TrackSettings):
        tracker = VideoTracker(encoding_once, height=HEIGHT, width=WIDTH, settings=settings)
        tracker.add_prompt(prompts[0])
        return [bits(output) for output in tracker.track(still)]

    assert run(EVERY_3) == run(TrackSettings())


def test_a_prompt_on_the_way_is_encoded_by_its_own_frame(encoding_once, frames):
    """A prompt that is met while tracking gives what it gives in the prompt pass."""
    beforehand = start(encoding_once, frames, EVERY_3, PROMPTS[1:2])
    met = VideoTracker(
        encoding_once, height=HEIGHT, width=WIDTH, num_frames=NUM_FRAMES, settings=EVERY_3
    )
    met.add_prompt(PROMPTS[1])
    assert PROMPTS[1].frame_idx % 3 == 0
    late = Prompt(3, 10, box_xyxy_px=(30, 20, 90, 90))
    beforehand.add_prompt(late)
    beforehand.encode_prompts(frames)
    met.add_prompt(late)

    told = [[bits(output) for output in one.track(frames[:16])] for one in (beforehand, met)]

    assert told[0] == told[1]


@pytest.mark.parametrize("encode_batch", [1, 6])
def test_who_stops_in_between_goes_on(encoding_once, frames, encode_batch):
    """One frame at a time, and after a break anywhere, without a frame being given again."""
    settings = TrackSettings(encode_every=3, encode_batch=encode_batch)
    whole = [bits(out) for out in start(encoding_once, frames, settings).track(frames[:14])]

    stepped = start(encoding_once, frames, settings)
    assert [bits(stepped.step(f.image_rgb_hwc_u8)) for f in frames[:14]] == whole
    broken = start(encoding_once, frames, settings)
    told = []
    while len(told) < 14:
        assert broken.first_needed == broken.next_frame == len(told)
        for output in broken.track(frames[broken.next_frame : 14]):
            told.append(bits(output))
            if len(told) % 4 == 0:
                break
    assert told == whole


def test_a_new_tracker_says_what_it_needs(encoding_once, frames):
    """Frame 7 is tracked by the features of frame 6, which another process has encoded."""
    tracker = start(encoding_once, frames, EVERY_3)
    list(tracker.track(frames[:7]))
    later = VideoTracker.from_state(encoding_once, tracker.state(), settings=EVERY_3)

    assert (tracker.first_needed, later.first_needed, later.next_frame) == (7, 6, 7)
    with pytest.raises(InputError, match="wanted frame 6, got 7"):
        list(later.track(frames[7:9]))
    assert [out.frame_idx for out in later.track(frames[6:9])] == [7, 8]


@pytest.mark.parametrize("settings", [EVERY_3, POOLED])
def test_a_state_goes_on_with_its_own_approximation_only(encoding_once, frames, tmp_path, settings):
    """The state says what it was made with; a state of exact tracking is as it always was."""
    path = tmp_path / "state.safetensors"
    start(encoding_once, frames, settings).state().save(path)
    state = TrackerState.load(path)

    assert state.approximations == settings.approximations
    (name,) = settings.approximations
    with pytest.raises(StateError, match=f"another {name} of the approximation"):
        VideoTracker.from_state(encoding_once, state)
    start(encoding_once, frames, TrackSettings()).state().save(path)
    assert b"approximations" not in path.read_bytes()


def test_one_key_stands_for_four(smallest_model):
    """Where the four keys of a square are equal and have no place, pooling changes nothing."""
    layer = copy.deepcopy(smallest_model._net.memory_attention.layers[0].cross_attn_image)
    layer.freqs_cis = torch.ones_like(layer.freqs_cis)
    side = round(layer.freqs_cis.shape[0] ** 0.5)
    rng = torch.Generator().manual_seed(0)
    queries = torch.randn(2, side * side, layer.embedding_dim, generator=rng)
    small = torch.randn(2, layer.kv_in_dim, side // 2, side // 2, generator=rng)
    large = torch.nn.functional.interpolate(small, scale_factor=2).flatten(2).transpose(1, 2)
    ptrs = torch.randn(2, 3, layer.kv_in_dim, generator=rng)
    pooled = torch.cat([pool_tokens(large.transpose(0, 1), 2).transpose(0, 1), ptrs], dim=1)
    full = torch.cat([large, ptrs], dim=1)

    exact = layer(queries, full, full, num_k_exclude_rope=3)
    ours = _cross_attention(layer, queries, pooled, pooled, num_ptr_tokens=3, pool=2)

    torch.testing.assert_close(ours, exact)


def test_a_square_lies_in_its_middle(smallest_model):
    """The rotation of a square is the mean of its four: four times it is all of them together."""
    cis = smallest_model._net.memory_attention.layers[0].cross_attn_image.compute_cis(
        end_x=8, end_y=8
    )

    pooled = _pooled_rotations(cis, 2).reshape(4, 4, -1)

    grid = cis.reshape(8, 8, -1)
    together = grid[::2, ::2] * grid[1::2, ::2] * grid[::2, 1::2] * grid[1::2, 1::2]
    torch.testing.assert_close(pooled.pow(4), together)
    assert _pooled_rotations(cis, 1).equal(cis)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_pooling_it_is_the_packages_attention(tiny_model, dtype):
    """The layers are those of the sam2 package, in the same order."""
    net = tiny_model._net
    side = tiny_model.feature_size
    rng = torch.Generator().manual_seed(0)

    def tokens(count: int, batch: int, channels: int) -> torch.Tensor:
        return torch.randn(count, batch, channels, generator=rng)

    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        (features,) = tiny_model.encode_images(torch.randn(1, 3, 128, 128, generator=rng))
        memory, pos = (tokens(2 * side * side + 4, 2, net.mem_dim) for _ in range(2))
        exact = net.memory_attention(
            curr=[features.tokens_n1c.expand(-1, 2, -1)],
            curr_pos=[features.pos_n1c.expand(-1, 2, -1)],
            memory=memory,
            memory_pos=pos,
            num_obj_ptr_tokens=4,
        )
        ours = attend_pooled(net, features, memory, pos, num_ptr_tokens=4, pool=1)

    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(ours, exact, atol=tolerance, rtol=tolerance)


def test_pooled_memory_follows_the_object(encoding_once, frames):
    """The masks are near the exact ones; a model that cannot pool says so."""

    def masks(settings: TrackSettings) -> np.ndarray:
        tracker = start(encoding_once, frames, settings, PROMPTS[:1])
        return np.stack([output.masks_nhw for output in tracker.track(frames[:20])])

    exact, pooled = masks(TrackSettings()), masks(POOLED)

    assert exact.any()
    assert (exact & pooled).sum() > 0.7 * (exact | pooled).sum()
    with pytest.raises(InputError, match="of the family sam2, got one of transformers"):
        check_memory_pool("transformers", 2)
    assert AttendedMemory([], [], [], [], 1).pool == 1
