"""A policy and its store, put through frames as the tracker does it, without a model."""

from collections.abc import Iterator

import numpy as np
import torch

from samcore.tracking.memory.policy import MemoryPolicy, Seen
from samcore.tracking.memory.store import FrameMemory, MemoryStore


def memory(frame_idx: int) -> FrameMemory:
    """A memory that can be told from others."""
    return FrameMemory(
        frame_idx,
        torch.full((1, 2, 1, 1), frame_idx),
        torch.full((1, 4), frame_idx),
        torch.tensor(1.0),
        torch.tensor(0.9),
    )


def some_sight(rng: np.random.Generator, *, present: bool | None = None) -> Seen:
    """What a policy may see of a frame: three masks of which each may be empty."""
    masks_mhw = np.zeros((3, 16, 16), dtype=np.bool_)
    boxes = []
    for mask_hw in masks_mhw:
        left, top = (int(n) for n in rng.integers(0, 12, 2))
        if rng.random() < 0.2:
            boxes.append((0.0, 0.0, 0.0, 0.0))
            continue
        right, bottom = left + int(rng.integers(3, 5)), top + 4
        mask_hw[top:bottom, left:right] = True
        boxes.append((left / 16, top / 16, right / 16, bottom / 16))
    score = float(rng.normal(1.0, 4.0))
    if present is not None:
        score = abs(score) if present else -abs(score)
    return Seen(
        ious_m=tuple(float(x) for x in rng.random(3)),
        score=score,
        boxes_m4=tuple(boxes),
        masks_mhw=masks_mhw,
    )


def one_candidate(seen: Seen) -> Seen:
    """What is seen of a prompt: its mask alone."""
    return Seen(seen.ious_m[:1], seen.score, seen.boxes_m4[:1], seen.masks_mhw[:1])


class Remembered:
    """One object's policy and memories."""

    def __init__(self, policy: MemoryPolicy, *, prune: bool = True) -> None:
        self.policy = policy
        self.store = MemoryStore()
        self._prune = prune
        self._prompted: set[int] = set()

    def prompt(self, frame_idx: int, seen: Seen | None = None) -> None:
        """Encode a prompt, which may lie ahead."""
        self.store.add(memory(frame_idx))
        self.policy = self.policy.prompted(frame_idx, seen if self.policy.needs else None)
        self._prompted.add(frame_idx)

    def recall(self, frame_idx: int) -> None:
        """Take a memory of another video, which has a number before this one."""
        self.store.add(memory(frame_idx))
        self.policy = self.policy.prompted(frame_idx, None)

    def step(self, frame_idx: int, seen: Seen | None = None) -> int:
        """Pass a frame: track it, unless it was prompted. Gives which candidate was chosen."""
        chosen = 0
        if frame_idx not in self._prompted:
            if self.policy.needs and seen is not None:
                chosen = self.policy.choose(frame_idx, seen)
            self.store.add(memory(frame_idx))
            known = seen if self.policy.needs else None
            self.policy = self.policy.kept(frame_idx, known, chosen)
        if self._prune:
            self.policy = self.policy.forget(frame_idx + 1)
            self.store.keep_only(self.policy.holds())
        return chosen

    def read_frames(self, frame_idx: int) -> tuple[list[int], list[int]]:
        """The frames whose tensors a step reads, as the tensors themselves tell it."""
        read = self.policy.read(frame_idx)
        return (
            [int(self.store.maskmem(t).flatten()[0]) for t, _ in read.spatial],
            [int(self.store.obj_ptr(t)[0, 0]) for t, _ in read.pointers],
        )


class History:
    """What happens to an object: it comes and goes, and is prompted now and then."""

    def __init__(self, num_frames: int, *, seed: int, every: int = 50, begins: int = 0) -> None:
        """Draw a history.

        Args:
            num_frames: The video's length.
            seed: Another one is another history.
            every: Frames from one prompt to the next, about.
            begins: The first prompted frame.
        """
        rng = np.random.default_rng(seed)
        later = rng.integers(begins + 1, num_frames, num_frames // every)
        self.begins = begins
        self.prompts = {
            t: one_candidate(some_sight(rng, present=True))
            for t in sorted({begins, *(int(t) for t in later)})
        }
        self.ahead = sorted(self.prompts)[:3]
        """Prompts that are encoded before the first frame is tracked."""
        self.sights: dict[int, Seen] = {}
        present = True
        left = 0
        for frame_idx in range(begins, num_frames):
            if left == 0:
                present = not present if rng.random() < 0.8 else present
                left = int(rng.geometric(1 / (25 if present else 40)))
            left -= 1
            # Now and then a stretch of what is neither.
            self.sights[frame_idx] = some_sight(rng, present=None if left % 7 == 3 else present)

    def lived_by(self, *remembered: Remembered) -> Iterator[int]:
        """Put memories through it; gives each frame before it is tracked."""
        for one in remembered:
            for frame_idx in self.ahead:
                one.prompt(frame_idx, self.prompts[frame_idx])
        for frame_idx, seen in self.sights.items():
            if frame_idx not in self.prompts:
                yield frame_idx
            for one in remembered:
                if frame_idx in self.prompts and frame_idx not in self.ahead:
                    one.prompt(frame_idx, self.prompts[frame_idx])
                one.step(frame_idx, seen)
