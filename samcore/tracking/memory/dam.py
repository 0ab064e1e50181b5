"""DAM4SAM: distractor-aware memory, which keeps frames on which something else looked alike."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import Self

from samcore.errors import InputError
from samcore.tracking.memory.motion import Box, box_iou
from samcore.tracking.memory.policy import (
    Bound,
    Holds,
    Json,
    MemoryLimits,
    Need,
    NumMaskmem,
    Read,
    Seen,
)
from samcore.tracking.memory.sam2 import ranked, readable_ptrs


class DamOptions(NumMaskmem):
    """The constants of `dam`."""

    drm_frames: int = Field(default=4, ge=2, le=64)
    """Frames that a step reads of the distractor-resolving memory (DRM), the first one included."""
    ram_stride: int = Field(default=5, ge=1, le=1000)
    """Frames from one memory of the recent appearance to the next."""
    min_iou: float = Field(default=0.8, ge=0, le=1)
    """What joins the DRM has a predicted IoU above this."""
    min_area_ratio: float = Field(default=0.8, ge=0)
    """What joins the DRM has this area or more, by the median of recent ones."""
    max_area_ratio: float = Field(default=1.2, ge=0)
    """What joins the DRM has this area or less, by that median."""
    min_gap: int = Field(default=5, ge=0, le=100_000)
    """What joins the DRM lies more frames than this behind the last one that did."""
    max_box_iou: float = Field(default=0.7, ge=0, le=1)
    """What joins the DRM has another candidate that would change its box to this IoU or less."""
    median_areas: int = Field(default=10, ge=1, le=100)
    """Areas of which the median is taken, the last ones that are not 0."""
    area_window: int = Field(default=300, ge=1, le=100_000)
    """Tracked frames that the median looks back."""


@dataclass(frozen=True, slots=True)
class DamPolicy:
    """Two memories: of recent appearance (RAM), and of what tells the object from others (DRM).

    **DRM.** The prompted frames, and those that joined: frames on which the mask was good and of
    the usual size, and another candidate would have been something else beside it. A step reads 4
    at most, as conditioning frames: the first one, the closest that lies before the last frame,
    and the nearest others; never the last frame.

    **RAM.** The other slots of the 7: the newest frame that shows the object, then multiples of 5
    before that one, as far as they show it. Frames of the DRM that the step reads, and the first
    one, are passed over. Positions count ranks. Pointers are those of the DRM frames that are read,
    and of the last 15 frames, as far as they show the object; with true ages.

        frame    0 ... 9 10 . 15 ... 19 20 . 25 26 27 28  29     27 joined the DRM, 28 shows nothing
        DRM      d                                d        ?
        RAM               r      r       r     r  r

    Whatever the video's length it holds, for any step to come: of the DRM the first and the last 4;
    of the frames that show the object the last 6 multiples of 5, and from the last one back those
    that a step may pass over, 4 at most; 15 pointers; 10 areas. Upstream all frames are kept, and
    a frame costs the more the longer the object has been lost.

    Source: Videnovic, Lukezic, Kristan, *A Distractor-Aware Memory for Visual Object Tracking with
    SAM2*, arXiv:2411.17576; constants as in github.com/jovanavidenovic/DAM4SAM at 9c95450, of which
    nothing is copied. On purpose it differs in these points:

    - Each object has memories of its own. Upstream tracks one.
    - Prompts after the first one are frames of the DRM, and may lie ahead.
    - Areas and boxes are those of the low-resolution masks, a quarter as fine as upstream's.
    - A pointer is read once where its frame is in the DRM, too.
    - Upstream also lets two and three clicks give three candidates (`multimask_max_pt_num`). That
      is the model's configuration, which no policy changes.
    """

    Options: ClassVar = DamOptions

    limits: MemoryLimits
    options: DamOptions
    drm: tuple[int, ...] = ()
    """Frames of the DRM that are held, ascending."""
    visible: tuple[int, ...] = ()
    """Other frames than the first that show the object and are held, ascending."""
    last_joined: int | None = None
    """The frame that joined the DRM last."""
    num_areas: int = 0
    """Tracked frames so far."""
    areas: tuple[tuple[int, float], ...] = ()
    """The newest areas that are not 0, as parts of the picture, each with its place among all."""
    next_frame: int = 0
    """The frame that comes next."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"scores", "boxes", "masks"})

    @property
    def present_above(self) -> float:
        return 0.0

    @property
    def bound(self) -> Bound:
        drm = 1 + self._num_drm
        spatial = drm + self._num_drm + self._num_slots - 1
        return Bound(spatial, spatial + self.limits.max_obj_ptrs - 1)

    @classmethod
    def new(cls, limits: MemoryLimits, options: Any) -> Self:
        options.slots(limits)
        return cls(limits, options)

    def prompted(self, frame_idx: int, seen: Seen | None) -> Self:
        is_visible = seen is not None and _mask(seen, 0).any()
        return replace(
            self,
            drm=_with(self.drm, frame_idx),
            visible=_with(self.visible, frame_idx) if is_visible else self.visible,
        )

    def choose(self, frame_idx: int, seen: Seen) -> int:
        """The mask with the highest predicted IoU; of equal ones the first."""
        return seen.ious_m.index(max(seen.ious_m))

    def read(self, frame_idx: int) -> Read:
        if not self.drm:
            raise InputError(f"no prompt to track from at {frame_idx = }; add one first")
        drm = self._read_drm(frame_idx)
        # Only what lies back: prompts ahead are in `visible`, too.
        others = [t for t in self.visible if t < frame_idx and t not in drm]
        ram = self._read_ram(others, self._num_slots - len(drm))
        pointers = readable_ptrs(drm, frame_idx, self.limits)
        pointers += [t for t in reversed(others) if frame_idx - t < self.limits.max_obj_ptrs]
        return Read(
            (*((t, 0) for t in drm), *ranked(ram, self.limits)),
            tuple((t, frame_idx - t) for t in pointers),
        )

    def kept(self, frame_idx: int, seen: Seen | None, chosen: int) -> Self:
        if seen is None:
            raise ValueError("this policy has to see what is kept")
        options = self.options
        mask_hw = _mask(seen, chosen)
        area = int(np.count_nonzero(mask_hw)) / mask_hw.size
        areas = self.areas
        joins = False
        if area > 0:
            areas = (*areas, (self.num_areas, area))
            recent = [a for i, a in areas if i > self.num_areas - options.area_window]
            ratio = area / median(recent[-options.median_areas :])
            joins = (
                options.min_area_ratio <= ratio <= options.max_area_ratio
                and seen.ious_m[chosen] > options.min_iou
                and (self.last_joined is None or frame_idx - self.last_joined > options.min_gap)
                and self._has_distractor(seen, chosen)
            )
        return replace(
            self,
            drm=_with(self.drm, frame_idx) if joins else self.drm,
            visible=_with(self.visible, frame_idx) if area > 0 else self.visible,
            last_joined=frame_idx if joins else self.last_joined,
            num_areas=self.num_areas + 1,
            areas=areas[-options.median_areas :],
        )

    def forget(self, next_frame: int) -> Self:
        past = [t for t in self.drm if t < next_frame]
        drm = {*self.drm[:1], *past[-self._num_drm :], *(t for t in self.drm if t >= next_frame)}
        policy = replace(self, drm=tuple(sorted(drm)), next_frame=next_frame)
        oldest = next_frame - self.limits.max_obj_ptrs
        wanted = policy._may_be_ram()
        return replace(policy, visible=tuple(t for t in self.visible if t > oldest or t in wanted))

    def holds(self) -> Holds:
        spatial = frozenset(self.drm) | self._may_be_ram()
        return Holds(spatial, spatial | frozenset(self.visible))

    def dump(self) -> Json:
        return {
            "drm": list(self.drm),
            "visible": list(self.visible),
            "last_joined": self.last_joined,
            "num_areas": self.num_areas,
            "areas": [list(item) for item in self.areas],
            "next_frame": self.next_frame,
        }

    @classmethod
    def load(cls, limits: MemoryLimits, options: Any, state: Json) -> Self:
        return cls(
            limits,
            options,
            drm=tuple(map(int, state["drm"])),
            visible=tuple(map(int, state["visible"])),
            last_joined=None if state["last_joined"] is None else int(state["last_joined"]),
            num_areas=int(state["num_areas"]),
            areas=tuple((int(i), float(area)) for i, area in state["areas"]),
            next_frame=int(state["next_frame"]),
        )

    @property
    def _num_slots(self) -> int:
        """Spatial memories of a step."""
        return self.options.slots(self.limits)

    @property
    def _num_drm(self) -> int:
        """DRM frames of a step; at least one slot is left for the RAM."""
        options = self.options
        return min(options.drm_frames, self.limits.max_cond_frames, self._num_slots - 1)

    def _read_drm(self, frame_idx: int) -> list[int]:
        """The DRM frames that a step reads, ascending."""
        first, last = self.drm[0], frame_idx - 1
        others = [t for t in self.drm[1:] if t != last]
        before = [t for t in others if t < last]
        nearest = sorted(others, key=lambda t: (abs(t - frame_idx), t))
        wanted = dict.fromkeys([first, *before[-1:], *nearest])
        return sorted(list(wanted)[: self._num_drm])

    def _read_ram(self, others: list[int], most: int) -> list[int]:
        """The RAM frames of a step, ascending, of those that show the object, ascending."""
        if not others:
            return []
        newest, stride = others[-1], self.options.ram_stride
        strided = [t for t in others if t < newest and t % stride == 0]
        return [*strided[len(strided) - min(most - 1, len(strided)) :], newest]

    def _may_be_ram(self) -> frozenset[int]:
        """The frames that lie back and may be RAM at any step from the next one on."""
        shown = [t for t in self.visible if t < self.next_frame and t != self.drm[0]]
        strided = [t for t in shown if t % self.options.ram_stride == 0]
        found = set(strided[len(strided) - min(self._num_slots - 1, len(strided)) :])
        # The newest one, but for those that the DRM may have: a step passes over these.
        for t in shown[: -1 - self._num_drm : -1]:
            found.add(t)
            if t not in self.drm:
                break
        return frozenset(found)

    def _has_distractor(self, seen: Seen, chosen: int) -> bool:
        """Whether another candidate shows something beside the chosen mask."""
        mask_hw = _mask(seen, chosen)
        box = _box(mask_hw)
        for other in range(len(seen.ious_m)):
            beside_hw = _mask(seen, other) & ~mask_hw
            if other == chosen or not beside_hw.any():
                continue
            union = _box(_largest_part(beside_hw) | mask_hw)
            if box_iou(box, union) <= self.options.max_box_iou:
                return True
        return False


def _with(frames: Iterable[int], frame_idx: int) -> tuple[int, ...]:
    return tuple(sorted({*frames, frame_idx}))


def _mask(seen: Seen, index: int) -> NDArray[np.bool_]:
    """A candidate's mask; empty where the object is absent."""
    if seen.masks_mhw is None:
        raise ValueError("this policy has to see masks")
    mask_hw = seen.masks_mhw[index]
    return mask_hw if seen.score > 0 else np.zeros_like(mask_hw)


def _box(mask_hw: NDArray[np.bool_]) -> Box:
    """Edges of a mask that is not empty, in pixels."""
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _largest_part(mask_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask that is not empty; of equal ones the first."""
    count, labels_hw, stats, _ = cv2.connectedComponentsWithStats(
        mask_hw.astype(np.uint8), connectivity=8
    )
    sizes = stats[1:count, cv2.CC_STAT_AREA]
    return np.asarray(labels_hw == 1 + int(sizes.argmax()))
