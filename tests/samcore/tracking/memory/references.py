"""The rules of memory policies as their sources have them: of one object, with nothing dropped.

Slow and simple on purpose. Each keeps all frames, and walks back through them at every step.
"""

import numpy as np

from samcore.tracking.memory.policy import Read, Seen

NUM_MASKMEM, MAX_PTRS = 7, 16


class Rule:
    """What all of them remember."""

    def __init__(self) -> None:
        self.prompts: list[int] = []
        self.tracked: list[int] = []

    def prompted(self, frame_idx: int, seen: Seen) -> None:
        self.prompts = sorted({*self.prompts, frame_idx})

    def choose(self, frame_idx: int, seen: Seen) -> int:
        return int(np.argmax(seen.ious_m))

    def kept(self, frame_idx: int, seen: Seen, chosen: int) -> None:
        self.tracked.append(frame_idx)

    def passed_prompt(self, frame_idx: int) -> None:
        """A prompted frame was passed."""

    def cond_part(self, frames: list[int], frame_idx: int) -> tuple[list, list]:
        """Conditioning frames as spatial memories, and the pointers of those that lie back."""
        return [(t, 0) for t in frames], [(t, frame_idx - t) for t in frames if t <= frame_idx]

    def last_pointers(self, frame_idx: int, frames: list[int]) -> list[tuple[int, int]]:
        return [(frame_idx - age, age) for age in range(1, MAX_PTRS) if frame_idx - age in frames]


class Stride(Rule):
    """`SAM2Base._prepare_memory_conditioned_features` with a stride of 3."""

    def read(self, frame_idx: int) -> Read:
        spatial, pointers = self.cond_part(self.prompts, frame_idx)
        for t_pos in range(1, NUM_MASKMEM):
            t_rel = NUM_MASKMEM - t_pos
            if t_rel == 1:
                t = frame_idx - 1
            else:
                t = ((frame_idx - 2) // 3) * 3
                t = t - (t_rel - 2) * 3
            if t in self.tracked:
                spatial.append((t, t_pos))
        pointers += self.last_pointers(frame_idx, self.tracked)
        return Read(tuple(spatial), tuple(pointers))


def spatial_by_rank(frames: list[int]) -> list[tuple[int, int]]:
    """The last 6 of a list, with positions as upstream counts them."""
    found = []
    for t_pos in range(1, NUM_MASKMEM):
        index = t_pos - NUM_MASKMEM
        if -index <= len(frames):
            found.append((frames[index], t_pos))
    return found


class KalmanFilter:
    """ByteTrack's, as matrices."""

    def __init__(self, box) -> None:
        measured = self.measure(box)
        h = measured[3]
        std = [h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]
        self.mean = np.r_[measured, np.zeros(4)]
        self.cov = np.diag(np.square(std))
        self.step = np.eye(8)
        self.step[:4, 4:] = np.eye(4)

    @staticmethod
    def measure(box) -> np.ndarray:
        x1, y1, x2, y2 = box
        h = y2 - y1 if y2 > y1 else 1 / 1024
        return np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / h, h])

    def predict(self) -> None:
        h = self.mean[3]
        std = [h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]
        self.mean = self.step @ self.mean
        self.cov = self.step @ self.cov @ self.step.T + np.diag(np.square(std))

    def update(self, box) -> None:
        h = self.mean[3]
        project = np.eye(4, 8)
        spread = project @ self.cov @ project.T + np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        gain = self.cov @ project.T @ np.linalg.inv(spread)
        self.mean = self.mean + gain @ (self.measure(box) - project @ self.mean)
        self.cov = self.cov - gain @ spread @ gain.T

    def iou(self, box) -> float:
        x, y, a, h = self.mean[:4]
        return iou((x - a * h / 2, y - h / 2, x + a * h / 2, y + h / 2), box)


def iou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


class Samurai(Rule):
    """SAMURAI; a prompt starts the filter, and all tracked frames count."""

    def __init__(self) -> None:
        super().__init__()
        self.filter: KalmanFilter | None = None
        self.stable = 0
        self.frames: dict[int, tuple[float, float, float | None]] = {}
        self.boxes: dict[int, tuple] = {}

    def prompted(self, frame_idx: int, seen: Seen) -> None:
        super().prompted(frame_idx, seen)
        self.boxes[frame_idx] = self.seen_boxes(seen)[0]

    def passed_prompt(self, frame_idx: int) -> None:
        self.filter, self.stable = KalmanFilter(self.boxes[frame_idx]), 1

    def seen_boxes(self, seen: Seen):
        return seen.boxes_m4 if seen.score > -1 else [(0, 0, 0, 0)] * len(seen.ious_m)

    def choose(self, frame_idx: int, seen: Seen) -> int:
        """Decides, and moves the filter as upstream does on the way."""
        boxes = self.seen_boxes(seen)
        self.kf_score = None
        best = int(np.argmax(seen.ious_m))
        if self.filter is None or self.stable == 0:
            self.filter, self.stable = KalmanFilter(boxes[best]), 1
            return best
        self.filter.predict()
        if self.stable < 15:
            if seen.ious_m[best] > 0.3:
                self.filter.update(boxes[best])
                self.stable += 1
            else:
                self.stable = 0
            return best
        overlaps = [self.filter.iou(box) for box in boxes]
        weighed = [0.15 * k + 0.85 * p for k, p in zip(overlaps, seen.ious_m, strict=True)]
        best = int(np.argmax(weighed))
        self.kf_score = overlaps[best]
        if seen.ious_m[best] < 0.3:
            self.stable = 0
        else:
            self.filter.update(boxes[best])
        return best

    def kept(self, frame_idx: int, seen: Seen, chosen: int) -> None:
        super().kept(frame_idx, seen, chosen)
        self.frames[frame_idx] = (seen.ious_m[chosen], seen.score, self.kf_score)

    def read(self, frame_idx: int) -> Read:
        valid: list[int] = []
        for t in range(frame_idx - 1, self.prompts[0], -1):
            if t not in self.frames:
                continue
            predicted, score, kf = self.frames[t]
            if predicted > 0.5 and score > 0 and (kf is None or kf > 0):
                valid.insert(0, t)
            if len(valid) == 15:
                break
        if frame_idx - 1 in self.frames and frame_idx - 1 not in valid:
            valid.append(frame_idx - 1)
        spatial, pointers = self.cond_part(self.prompts, frame_idx)
        pointers += self.last_pointers(frame_idx, self.tracked)
        return Read((*spatial, *spatial_by_rank(valid)), tuple(pointers))


