"""SAM 2's memory policy: what it reads, and that what it holds stays small."""

import pytest

from samcore.errors import InputError
from samcore.tracking.memory.policy import MemoryLimits, PolicyOptions, Read
from samcore.tracking.memory.sam2 import Sam2Policy
from tests.samcore.tracking.memory.remembered import Remembered

SAM2 = MemoryLimits(num_maskmem=7, max_obj_ptrs=16, max_cond_frames=16)


def memory_after(
    num_frames: int, *, cond: tuple[int, ...], limits: MemoryLimits = SAM2, prune: bool = True
) -> Remembered:
    """The memory as it is before frame `num_frames` is tracked."""
    remembered = Remembered(Sam2Policy.new(limits, PolicyOptions()), prune=prune)
    for frame_idx in cond:
        remembered.prompt(frame_idx)
    for frame_idx in range(min(cond), num_frames):
        remembered.step(frame_idx)
    return remembered


def frames(read: Read) -> tuple[int, ...]:
    return tuple(frame_idx for frame_idx, _ in read.spatial)


def ptr_frames(read: Read) -> tuple[int, ...]:
    return tuple(frame_idx for frame_idx, _ in read.pointers)


def test_a_step_reads_the_first_frame_six_masks_and_fifteen_pointers():
    """At frame 20 with a prompt on frame 2, exactly the memories that SAM 2 reads are read."""
    read = memory_after(20, cond=(2,)).policy.read(20)

    assert frames(read) == (2, 14, 15, 16, 17, 18, 19)
    assert read.shape[0] == (0, 1, 2, 3, 4, 5, 6)
    assert ptr_frames(read) == (2, *range(19, 4, -1))
    assert all(age == 20 - frame_idx for frame_idx, age in read.pointers)


def test_conditioning_frames_ahead_give_masks_but_no_pointers():
    """A prompt on a later frame is attended to, its pointer only once it lies back."""
    policy = memory_after(5, cond=(0, 30)).policy

    assert frames(policy.read(5)) == (0, 30, 1, 2, 3, 4)
    assert ptr_frames(policy.read(5)) == (0, 4, 3, 2, 1)
    assert 30 in ptr_frames(policy.read(31))


@pytest.mark.parametrize(
    ("cond", "limit"),
    [((0,), 16), ((3, 40, 41, 90), 16), (tuple(range(0, 120, 3)), 16), (tuple(range(0, 60)), 4)],
    ids=["one", "few", "more than the limit", "every frame, few allowed"],
)
def test_pruned_memory_reads_what_an_unbounded_one_does(cond, limit):
    """Dropping never changes what any later step attends to."""
    limits = MemoryLimits(num_maskmem=7, max_obj_ptrs=16, max_cond_frames=limit)
    for now in range(min(cond) + 1, 140):
        pruned = memory_after(now, cond=cond, limits=limits)
        whole = memory_after(now, cond=cond, limits=limits, prune=False)
        read = pruned.policy.read(now)
        assert read == whole.policy.read(now)
        # Reading must not fail either: what is named is still there.
        assert pruned.read_frames(now) == (list(frames(read)), list(ptr_frames(read)))


@pytest.mark.parametrize("num_frames", [50, 500, 5_000])
def test_memory_does_not_grow_with_the_video(num_frames):
    """After 50 frames or 5,000 there is the same number of memories and of spatial ones."""
    remembered = memory_after(num_frames, cond=(0,))

    assert remembered.policy.cond == (0,)
    assert len(remembered.policy.tracked) == 15
    assert len(remembered.store) == 16
    assert sum(memory.maskmem is not None for memory in remembered.store) == 7


def test_conditioning_frames_that_lie_back_are_bounded():
    """A prompt on every frame keeps the first, the last `max_cond_frames` and the horizon."""
    remembered = memory_after(2_000, cond=tuple(range(2_000)))

    assert [memory.frame_idx for memory in remembered.store] == [0, *range(1984, 2000)]


def test_the_first_conditioning_frame_is_always_read():
    """However many prompts come later, the first is attended to, and the closest ones."""
    read = memory_after(139, cond=(0, *range(100, 140))).policy.read(139)

    selected = [frame_idx for frame_idx, position in read.spatial if position == 0]
    assert selected == [0, *range(125, 140)]


def test_equal_slots_make_one_batch_whatever_the_frames():
    """Objects that began at different frames share a batch once their memories are full."""
    early, late = memory_after(60, cond=(0,)).policy, memory_after(60, cond=(30,)).policy

    assert early.read(60).shape == late.read(60).shape
    assert early.read(60) != late.read(60)


def test_memory_without_prompts_cannot_be_read():
    """Tracking an object that nobody prompted is an error that says what to do."""
    with pytest.raises(InputError, match="add one first"):
        Sam2Policy.new(SAM2, PolicyOptions()).read(3)
