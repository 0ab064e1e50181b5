"""The stages of tracking by themselves, on frames of a synthetic video, for every family."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcore.machine.batches import default_batches
from samcore.masks.rle import Rle, encode_masks
from samcore.models.family import AttendedMemory, DecodedMasks, ImageFeatures, TrackingModel
from samcore.prompts.prompt import Prompt
from samcore.scenes import Scene, box_of
from samcore.tracking.memory.store import MemoryStore
from samcore.tracking.postprocess import masks_at_video_size
from samcore.tracking.propagation import encode_prompt
from samcore.tracking.tracker import VideoTracker
from samcore.video import VideoWriter, open_video

NUM_FRAMES = 8
"""Frames that are painted; a longer video shows them forwards and backwards."""
VIDEO_FRAMES = 120
"""Of the video that is decoded: less says more of the start of ffmpeg than of decoding."""
_RATE = Fraction(24)


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """Frames with objects."""

    images: Sequence[NDArray[np.uint8]]
    """H x W x 3 each."""
    masks_nhw: NDArray[np.bool_]
    """The objects on the first one, as many as are to be tracked at most."""

    @classmethod
    def paint(cls, *, height: int, width: int, num_objects: int, seed: int = 1) -> "Footage":
        """Paint it, the same for equal arguments.

        Raises:
            InputError: There are no objects, or more than 200, or the frames are too small.
        """
        scene = Scene(
            seed, num_frames=NUM_FRAMES, height=height, width=width, num_objects=num_objects
        )
        return cls([frame.image_rgb_hwc_u8 for frame in scene], scene.masks_nhw(0))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        height, width, _ = self.images[0].shape
        return height, width

    def endless(self) -> Iterator[NDArray[np.uint8]]:
        """The frames forwards and backwards for ever, without a jump."""
        return itertools.cycle([*self.images, *self.images[-2:0:-1]])

    def boxes(self, num_objects: int) -> list[tuple[float, float, float, float]]:
        """Where the first objects are, left, top, right, bottom in pixels. One that is hidden has
        the middle of the picture."""
        height, width = self.size_hw
        middle = (width * 0.25, height * 0.25, width * 0.75, height * 0.75)
        return [box_of(m) if m.any() else middle for m in self.masks_nhw[:num_objects]]

    def write(self, path: Path) -> Path:
        """Write `VIDEO_FRAMES` of them into a video file."""
        height, width = self.size_hw
        with VideoWriter(path, width=width, height=height, rate=_RATE) as writer:
            for image in itertools.islice(self.endless(), VIDEO_FRAMES):
                writer.write(image)
        return path


class Stages:
    """The stages of one model. Each is given as what computes it once, with full memory, on the
    same inputs each time."""

    def __init__(self, model: TrackingModel, footage: Footage) -> None:
        """Compute what the stages begin with: one frame, and one object's memory of it."""
        self.model = model
        self.footage = footage
        self.encode_batch, self._object_batch = default_batches(
            model.device.type, model.facts.image_size
        )
        height, width = footage.size_hw
        with model.running():
            image = model.preprocess(np.stack(footage.images[:1]))
            self._features = model.encode_images(image)[0]
            memory, self._output = encode_prompt(
                *(model, self._features, Prompt(1, 0, box_xyxy_px=footage.boxes(1)[0])),
                height=height,
                width=width,
                bank_device=model.device,
            )
        self._store = MemoryStore()
        self._store.add(memory)

    def preprocess(self, batch: int = 1) -> Callable[[], Tensor]:
        """From 8-bit pixels to the model's input."""
        pictures = np.stack(list(itertools.islice(self.footage.endless(), batch)))

        def preprocess() -> Tensor:
            with self.model.running():
                return self.model.preprocess(pictures)

        return preprocess

    def encode(self, batch: int = 1) -> Callable[[], list[ImageFeatures]]:
        """The image encoder."""
        images = self.preprocess(batch)()

        def encode() -> list[ImageFeatures]:
            with self.model.running():
                return self.model.encode_images(images)

        return encode

    def images(self, batch: int) -> Callable[[], list[ImageFeatures]]:
        """Pictures through preprocessing and image encoder, as many at once."""
        preprocess = self.preprocess(batch)

        def encode() -> list[ImageFeatures]:
            with self.model.running():
                return self.model.encode_images(preprocess())

        return encode

    def attention(self, num_objects: int) -> Callable[[], list[Tensor]]:
        """A frame with full memory: all spatial memories and pointers of each object."""
        facts = self.model.facts
        memories, pointers = facts.num_maskmem, facts.max_obj_ptrs
        batches = [
            AttendedMemory(
                maskmem_bchw=[_repeat(self._store.maskmem(0), count)] * memories,
                temporal_positions=list(range(memories)),
                obj_ptr_bc=[_repeat(self._store.obj_ptr(0), count)] * pointers,
                ptr_ages=[[age] * count for age in range(pointers)],
                max_ptr_age=max(1, pointers - 1),
            )
            for count in self._batches(num_objects)
        ]

        def attend() -> list[Tensor]:
            with self.model.running():
                return [self.model.with_memory(self._features, memory) for memory in batches]

        return attend

    def decode(self, num_objects: int) -> Callable[[], list[DecodedMasks]]:
        """The mask decoder, and the choice among its candidates."""
        model = self.model
        with model.running():
            fused = model.without_memory(self._features)
        batches = [_repeat(fused, count) for count in self._batches(num_objects)]

        def decode() -> list[DecodedMasks]:
            with model.running():
                found = [model.decode(fused, self._features, is_cond=False) for fused in batches]
                return [model.pick(one, one.ious_bm.argmax(dim=1)) for one in found]

        return decode

    def encode_memory(self, num_objects: int) -> Callable[[], list[Tensor]]:
        """The memory encoder."""
        batches = [
            DecodedMasks(
                logits_b1hw=_repeat(self._output.logits_11hw, count),
                ious_b=_repeat(self._output.predicted_iou[None], count),
                obj_ptr_bc=_repeat(self._store.obj_ptr(0), count),
                score_b1=_repeat(self._output.score[None, None], count),
            )
            for count in self._batches(num_objects)
        ]

        def encode() -> list[Tensor]:
            with self.model.running():
                return [
                    self.model.encode_memory(self._features, decoded, is_cond=False)
                    for decoded in batches
                ]

        return encode

    def resize(self, num_objects: int) -> Callable[[], NDArray[np.bool_]]:
        """From the decoder's logits to masks at the video's size, on the host."""
        height, width = self.footage.size_hw
        side = self.model.facts.logits_size
        masks_n1hw = torch.from_numpy(self.footage.masks_nhw[:num_objects, None]).float()
        logits = F.interpolate(masks_n1hw, size=(side, side), mode="area") * 20 - 10
        logits = logits.to(self.model.device)

        def resize() -> NDArray[np.bool_]:
            with torch.inference_mode():
                return masks_at_video_size(logits, height=height, width=width)

        return resize

    def run_lengths(self, num_objects: int) -> Callable[[], list[Rle]]:
        """Masks as run lengths."""
        return lambda: encode_masks(self.footage.masks_nhw[:num_objects])

    def whole(self, num_objects: int) -> Callable[[], NDArray[np.bool_]]:
        """The next frames of a video, as many as are encoded at once, from pixels to run lengths;
        the masks of the last one. Memory fills from run to run."""
        height, width = self.footage.size_hw
        tracker = VideoTracker(self.model, height=height, width=width)
        for obj_id, box in enumerate(self.footage.boxes(num_objects), 1):
            tracker.add_box(obj_id, 0, box)
        outputs = tracker.track(self.footage.endless())

        def track() -> NDArray[np.bool_]:
            for output in itertools.islice(outputs, self.encode_batch):
                encode_masks(output.masks_nhw)
            return output.masks_nhw

        return track

    def _batches(self, num_objects: int) -> list[int]:
        """How many objects run at once, batch by batch, as in tracking."""
        full, rest = divmod(num_objects, self._object_batch)
        return [self._object_batch] * full + ([rest] if rest else [])


def decode_video(path: Path) -> Callable[[], int]:
    """Decoding of a video file as tracking reads it; gives how many frames there were."""
    video = open_video(path)

    def decode() -> int:
        with video.read() as frames:
            return sum(1 for _ in frames)

    return decode


def _repeat(tensor: Tensor, count: int) -> Tensor:
    """A batch of one, as often as that."""
    return tensor.repeat_interleave(count, dim=0)