class Sam3(Rule):
    """`sam3_tracker_base.py`, of one object."""

    def __init__(self) -> None:
        super().__init__()
        self.effective: dict[int, float] = {}

    def kept(self, frame_idx: int, seen: Seen, chosen: int) -> None:
        super().kept(frame_idx, seen, chosen)
        sure = 2 / (1 + np.exp(-seen.score)) - 1 if seen.score > 0 else 0
        self.effective[frame_idx] = sure * max(seen.ious_m)

    def read(self, frame_idx: int) -> Read:
        valid: list[int] = []
        for t in range(frame_idx - 1, 0, -1):
            if self.effective.get(t, 0) > 0.01:
                valid.insert(0, t)
            if len(valid) == 15:
                break
        if frame_idx - 1 in self.effective and frame_idx - 1 not in valid:
            valid.append(frame_idx - 1)
        closest = set()
        for side in ([t for t in self.prompts if t < frame_idx][-1:],
                     [t for t in self.prompts if t >= frame_idx][:1],
                     sorted(self.prompts, key=lambda t: (abs(t - frame_idx), t))):  # fmt: skip
            for t in side:
                if len(closest) < 4:
                    closest.add(t)
        spatial, pointers = self.cond_part(sorted(closest), frame_idx)
        for rank in range(1, MAX_PTRS):
            if -rank <= -len(valid):
                break
            pointers.append((valid[-rank], rank))
        return Read((*spatial, *spatial_by_rank(valid)), tuple(pointers))


class Dam(Rule):
    """DAM4SAM, of low-resolution masks; later prompts are frames of the DRM."""

    def __init__(self) -> None:
        super().__init__()
        self.drm: list[int] = []
        self.visible: set[int] = set()
        self.areas: list[int] = []
        self.last_added = -1

    def prompted(self, frame_idx: int, seen: Seen) -> None:
        super().prompted(frame_idx, seen)
        self.drm = sorted({*self.drm, frame_idx})
        if seen.score > 0 and seen.masks_mhw[0].any():
            self.visible.add(frame_idx)

    def kept(self, frame_idx: int, seen: Seen, chosen: int) -> None:
        super().kept(frame_idx, seen, chosen)
        masks = seen.masks_mhw if seen.score > 0 else np.zeros_like(seen.masks_mhw)
        mask = masks[chosen]
        self.areas.append(int(mask.sum()))
        if not mask.any():
            return
        self.visible.add(frame_idx)
        ratio = mask.sum() / np.median([a for a in self.areas[-300:] if a >= 1][-10:])
        good = seen.ious_m[chosen] > 0.8 and 0.8 <= ratio <= 1.2
        if not good or not (self.last_added == -1 or frame_idx - self.last_added > 5):
            return
        overlaps = []
        for k, other in enumerate(masks):
            rest = other & ~mask
            if k != chosen and rest.any():
                overlaps.append(iou(extent(mask), extent(largest_part(rest) | mask)))
        if overlaps and min(overlaps) <= 0.7:
            self.drm = sorted({*self.drm, frame_idx})
            self.last_added = frame_idx

    def read(self, frame_idx: int) -> Read:
        first = self.drm[0]
        others = [t for t in self.drm if t not in (first, frame_idx - 1)]
        drm = [first, *[t for t in others if t < frame_idx - 1][-1:]]
        for t in sorted(others, key=lambda t: (abs(t - frame_idx), t)):
            if len(drm) < 4 and t not in drm:
                drm.append(t)
        ram: list[int] = []
        t = frame_idx - 1
        while len(ram) < 7 - len(drm):
            # Empty or chosen already: one back, and from the second slot on five.
            while t > first and (t not in self.visible or t in drm or t in ram):
                t -= 5 if ram else 1
            if t <= first:
                break
            ram.append(t)
            t = (t - 1) // 5 * 5
        spatial, pointers = self.cond_part(sorted(drm), frame_idx)
        spatial += [(t, NUM_MASKMEM - 1 - rank) for rank, t in enumerate(ram)][::-1]
        shown = [t for t in self.visible if t not in drm]
        pointers += self.last_pointers(frame_idx, shown)
        return Read(tuple(spatial), tuple(pointers))


def extent(mask) -> tuple:
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def largest_part(mask):
    """By filling, one pixel after the other."""
    left = set(zip(*np.nonzero(mask), strict=True))
    best: set = set()
    while left:
        part, edge = set(), [min(left)]
        while edge:
            y, x = edge.pop()
            if (y, x) not in left:
                continue
            left.remove((y, x))
            part.add((y, x))
            edge += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        if len(part) > len(best):
            best = part
    found = np.zeros_like(mask)
    for y, x in best:
        found[y, x] = True
    return found


REFERENCES = {
    "sam2-stride": (Stride, {"stride": 3}),
    "samurai": (Samurai, {}),
    "sam3": (Sam3, {}),
    "dam": (Dam, {}),
}
