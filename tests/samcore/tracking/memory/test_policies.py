"""The laws of every memory policy, ours and those of other packages."""

import json

import numpy as np
import pytest

from samcore.errors import InputError
from samcore.tracking.memory.policy import POLICIES, MemoryLimits, PolicyEntry, policy_options
from tests.samcore.tracking.memory.remembered import History, Remembered, some_sight

LIMITS = MemoryLimits(num_maskmem=7, max_obj_ptrs=16, max_cond_frames=16)
FEW = MemoryLimits(num_maskmem=3, max_obj_ptrs=5, max_cond_frames=2)
MOST_BYTES = 8192
"""Of a policy's own numbers as JSON."""

every_policy = pytest.mark.parametrize("entry", list(POLICIES), ids=lambda entry: entry.name)


def new_policy(entry: PolicyEntry, limits: MemoryLimits = LIMITS, **options: float):
    """The policy of an object that has no memory yet."""
    return entry.load().new(limits, policy_options(entry.name, options))


@every_policy
@pytest.mark.parametrize(
    ("num_frames", "every", "limits"),
    [(2_000, 50, LIMITS), (300, 3, LIMITS), (300, 20, FEW)],
    ids=["long", "many prompts", "small memory"],
)
def test_what_is_held_is_all_that_is_read(entry, num_frames, every, limits):
    """A store that drops what the policy does not hold reads as one that keeps all, and never
    holds more than the bound, whether the object is present, absent or prompted."""
    history = History(num_frames, seed=num_frames + every, every=every)
    pruned = Remembered(new_policy(entry, limits))
    whole = Remembered(new_policy(entry, limits), prune=False)
    bound = pruned.policy.bound
    for frame_idx in history.lived_by(pruned, whole):
        if num_frames > 1_000 and frame_idx % 7 > 1:
            continue  # pairs of frames are enough, and seven of them would take long
        read = pruned.policy.read(frame_idx)
        assert read == whole.policy.read(frame_idx)
        assert len(read.spatial) <= limits.num_maskmem - 1 + limits.max_cond_frames
        assert pruned.read_frames(frame_idx) == (
            [t for t, _ in read.spatial],
            [t for t, _ in read.pointers],
        )
        behind = [memory for memory in pruned.store if memory.frame_idx < frame_idx]
        assert sum(memory.maskmem is not None for memory in behind) <= bound.spatial
        assert len(behind) <= bound.pointers
        assert len(json.dumps(pruned.policy.dump())) <= MOST_BYTES


@every_policy
def test_a_policy_goes_on_from_its_state(entry):
    """Put through JSON at any frame, a policy reads and chooses what it would have."""
    remembered = Remembered(new_policy(entry))
    for frame_idx in History(80, seed=1, every=20).lived_by(remembered):
        policy = remembered.policy
        state = json.loads(json.dumps(policy.dump()))
        loaded = entry.load().load(LIMITS, policy_options(entry.name, {}), state)
        assert loaded == policy
        seen = some_sight(np.random.default_rng(frame_idx))
        chosen = loaded.choose(frame_idx, seen)
        assert chosen == policy.choose(frame_idx, seen)
        known = seen if policy.needs else None
        assert loaded.kept(frame_idx, known, chosen) == policy.kept(frame_idx, known, chosen)


@every_policy
def test_a_step_that_is_not_taken_changes_nothing(entry):
    """`read`, `choose`, `kept` and `forget` leave the policy as it was."""
    remembered = Remembered(new_policy(entry))
    for frame_idx in History(60, seed=2, every=20).lived_by(remembered):
        policy = remembered.policy
        before = json.dumps(policy.dump())
        seen = some_sight(np.random.default_rng(frame_idx))
        policy.read(frame_idx)
        chosen = policy.choose(frame_idx, seen)
        policy.kept(frame_idx, seen if policy.needs else None, chosen).forget(frame_idx + 1)
        assert json.dumps(policy.dump()) == before


@every_policy
@pytest.mark.parametrize("present", [True, False])
def test_the_first_frames_read_what_there_is(entry, present):
    """With 1, 5 or 14 frames tracked, all of them absent or not, the prompted frame is read, and
    of the others none twice and none that was not tracked."""
    rng = np.random.default_rng(3)
    remembered = Remembered(new_policy(entry))
    remembered.prompt(7, some_sight(rng, present=True))
    remembered.step(7)
    for frame_idx in range(8, 30):
        read = remembered.policy.read(frame_idx)
        assert read.spatial[0] == (7, 0)
        assert read.pointers[0] == (7, frame_idx - 7)
        for part in (read.spatial, read.pointers):
            frames = [t for t, _ in part]
            assert len(set(frames)) == len(frames)
            assert all(7 <= t < frame_idx for t in frames)
        positions = [position for _, position in read.spatial if position]
        assert positions == sorted(set(positions))
        remembered.step(frame_idx, some_sight(rng, present=present))


@every_policy
def test_a_prompt_again_is_read(entry):
    """A second prompt is a conditioning frame from then on, and before, if it lies ahead."""
    remembered = Remembered(new_policy(entry))
    rng = np.random.default_rng(4)
    for frame_idx in (0, 20):
        remembered.prompt(frame_idx, some_sight(rng, present=True))
    for frame_idx in range(34):
        if frame_idx not in (0, 20, 21):
            assert (20, 0) in remembered.policy.read(frame_idx).spatial
        remembered.step(frame_idx, some_sight(rng, present=frame_idx % 9 > 3))


@every_policy
def test_a_model_without_pointers_reads_none(entry):
    """Where the model has no pointers, none is read or held for its own sake."""
    limits = MemoryLimits(num_maskmem=7, max_obj_ptrs=1, max_cond_frames=16)
    remembered = Remembered(new_policy(entry, limits))
    for frame_idx in History(100, seed=5).lived_by(remembered):
        assert remembered.policy.read(frame_idx).pointers == ()


@every_policy
def test_options_are_documented_numbers(entry):
    """Each has a default that is in range, and a line for people; others are refused by name."""
    options = entry.load().Options
    assert options.model_config["frozen"]
    for name, field in options.model_fields.items():
        assert field.description, name
        assert policy_options(entry.name, {name: field.default}) == options()
    with pytest.raises(InputError, match=f"unknown option of the memory policy {entry.name}"):
        policy_options(entry.name, {"no_such": 1})


FEWER = [entry for entry in POLICIES if "num_maskmem" in entry.load().Options.model_fields]


@pytest.mark.parametrize("entry", FEWER, ids=lambda entry: entry.name)
def test_fewer_memories_are_read_and_held(entry):
    """`num_maskmem` bounds a step's memories; those that are left have the positions of before."""
    all_, few = Remembered(new_policy(entry)), Remembered(new_policy(entry, num_maskmem=3))
    for frame_idx in History(300, seed=6, every=400).lived_by(all_, few):
        read = few.policy.read(frame_idx)
        assert len(read.spatial) <= 3
        assert set(position for _, position in read.spatial) <= {0, 5, 6}
    assert few.policy.bound.spatial < all_.policy.bound.spatial
    for wrong in (1, 8):
        with pytest.raises(InputError, match="num_maskmem: wanted 2 to 7"):
            new_policy(entry, num_maskmem=wrong)
