"""SAMURAI: the mask that moves as the object did, and memories of good frames only."""

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import Self

from samcore.tracking.memory.motion import Box, Motion, box_iou
from samcore.tracking.memory.policy import (
    Bound,
    Holds,
    Json,
    Need,
    NumMaskmem,
    Seen,
)
from samcore.tracking.memory.sam2 import Sam2Policy, ranked

_NOWHERE = (0.0, 0.0, 0.0, 0.0)


class SamuraiOptions(NumMaskmem):
    """The constants of `samurai`."""

    stable_frames: int = Field(default=15, ge=1, le=1000)
    """Frames in a row that were seen well, from which on motion has a say in the choice."""
    stable_iou: float = Field(default=0.3, ge=0, le=1)
    """A frame was seen well if its predicted IoU is above this."""
    kf_weight: float = Field(default=0.15, ge=0, le=1)
    """Share of motion in the choice; the rest is the predicted IoU."""
    present_above: float = -1.0
    """An object whose score is not above this is absent."""
    memory_iou: float = Field(default=0.5, ge=0, le=1)
    """A good frame, whose mask is remembered, has a predicted IoU above this."""
    memory_score: float = 0.0
    """A good frame has an object score above this."""
    memory_kf: float = Field(default=0.0, ge=0, le=1)
    """A good frame's box overlaps the expected one by an IoU above this, where motion had a say."""


