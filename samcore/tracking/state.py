"""The tracker's state as a file: everything of the past that the future can see."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from samcore.disk.atomic import AtomicFile, storage_error
from samcore.errors import StateError
from samcore.tracking.memory.sam2 import FrameMemory

FORMAT_VERSION: Literal[1] = 1
_HEADER_KEY = "longtake.tracker_state"


@dataclass(frozen=True, slots=True, eq=False)
class CondOutput:
    """The masks of a conditioning frame that was not reached yet."""

    frame_idx: int
    """Position in the source video, from 0."""
    logits_11hw: Tensor
    """Low-resolution mask logits, 1 x 1 x H/4 x W/4, float32."""
    score: float
    """Object-score logit."""
    predicted_iou: float
    """The model's guess of the mask's quality, in [0, 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectState:
    """What is known of one object."""

    obj_id: int
    cond: tuple[FrameMemory, ...]
    tracked: tuple[FrameMemory, ...]
    outputs: tuple[CondOutput, ...]
    """Of the conditioning frames that lie ahead."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackerState:
    """All that a tracker needs to go on at `next_frame`, on this machine or another.

    About 4 MB an object at 1024 px, whatever the video's length; prompts ahead add 0.8 MB each.
    """

    model_fingerprint: str
    image_size: int
    """Side of the model's square input in pixels."""
    dtype: str
    """Arithmetic that the memories were made in, such as `bfloat16`."""
    height: int
    width: int
    """Size of the video as displayed, in pixels."""
    num_frames: int | None
    """Length of the whole video; None for a stream."""
    next_frame: int
    """The frame to track next; memories lie before it or come from prompts."""
    max_cond_frames: int
    objects: tuple[ObjectState, ...]
    """By ascending `obj_id`."""

    def save(self, path: Path) -> None:
        """Write to `path` (safetensors with a JSON header), whole or not at all.

        Raises:
            StorageError: The file cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        objects = []
        for obj in self.objects:
            name = f"{obj.obj_id}"
            for kind, memories in (("cond", obj.cond), ("tracked", obj.tracked)):
                for memory in memories:
                    at = f"{name}.{kind}.{memory.frame_idx}"
                    tensors[f"{at}.obj_ptr"] = memory.obj_ptr_1c
                    if memory.maskmem_1chw is not None:
                        tensors[f"{at}.maskmem"] = memory.maskmem_1chw
            for output in obj.outputs:
                tensors[f"{name}.output.{output.frame_idx}.logits"] = output.logits_11hw
            objects.append(
                _ObjectHeader(
                    obj_id=obj.obj_id,
                    cond=tuple(memory.frame_idx for memory in obj.cond),
                    tracked=tuple(memory.frame_idx for memory in obj.tracked),
                    outputs=tuple(
                        _OutputHeader(
                            frame_idx=o.frame_idx, score=o.score, predicted_iou=o.predicted_iou
                        )
                        for o in obj.outputs
                    ),
                )
            )
        header = _Header(
            version=FORMAT_VERSION,
            model_fingerprint=self.model_fingerprint,
            image_size=self.image_size,
            dtype=self.dtype,
            height=self.height,
            width=self.width,
            num_frames=self.num_frames,
            next_frame=self.next_frame,
            max_cond_frames=self.max_cond_frames,
            objects=tuple(objects),
        )
        # Rows of a batch share their storage; in the file each stands alone.
        own = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        data = serialize(own, metadata={_HEADER_KEY: header.model_dump_json()})
        try:
            file = AtomicFile(path)
            try:
                file.file.write(data)
                file.commit()
            except BaseException:
                file.discard()
                raise
        except OSError as error:
            raise storage_error(path, error, doing="write") from error

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> "TrackerState":
        """Read what `save` wrote, with its tensors on `device`.

        Raises:
            StateError: The file is missing, damaged, or of another format version.
        """
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                metadata = file.metadata() or {}
                header = _Header.model_validate_json(metadata.get(_HEADER_KEY, ""))
                # Cloned into memory of our own: mapped bytes lie at any alignment, and arithmetic
                # libraries may choose other instructions, and so other last bits, for those.
                tensors = {name: file.get_tensor(name).clone().to(device) for name in file.keys()}  # noqa: SIM118
        except ValidationError as error:
            raise StateError(
                f"{path} is not a tracker state of format version {FORMAT_VERSION}; delete it to "
                "track its chunk again"
            ) from error
        except (OSError, SafetensorError) as error:
            raise StateError(f"cannot read the tracker state {path}: {error}") from error
        try:
            objects = tuple(_read_object(obj, tensors) for obj in header.objects)
        except KeyError as error:
            raise StateError(f"the tracker state {path} lacks the tensor {error}") from error
        return cls(
            model_fingerprint=header.model_fingerprint,
            image_size=header.image_size,
            dtype=header.dtype,
            height=header.height,
            width=header.width,
            num_frames=header.num_frames,
            next_frame=header.next_frame,
            max_cond_frames=header.max_cond_frames,
            objects=objects,
        )


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _OutputHeader(_Strict):
    frame_idx: int
    score: float
    predicted_iou: float


class _ObjectHeader(_Strict):
    obj_id: int
    cond: tuple[int, ...]
    tracked: tuple[int, ...]
    outputs: tuple[_OutputHeader, ...]


class _Header(_Strict):
    version: Literal[1]
    model_fingerprint: str
    image_size: int
    dtype: str
    height: int
    width: int
    num_frames: int | None
    next_frame: int
    max_cond_frames: int
    objects: tuple[_ObjectHeader, ...]


def _read_object(header: _ObjectHeader, tensors: dict[str, Tensor]) -> ObjectState:
    def memories(kind: str, frames: tuple[int, ...]) -> tuple[FrameMemory, ...]:
        return tuple(
            FrameMemory(
                frame_idx=frame_idx,
                maskmem_1chw=tensors.get(f"{header.obj_id}.{kind}.{frame_idx}.maskmem"),
                obj_ptr_1c=tensors[f"{header.obj_id}.{kind}.{frame_idx}.obj_ptr"],
            )
            for frame_idx in frames
        )

    return ObjectState(
        obj_id=header.obj_id,
        cond=memories("cond", header.cond),
        tracked=memories("tracked", header.tracked),
        outputs=tuple(
            CondOutput(
                frame_idx=o.frame_idx,
                logits_11hw=tensors[f"{header.obj_id}.output.{o.frame_idx}.logits"],
                score=o.score,
                predicted_iou=o.predicted_iou,
            )
            for o in header.outputs
        ),
    )
