"""Each bounded policy reads and chooses exactly what its source's rule does, which keeps all."""

import numpy as np
import pytest

from samcore.tracking.memory.motion import Motion, box_iou
from samcore.tracking.memory.policy import POLICIES, MemoryLimits, policy_options
from samcore.tracking.memory.samurai import SamuraiPolicy
from tests.samcore.tracking.memory.references import REFERENCES, KalmanFilter
from tests.samcore.tracking.memory.remembered import History, Remembered

LIMITS = MemoryLimits(num_maskmem=7, max_obj_ptrs=16, max_cond_frames=16)


class Beside(Remembered):
    """A policy with the rule that it is to equal; the rule decides alone and is compared."""

    def __init__(self, name: str) -> None:
        rule, options = REFERENCES[name]
        super().__init__(POLICIES.get(name).load().new(LIMITS, policy_options(name, options)))
        self.rule = rule()

    def prompt(self, frame_idx, seen=None):
        super().prompt(frame_idx, seen)
        self.rule.prompted(frame_idx, seen)

    def step(self, frame_idx, seen=None):
        chosen = super().step(frame_idx, seen)
        if frame_idx in self.rule.prompts:
            self.rule.passed_prompt(frame_idx)
        else:
            theirs = self.rule.choose(frame_idx, seen)
            if self.policy.needs:
                assert chosen == theirs, frame_idx
            self.rule.kept(frame_idx, seen, theirs)
        return chosen


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(("seed", "every", "begins"), [(0, 400, 0), (1, 60, 0), (2, 60, 13)])
def test_the_bounded_form_equals_the_rule(name, seed, every, begins):
    """Over random histories with few and several prompts, at every frame."""
    beside = Beside(name)
    frames = 0
    for frame_idx in History(500, seed=seed, every=every, begins=begins).lived_by(beside):
        assert beside.policy.read(frame_idx) == beside.rule.read(frame_idx), frame_idx
        frames += 1
    assert frames > 400
    if name == "dam":
        assert len(beside.rule.drm) > len(beside.rule.prompts) + 5
    if isinstance(beside.policy, SamuraiPolicy):
        assert len([1 for _, _, kf in beside.rule.frames.values() if kf is not None]) > 100


def test_four_small_filters_are_the_large_one():
    """The Kalman filter of 8 numbers and its matrices falls into four of 2 numbers."""
    rng = np.random.default_rng(0)
    boxes = [(x, y, x + 0.2 + w, y + 0.3) for x, y, w in rng.random((40, 3)) * 0.4]
    large, small = KalmanFilter(boxes[0]), Motion.at(boxes[0])
    for box in boxes[1:]:
        large.predict()
        small = small.ahead()
        assert box_iou(small.box, box) == pytest.approx(large.iou(box), rel=1e-9)
        large.update(box)
        small = small.corrected(box)
        mean = [*(v for v, _ in small.mean_4), *(s for _, s in small.mean_4)]
        np.testing.assert_allclose(mean, large.mean, rtol=1e-9, atol=1e-12)
        p, c, v = np.array(small.covariance_4).T
        cov = np.block([[np.diag(p), np.diag(c)], [np.diag(c), np.diag(v)]])
        np.testing.assert_allclose(cov, large.cov, rtol=1e-9, atol=1e-15)
    assert Motion.of(small.numbers()) == small


def test_a_lost_object_costs_no_more_with_time():
    """After 1,960 frames of absence as many frames are held as after 50, and the last good ones
    are still read."""
    held = []
    for name in REFERENCES:
        beside = Remembered(POLICIES.get(name).load().new(LIMITS, policy_options(name, {})))
        sights = History(60, seed=3, every=100).sights
        good = next(
            seen
            for seen in sights.values()
            if seen.score > 0 and max(seen.ious_m) > 0.8 and seen.masks_mhw.any((1, 2)).all()
        )
        gone = next(seen for seen in sights.values() if seen.score < -2)
        beside.prompt(0, good)
        for frame_idx in range(2_000):
            beside.step(frame_idx, good if frame_idx < 40 else gone)
            if frame_idx in (90, 1_999):
                held.append(len(beside.store))
        if name != "sam2-stride":
            assert any(20 < t < 40 for t, _ in beside.policy.read(2_000).spatial)
    assert held[::2] == held[1::2]