@dataclass(frozen=True, slots=True)
class SamuraiPolicy(Sam2Policy):
    """Chooses the mask by predicted IoU and motion; remembers the last frames that were good.

    **Choice.** A Kalman filter follows the box of the chosen mask. Until it has been seen well for
    `stable_frames` frames, the mask with the highest predicted IoU is taken. From then on it is the
    one with the highest `kf_weight * (overlap with the expected box) + (1 - kf_weight) * IoU`.
    A frame that was not seen well makes the filter begin anew on the next one.

    **Memory.** Spatial memories are those of the last 6 good frames, and of the last frame whether
    it is good or not; positions count ranks. Pointers are those of the last 15 frames, good or
    not. Conditioning frames as in `Sam2Policy`.

    Whatever the video's length it holds 7 spatial memories of tracked frames at most (upstream all
    of them: it walks back through the video at every frame), 15 pointers, and 20 numbers of the
    filter. A frame costs the same however long the object has been lost.

    Source: Yang et al., SAMURAI, arXiv:2411.11922; github.com/yangchris11/samurai at 76ba195. On
    purpose it differs in these points:

    - Each object has a filter of its own. Upstream has one for the model, which other objects
      change, and which goes on into the next video.
    - A prompt starts the filter on its mask. Upstream starts it by clicks only, and ignores prompts
      after the first; a prompt's own mask is the one with the highest predicted IoU.
    - All tracked frames can be good. Upstream leaves out frames 0 and 1 of the video. A last frame
      that was prompted takes no slot, as it is a conditioning frame.
    - `kf_weight` is the paper's 0.15 for every model. Upstream's configurations have 0.15 for the
      large one and 0.25 for the others.
    - Boxes are those of the low-resolution mask, a quarter as fine as upstream's.

    As upstream, the score that makes an object absent is -1 for masks and pointers, while the
    model's memory encoder marks a memory as absent from 0 down.
    """

    Options: ClassVar = SamuraiOptions

    options: SamuraiOptions
    good: tuple[int, ...] = ()
    """Good tracked frames held, ascending."""
    motion: Motion | None = None
    """The filter after the last tracked frame."""
    stable: int = 0
    """Frames in a row that were seen well, `stable_frames` at most; 0: the filter begins anew."""
    starts: tuple[tuple[int, Box], ...] = ()
    """Prompted frames that the filter has not come to, ascending, and the box of each."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"scores", "boxes"})

    @property
    def present_above(self) -> float:
        return self.options.present_above

    @property
    def bound(self) -> Bound:
        cond = 1 + max(self.limits.max_cond_frames, self._max_age)
        return Bound(cond + self._num_slots + 1, cond + self._max_age + self._num_slots + 1)

    def prompted(self, frame_idx: int, seen: Seen | None) -> Self:
        prompted = Sam2Policy.prompted(self, frame_idx, seen)
        if seen is None:
            return prompted
        box = self._boxes(seen)[0]
        return replace(
            prompted, starts=tuple(sorted({**dict(self.starts), frame_idx: box}.items()))
        )

    def choose(self, frame_idx: int, seen: Seen) -> int:
        motion, stable = self._motion_before(frame_idx)
        if motion is None or stable < self.options.stable_frames:
            return seen.ious_m.index(max(seen.ious_m))
        expected, weight = motion.ahead().box, self.options.kf_weight
        weighed = [
            weight * box_iou(expected, box) + (1 - weight) * iou
            for box, iou in zip(self._boxes(seen), seen.ious_m, strict=True)
        ]
        return weighed.index(max(weighed))

    def kept(self, frame_idx: int, seen: Seen | None, chosen: int) -> Self:
        if seen is None:
            raise ValueError("this policy has to see what is kept")
        options = self.options
        iou, box = seen.ious_m[chosen], self._boxes(seen)[chosen]
        motion, stable = self._motion_before(frame_idx)
        is_expected = True
        if motion is None or stable == 0:
            motion, stable = Motion.at(box), 1
        else:
            motion = motion.ahead()
            weighed = stable >= options.stable_frames
            if weighed:
                is_expected = box_iou(motion.box, box) > options.memory_kf
            if iou > options.stable_iou or (weighed and iou == options.stable_iou):
                motion = motion.corrected(box)
                stable = min(stable + 1, options.stable_frames)
            else:
                stable = 0
        is_good = iou > options.memory_iou and seen.score > options.memory_score and is_expected
        return replace(
            Sam2Policy.kept(self, frame_idx, seen, chosen),
            good=(*self.good, frame_idx) if is_good else self.good,
            motion=motion,
            stable=stable,
            starts=tuple(item for item in self.starts if item[0] > frame_idx),
        )

    def forget(self, next_frame: int) -> Self:
        motion, stable = self._motion_before(next_frame)
        return replace(
            Sam2Policy.forget(self, next_frame),
            good=self.good[-self._num_slots :],
            motion=motion,
            stable=stable,
            starts=tuple(item for item in self.starts if item[0] >= next_frame),
        )

    def holds(self) -> Holds:
        last = {t for t in self.tracked if t == self.next_frame - 1}
        spatial = frozenset(self.cond) | frozenset(self.good) | last
        return Holds(spatial, spatial | frozenset(self.tracked))

    def dump(self) -> Json:
        return {
            **Sam2Policy.dump(self),
            "good": list(self.good),
            "motion": None if self.motion is None else self.motion.numbers(),
            "stable": self.stable,
            "starts": [[frame_idx, *box] for frame_idx, box in self.starts],
        }

    @classmethod
    def _fields(cls, state: Json) -> dict[str, Any]:
        starts = ((int(t), (x, y, right, bottom)) for t, x, y, right, bottom in state["starts"])
        return {
            **Sam2Policy._fields(state),
            "good": tuple(map(int, state["good"])),
            "motion": None if state["motion"] is None else Motion.of(state["motion"]),
            "stable": int(state["stable"]),
            "starts": tuple(starts),
        }

    def _tracked_slots(self, frame_idx: int, recent: Set[int]) -> list[tuple[int, int]]:
        frames = [*self.good, *({frame_idx - 1} & set(self.tracked) - set(self.good))]
        return ranked(frames[-self._num_slots :], self.limits)

    def _reads_spatial(self, tracked: int, next_frame: int) -> bool:
        # Of frames that are not good; those that are, are in `good`.
        return tracked == next_frame - 1

    def _boxes(self, seen: Seen) -> tuple[Box, ...]:
        """The candidates' boxes; an object that is absent has none."""
        if seen.boxes_m4 is None or seen.score <= self.options.present_above:
            return (_NOWHERE,) * len(seen.ious_m)
        return seen.boxes_m4

    def _motion_before(self, frame_idx: int) -> tuple[Motion | None, int]:
        """The filter with which a frame begins, and how stable it is."""
        passed = [box for start, box in self.starts if start < frame_idx]
        return (Motion.at(passed[-1]), 1) if passed else (self.motion, self.stable)
