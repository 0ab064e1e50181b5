"""The laws of every memory policy, ours and those of other packages."""

import json

import numpy as np
import pytest

from samcore.tracking.memory.policy import POLICIES, MemoryLimits, PolicyEntry
from tests.samcore.tracking.memory.remembered import Remembered, some_sight

LIMITS = MemoryLimits(num_maskmem=7, max_obj_ptrs=16, max_cond_frames=16)
MOST_BYTES = 8192
"""Of a policy's own numbers as JSON."""
MOST_MEMORIES = 64

every_policy = pytest.mark.parametrize("entry", list(POLICIES), ids=lambda entry: entry.name)


def passing(entry: PolicyEntry, num_frames: int, *, seed: int = 0):
    """An object's memory before each frame, with some prompts on the way."""
    rng = np.random.default_rng(seed)
    remembered = Remembered(entry.load().new(LIMITS))
    prompted = {0, *(int(t) for t in rng.integers(1, num_frames, num_frames // 50))}
    for frame_idx in sorted(prompted)[:3]:
        remembered.prompt(frame_idx, some_sight(rng))  # the prompt pass: some lie far ahead
    for frame_idx in range(num_frames):
        yield frame_idx, remembered, rng
        if frame_idx in sorted(prompted)[3:]:
            remembered.prompt(frame_idx, some_sight(rng))
        remembered.step(frame_idx, some_sight(rng))


@every_policy
def test_what_is_held_is_all_that_is_read(entry):
    """A store that drops whatever the policy does not hold can always be read."""
    for frame_idx, remembered, _ in passing(entry, 400):
        spatial, pointers = remembered.read_frames(frame_idx)
        read = remembered.policy.read(frame_idx)
        assert spatial == [t for t, _ in read.spatial]
        assert pointers == [t for t, _ in read.pointers]


@every_policy
def test_a_policy_stays_small(entry):
    """After 100 frames and after 2,000 the same bound holds for memories and for numbers."""
    for frame_idx, remembered, _ in passing(entry, 2_000):
        if frame_idx % 100 == 0:
            assert len(remembered.store) <= MOST_MEMORIES
            assert len(json.dumps(remembered.policy.dump())) <= MOST_BYTES


@every_policy
def test_a_policy_goes_on_from_its_state(entry):
    """Put through JSON at any frame, a policy reads and chooses what it would have."""
    for frame_idx, remembered, _ in passing(entry, 60):
        policy = remembered.policy
        state = json.loads(json.dumps(policy.dump()))
        loaded = entry.load().load(LIMITS, state)
        assert loaded.read(frame_idx) == policy.read(frame_idx)
        assert loaded.holds() == policy.holds()
        seen = some_sight(np.random.default_rng(frame_idx))
        assert loaded.choose(frame_idx, seen) == policy.choose(frame_idx, seen)
        known = seen if policy.needs else None
        assert loaded.kept(frame_idx, known, 0).dump() == policy.kept(frame_idx, known, 0).dump()


@every_policy
def test_a_step_that_is_not_taken_changes_nothing(entry):
    """`read`, `choose`, `kept` and `forget` leave the policy as it was."""
    for frame_idx, remembered, rng in passing(entry, 40):
        policy = remembered.policy
        before = json.dumps(policy.dump())
        seen = some_sight(rng)
        policy.read(frame_idx)
        policy.choose(frame_idx, seen)
        policy.kept(frame_idx, seen if policy.needs else None, 0).forget(frame_idx + 1)
        assert json.dumps(policy.dump()) == before
