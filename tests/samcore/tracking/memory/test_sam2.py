"""The memory bank: what it reads, and that it stays small."""

import pytest
import torch

from samcore.errors import InputError
from samcore.tracking.memory.sam2 import FrameMemory, MemoryBank, MemoryLimits

SAM2 = MemoryLimits(num_maskmem=7, max_obj_ptrs=16, max_cond_frames=16)


def memory(frame_idx: int) -> FrameMemory:
    """A memory that can be told from others."""
    return FrameMemory(
        frame_idx, torch.full((1, 2, 1, 1), frame_idx), torch.full((1, 4), frame_idx)
    )


def bank_after(num_frames: int, *, cond: tuple[int, ...], limits: MemoryLimits = SAM2, prune=True):
    """A bank as it is before frame `num_frames` is tracked."""
    bank = MemoryBank(limits)
    for frame_idx in cond:
        bank.add_cond(memory(frame_idx))
    for frame_idx in range(min(cond), num_frames):
        if frame_idx not in cond:
            bank.add_tracked(memory(frame_idx))
        if prune:
            bank.forget_unreachable(frame_idx + 1)
    return bank


def test_layout_reads_the_first_frame_six_masks_and_fifteen_pointers():
    """At frame 20 with a prompt on frame 2, exactly the memories that SAM 2 reads are read."""
    layout = bank_after(20, cond=(2,)).layout(20)

    assert layout.spatial_frames == (2, 14, 15, 16, 17, 18, 19)
    assert layout.temporal_positions == (0, 1, 2, 3, 4, 5, 6)
    assert layout.ptr_frames == (2, *range(19, 4, -1))


def test_conditioning_frames_ahead_give_masks_but_no_pointers():
    """A prompt on a later frame is attended to, its pointer only once it lies back."""
    bank = bank_after(5, cond=(0, 30))

    assert bank.layout(5).spatial_frames == (0, 30, 1, 2, 3, 4)
    assert bank.layout(5).ptr_frames == (0, 4, 3, 2, 1)
    assert 30 in bank.layout(31).ptr_frames


@pytest.mark.parametrize(
    ("cond", "limit"),
    [((0,), 16), ((3, 40, 41, 90), 16), (tuple(range(0, 120, 3)), 16), (tuple(range(0, 60)), 4)],
    ids=["one", "few", "more than the limit", "every frame, few allowed"],
)
def test_pruned_bank_reads_what_an_unbounded_one_does(cond, limit):
    """Dropping never changes what any later step attends to."""
    limits = MemoryLimits(num_maskmem=7, max_obj_ptrs=16, max_cond_frames=limit)
    for now in range(min(cond) + 1, 140):
        pruned = bank_after(now, cond=cond, limits=limits)
        whole = bank_after(now, cond=cond, limits=limits, prune=False)
        layout = pruned.layout(now)
        assert layout == whole.layout(now)
        # Reading must not fail either: what the layout names is still there.
        assert [int(pruned.maskmem(t).flatten()[0]) for t in layout.spatial_frames] == list(
            layout.spatial_frames
        )
        assert [int(pruned.obj_ptr(t)[0, 0]) for t in layout.ptr_frames] == list(layout.ptr_frames)


@pytest.mark.parametrize("num_frames", [50, 500, 5_000])
def test_bank_size_does_not_grow_with_the_video(num_frames):
    """After 50 frames or 5,000 the bank holds the same number of memories and of bytes."""
    bank = bank_after(num_frames, cond=(0,))

    assert len(bank.cond) == 1
    assert len(bank.tracked) == 15
    assert sum(m.maskmem_1chw is not None for m in bank.tracked) == 6


def test_conditioning_frames_that_lie_back_are_bounded():
    """A prompt on every frame keeps the first, the last `max_cond_frames` and the horizon."""
    bank = bank_after(2_000, cond=tuple(range(2_000)))

    kept = [m.frame_idx for m in bank.cond]
    assert kept == [0, *range(1984, 2000)]


def test_the_first_conditioning_frame_is_always_read():
    """However many prompts come later, the first is attended to, and the closest ones."""
    cond = (0, *range(100, 140))
    layout = bank_after(139, cond=cond).layout(139)

    selected = [
        t for t, p in zip(layout.spatial_frames, layout.temporal_positions, strict=True) if p == 0
    ]
    assert selected == [0, *range(125, 140)]


def test_equal_slots_make_one_batch_whatever_the_frames():
    """Objects that began at different frames share a batch once their memories are full."""
    early, late = bank_after(60, cond=(0,)), bank_after(60, cond=(30,))

    assert early.layout(60).shape == late.layout(60).shape
    assert early.layout(60) != late.layout(60)


def test_a_bank_without_prompts_cannot_be_read():
    """Tracking an object that nobody prompted is an error that says what to do."""
    with pytest.raises(InputError, match="add one first"):
        MemoryBank(SAM2).layout(3)
