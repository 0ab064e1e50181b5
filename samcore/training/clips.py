"""Short clips with truth, painted on the fly: a batch is a function of (seed, step, its number)."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from samcore.errors import InputError
from samcore.scenes import SyntheticVideo, make_video
from samcore.training.config import VIDEO_FRAMES, Phase, TrainConfig
from samcore.training.replicas import Replicas

VALIDATION_SEEDS = range(10_000, 20_000)
"""Scenes that steer the training: seen as numbers, never trained on."""
TEST_SEEDS = range(20_000, 30_000)
"""Scenes for the final table alone."""
_TRAINING_SEEDS = (1 << 20, 1 << 40)

_ASPECTS = ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.34), (1.0, 1.78), (1.34, 1.0))
"""Height and width of a scene over the model's input; the model squeezes frames to a square."""
_MOST_OBJECTS = 6
"""In a scene; few are more frequent than many."""
_TRIES = 6
_FAR = 24
"""Most video frames between two frames of a clip whose frames lie far apart."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatch:
    """S clips of T frames with K objects each; R = S * K rows, the objects of one clip together."""

    step: int
    """The step that it is for."""
    number: int
    """Which of the step's batches it is, from 0."""
    images_sthw3: Tensor
    """S x T x H x W x 3, uint8, RGB, at the model's input size."""
    masks_rthw: Tensor
    """R x T x H x W, bool."""

    def pin_memory(self) -> "ClipBatch":
        """The batch in memory that a GPU can copy from while it computes (the loader asks)."""
        images, masks = self.images_sthw3.pin_memory(), self.masks_rthw.pin_memory()
        return ClipBatch(self.step, self.number, images, masks)


class ClipDataset(Dataset[ClipBatch]):
    """Whole batches: those of a step that are this process's, then those of the next step."""

    def __init__(self, config: TrainConfig, *, first_step: int, replicas: Replicas) -> None:
        self._config = config
        self._batches = [
            (step, number)
            for step in range(first_step, config.steps)
            for number in replicas.numbers(config.at(step)[0].batches)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> ClipBatch:
        step, number = self._batches[index]
        return make_batch(self._config, step, number=number)


def clip_batches(
    config: TrainConfig, *, first_step: int, replicas: Replicas, pin: bool
) -> Iterator[ClipBatch]:
    """The batches from a step on, painted ahead by worker processes.

    Args:
        config: What to paint.
        first_step: The first step to paint for.
        replicas: Say which of each step's batches are this process's.
        pin: Put them where a GPU copies from while it computes.
    """
    loader = DataLoader(
        ClipDataset(config, first_step=first_step, replicas=replicas),
        batch_size=None,
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        pin_memory=pin,
        worker_init_fn=_quiet_worker,
    )
    return iter(loader)


def _quiet_worker(_worker: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def make_batch(config: TrainConfig, step: int, *, number: int = 0) -> ClipBatch:
    """Paint the clips of one of a step's batches."""
    phase, _ = config.at(step)
    rng = np.random.default_rng([config.seed, step, *([3, number] if number else [])])
    clips = [_draw_clip(rng, phase) for _ in range(phase.scenes)]
    return ClipBatch(
        step=step,
        number=number,
        images_sthw3=torch.from_numpy(np.stack([images for images, _ in clips])),
        masks_rthw=torch.from_numpy(np.concatenate([masks for _, masks in clips])),
    )


def _draw_clip(
    rng: np.random.Generator, phase: Phase
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Images T x H x W x 3 and masks K x T x H x W of one clip."""
    side = phase.image_size
    names, shares = list(phase.mix), np.array(list(phase.mix.values()))
    height, width = np.array(_ASPECTS[int(rng.integers(len(_ASPECTS)))]) * side
    scene = make_video(
        names[int(rng.choice(len(names), p=shares / shares.sum()))],
        int(rng.integers(*_TRAINING_SEEDS)),
        num_frames=VIDEO_FRAMES,
        height=int(height),
        width=int(width),
        num_objects=1 + int(rng.integers(0, _MOST_OBJECTS, 2).min()),
    )
    frames_t, objects_k = _choose_frames(rng, phase, scene)
    images, masks = [], []
    for frame_idx in frames_t:
        frame = scene.frame(int(frame_idx))
        image, mask_nhw = frame.image_rgb_hwc_u8, frame.masks_nhw[objects_k]
        if image.shape[:2] != (side, side):
            image = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
            mask_nhw = np.stack([_resize_mask(mask_hw, side) for mask_hw in mask_nhw])
        images.append(image)
        masks.append(mask_nhw)
    return np.stack(images).astype(np.uint8), np.stack(masks, axis=1)


def _resize_mask(mask_hw: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    share_hw = cv2.resize(mask_hw.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(share_hw >= 0.5)


def _choose_frames(
    rng: np.random.Generator, phase: Phase, scene: SyntheticVideo
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames of the scene for a clip, and K of the objects that its first frame shows well."""
    draw = rng.uniform() if phase.frames > 1 else 1.0
    wanted = 0
    if draw < phase.seek_return:
        wanted = 2
    elif draw < phase.seek_return + phase.seek_absence:
        wanted = 1
    best: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None
    least = 25.0 * (phase.image_size / 128) ** 2
    for _ in range(_TRIES):
        frames_t = _draw_times(rng, phase, sparse=wanted == 2)
        areas_n = scene.masks_nhw(int(frames_t[0])).sum(axis=(1, 2))
        shown = np.flatnonzero(areas_n >= least)
        if not len(shown):
            continue
        found, candidates = 0, shown
        if wanted:
            found, candidates = _most_eventful(scene, frames_t, shown)
        if best is None or found > best[0]:
            best = found, frames_t, candidates
        if found >= wanted:
            break
    if best is None:
        # Nothing came into view in all these tries: the first frame that shows the first object.
        try:
            first = scene.first_visible(1)
        except InputError:
            first = 0
        best = 0, np.full(phase.frames, first), np.zeros(1, np.int64)
    _, frames_t, candidates = best
    order = rng.permutation(candidates)
    return frames_t, np.resize(order, phase.objects)


def _most_eventful(
    scene: SyntheticVideo, frames_t: NDArray[np.int64], shown: NDArray[np.int64]
) -> tuple[int, NDArray[np.int64]]:
    """Of the objects shown first: those that come back (2), else that vanish (1), else all (0)."""
    seen_tn = np.array([scene.masks_nhw(int(t)).any(axis=(1, 2)) for t in frames_t])[:, shown]
    gone_tn = np.logical_or.accumulate(~seen_tn, axis=0)
    returning, vanishing = (gone_tn & seen_tn).any(axis=0), gone_tn[-1]
    if returning.any():
        return 2, shown[returning]
    if vanishing.any():
        return 1, shown[vanishing]
    return 0, shown


def _draw_times(
    rng: np.random.Generator, phase: Phase, *, sparse: bool = False
) -> NDArray[np.int64]:
    """Ascending frame numbers of one clip, far apart for sure if `sparse`."""
    if sparse or rng.uniform() < phase.sparse:
        # A long clip's lie closer together, so that the scene always has room for it.
        most = min(_FAR, (VIDEO_FRAMES - 1) // max(phase.frames - 1, 1))
        gaps = rng.integers(1, most + 1, phase.frames - 1)
    else:
        gaps = np.full(phase.frames - 1, rng.integers(1, phase.max_stride + 1))
    times = np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)
    return np.asarray(times + rng.integers(0, VIDEO_FRAMES - times[-1]))
