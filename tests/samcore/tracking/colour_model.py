"""A model that tracks by colour, in no time, and blocks of colour for it to track.

It remembers the mean colour of a mask and finds all pixels of that colour: on flat blocks of
different colours it is a perfect tracker, so that what goes wrong is association's.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcore.detectors.detector import Detection
from samcore.machine.device import choose_compute
from samcore.models.family import (
    AttendedMemory,
    Candidates,
    DecodedMasks,
    ImageFeatures,
    ModelFacts,
)

SIDE = 64
"""Of pictures and the model's input."""
_LOW = 32
_SAME_COLOUR = 0.12
_PTR = 8

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom."""


class ColourModel:
    """A `TrackingModel`."""

    facts = ModelFacts("colours", SIDE, _LOW, 7, 16, -1, future_ptrs=False)
    dtype_name = "float32"
    fallbacks = ()

    def __init__(self) -> None:
        self.compute = choose_compute("cpu", "float32")
        self.device = torch.device("cpu")

    @contextmanager
    def running(self) -> Iterator[None]:
        with torch.inference_mode():
            yield

    def preprocess(self, images_rgb_nhwc_u8: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(images_rgb_nhwc_u8.copy()).permute(0, 3, 1, 2).float() / 255

    def encode_images(self, images_n3hw: Tensor) -> list[ImageFeatures]:
        low_n3hw = F.avg_pool2d(images_n3hw, SIDE // _LOW)
        tokens = torch.zeros(1, 1, 1)
        return [ImageFeatures(tokens, tokens, (low_n3hw[i : i + 1],)) for i in range(len(low_n3hw))]

    def without_memory(self, features: ImageFeatures) -> Tensor:
        return torch.zeros(1, 4, 1, 1)

    def with_memory(self, features: ImageFeatures, memory: AttendedMemory) -> Tensor:
        slots_sb4 = torch.stack([m.float().flatten(1) for m in memory.maskmem_bchw])
        weight_sb1 = slots_sb4[..., 3:]
        colour_b3 = (slots_sb4[..., :3] * weight_sb1).sum(0) / weight_sb1.sum(0).clamp(min=1e-6)
        return torch.cat([colour_b3, weight_sb1.amax(0)], dim=1)[:, :, None, None]

    def decode(
        self,
        fused_bchw: Tensor,
        features: ImageFeatures,
        *,
        is_cond: bool,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        prior_logits_b1hw: Tensor | None = None,
        multimask: bool | None = None,
    ) -> Candidates:
        picture_1chw = features.high_res_1chw[0]
        if points_bp2 is not None:
            inside = []
            for left, top, right, bottom in (points_bp2[:, :2] / 2).round().int().flatten(1):
                mask_hw = torch.zeros(_LOW, _LOW, dtype=torch.bool)
                mask_hw[top:bottom, left:right] = True
                inside.append(mask_hw & (picture_1chw[0].amax(0) > 0.1))
            inside_bhw = torch.stack(inside)
        else:
            distance_bhw = (picture_1chw - fused_bchw[:, :3]).abs().sum(1)
            inside_bhw = (distance_bhw < _SAME_COLOUR) & (fused_bchw[:, 3] > 0)
        count = len(inside_bhw)
        logits_b1hw = torch.where(inside_bhw, 5.0, -5.0)[:, None]
        score_b1 = torch.where(inside_bhw.flatten(1).any(1), 5.0, -5.0)[:, None]
        return Candidates(
            logits_b1hw, torch.full((count, 1), 0.9), torch.zeros(count, 1, _PTR), score_b1
        )

    def pick(
        self, candidates: Candidates, index_b: Tensor, *, present_above: float = 0.0
    ) -> DecodedMasks:
        is_there = candidates.score_b1[:, :, None, None] > present_above
        logits = torch.where(is_there, candidates.logits_bmhw[:, :1], -1024.0)
        return DecodedMasks(
            logits, candidates.ious_bm[:, 0], candidates.tokens_bkc[:, 0], candidates.score_b1
        )

    def mask_to_output(self, features: ImageFeatures, mask_hw: NDArray[np.bool_]) -> DecodedMasks:
        mask_11hw = torch.from_numpy(mask_hw.copy()).float()[None, None]
        low_11hw = F.interpolate(mask_11hw, size=(_LOW, _LOW), mode="area")
        score = torch.full((1, 1), 10.0 if mask_hw.any() else -10.0)
        return DecodedMasks(low_11hw * 20 - 10, torch.ones(1), torch.zeros(1, _PTR), score)

    def encode_memory(
        self, features: ImageFeatures, decoded: DecodedMasks, *, is_cond: bool
    ) -> Tensor:
        inside_b1hw = (decoded.logits_b1hw > 0) & (decoded.score_b1[:, :, None, None] > 0)
        area_b1 = inside_b1hw.sum((2, 3)).float()
        total_b3 = (features.high_res_1chw[0] * inside_b1hw).sum((2, 3))
        memory = torch.cat([total_b3 / area_b1.clamp(min=1), area_b1 / _LOW**2], dim=1)
        return memory[:, :, None, None].to(torch.bfloat16)


@dataclass(frozen=True)
class Frame:
    """A frame with its number, as the video reader gives it."""

    frame_idx: int
    image_rgb_hwc_u8: NDArray[np.uint8]


@dataclass(frozen=True)
class Block:
    """A block of one colour that moves."""

    colour: tuple[int, int, int]
    way: Mapping[int, Rect]
    """Where it is from a frame on, at an even speed up to the next one."""
    shown: range = range(10**6)
    """Frames on which it is in the picture."""
    detected: Sequence[range] = field(default_factory=lambda: [range(10**6)])
    """Frames on which the detector sees it."""
    label: str = "block"
    score: float = 0.9

    def at(self, frame_idx: int) -> Rect | None:
        """Where it is; None if it is not in the picture."""
        if frame_idx not in self.shown:
            return None
        keys = sorted(self.way)
        corners = [np.interp(frame_idx, keys, [self.way[k][i] for k in keys]) for i in range(4)]
        left, top, right, bottom = (int(corner) // 2 * 2 for corner in corners)
        return left, top, right, bottom


class Blocks:
    """A video of blocks, and what the scripted detector says of it. Later ones are in front."""

    def __init__(self, blocks: Sequence[Block], num_frames: int) -> None:
        self.blocks = blocks
        self.num_frames = num_frames

    def frames(self, start: int = 0, stop: int | None = None) -> list[Frame]:
        """Pictures."""
        found = []
        for frame_idx in range(start, self.num_frames if stop is None else stop):
            image = np.zeros((SIDE, SIDE, 3), np.uint8)
            for block in self.blocks:
                rect = block.at(frame_idx)
                if rect is not None:
                    image[rect[1] : rect[3], rect[0] : rect[2]] = block.colour
            found.append(Frame(frame_idx, image))
        return found

    def truth(self, frame_idx: int, number: int) -> NDArray[np.bool_]:
        """The pixels of a block that can be seen."""
        mask_hw = np.zeros((SIDE, SIDE), np.bool_)
        for place, block in enumerate(self.blocks):
            rect = block.at(frame_idx)
            if rect is not None:
                mask_hw[rect[1] : rect[3], rect[0] : rect[2]] = place == number
        return mask_hw

    def detections(self, *, every: int = 1, boxes: bool = False) -> dict[int, list[Detection]]:
        """What is seen of each detected frame."""
        return {t: self._seen(t, boxes) for t in range(0, self.num_frames, every)}

    def _seen(self, frame_idx: int, boxes: bool) -> list[Detection]:
        seen = []
        for number, block in enumerate(self.blocks):
            mask_hw = self.truth(frame_idx, number)
            if mask_hw.sum() < 16 or not any(frame_idx in frames for frames in block.detected):
                continue
            rows, columns = np.flatnonzero(mask_hw.any(1)), np.flatnonzero(mask_hw.any(0))
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            where = {"box_xyxy_px": tuple(map(float, box))} if boxes else {"mask_hw": mask_hw}
            seen.append(
                Detection(score=block.score, picture_hw=(SIDE, SIDE), label=block.label, **where)
            )
        return seen
