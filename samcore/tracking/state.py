"""The tracker's state as a file: everything of the past that the future can see."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from samcore.disk.atomic import atomic
from samcore.errors import StateError
from samcore.tracking.memory.policy import Json
from samcore.tracking.memory.store import FrameMemory

FORMAT_VERSION: Literal[2] = 2
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
    begins: int
    """The object's first prompted frame."""
    memories: tuple[FrameMemory, ...]
    """By ascending frame: what its policy holds."""
    outputs: tuple[CondOutput, ...]
    """Of the conditioning frames that lie ahead."""
    policy: Json
    """What the policy dumped."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackerState:
    """All that a tracker needs to go on at `next_frame`, on this machine or another.

    About 4 MB an object at 1024 px, whatever the video's length; prompts ahead add 0.8 MB each.

    The file is a safetensors file. Its JSON header lists entries (object, kind, frame, names of
    tensors, scalars); the tensor `logits` of object 3's output on frame 20 is `3.output.20.logits`.
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
    policy: str
    """Name and version of the memory policy."""
    objects: tuple[ObjectState, ...]
    """By ascending `obj_id`."""
    policy_options: Json = field(default_factory=dict)
    """All constants of the memory policy."""

    def options_beside(self, ours: Json) -> list[tuple[str, object, object]]:
        """The memory policy's constants: of each what it is, the state's value, and ours."""
        names = {**ours, **self.policy_options}
        return [
            (f"{name} of the memory policy", self.policy_options.get(name), ours.get(name))
            for name in names
        ]

    def save(self, path: Path) -> None:
        """Write to `path` (safetensors with a JSON header), whole or not at all.

        Raises:
            StorageError: The file cannot be written.
        """
        entries: list[_Entry] = []
        # Rows of a batch share their storage; in the file each tensor stands alone.
        own: dict[str, Tensor] = {}
        for obj in self.objects:
            for kind, frame_idx, tensors, scalars in _parts(obj):
                entry = _Entry(
                    obj_id=obj.obj_id,
                    kind=kind,
                    frame_idx=frame_idx,
                    tensors=tuple(tensors),
                    scalars=scalars,
                )
                entries.append(entry)
                for name, tensor in tensors.items():
                    own[entry.key(name)] = tensor.detach().cpu().clone()
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
            policy=self.policy,
            policy_options=self.policy_options,
            objects=tuple(
                _ObjectHeader(obj_id=obj.obj_id, begins=obj.begins, policy=obj.policy)
                for obj in self.objects
            ),
            entries=tuple(entries),
        )
        data = serialize(own, metadata={_HEADER_KEY: header.model_dump_json()})
        with atomic(path) as file:
            file.write(data)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> "TrackerState":
        """Read what `save` wrote, with its tensors on `device`.

        Raises:
            StateError: The file is missing, damaged, or of another format version.
        """
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                header = _read_header(path, (file.metadata() or {}).get(_HEADER_KEY, ""))
                # Cloned into memory of our own: mapped bytes lie at any alignment, and arithmetic
                # libraries may choose other instructions, and so other last bits, for those.
                tensors = {name: file.get_tensor(name).clone().to(device) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise StateError(f"cannot read the tracker state {path}: {error}") from error
        try:
            objects = tuple(_read_object(obj, header.entries, tensors) for obj in header.objects)
        except KeyError as error:
            raise StateError(f"the tracker state {path} lacks {error}") from error
        return cls(
            model_fingerprint=header.model_fingerprint,
            image_size=header.image_size,
            dtype=header.dtype,
            height=header.height,
            width=header.width,
            num_frames=header.num_frames,
            next_frame=header.next_frame,
            max_cond_frames=header.max_cond_frames,
            policy=header.policy,
            policy_options=header.policy_options,
            objects=objects,
        )


_Kind = Literal["memory", "output"]


def _parts(obj: ObjectState) -> list[tuple[_Kind, int, dict[str, Tensor], dict[str, float]]]:
    """The entries of an object: kind, frame, tensors and scalars of each."""
    parts: list[tuple[_Kind, int, dict[str, Tensor], dict[str, float]]] = []
    for memory in obj.memories:
        tensors = {"obj_ptr": memory.obj_ptr_1c}
        if memory.maskmem is not None:
            tensors["maskmem"] = memory.maskmem
        scalars = {"score": memory.score.item(), "predicted_iou": memory.predicted_iou.item()}
        parts.append(("memory", memory.frame_idx, tensors, scalars))
    for output in obj.outputs:
        scalars = {"score": output.score, "predicted_iou": output.predicted_iou}
        parts.append(("output", output.frame_idx, {"logits": output.logits_11hw}, scalars))
    return parts


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Entry(_Strict):
    obj_id: int
    kind: _Kind
    frame_idx: int
    tensors: tuple[str, ...]
    scalars: dict[str, float]

    def key(self, tensor: str) -> str:
        """The name of one of its tensors in the file."""
        return f"{self.obj_id}.{self.kind}.{self.frame_idx}.{tensor}"


class _ObjectHeader(_Strict):
    obj_id: int
    begins: int
    policy: dict[str, Any]


class _Header(_Strict):
    version: Literal[2]
    model_fingerprint: str
    image_size: int
    dtype: str
    height: int
    width: int
    num_frames: int | None
    next_frame: int
    max_cond_frames: int
    policy: str
    policy_options: dict[str, Any] = Field(default_factory=dict)
    objects: tuple[_ObjectHeader, ...]
    entries: tuple[_Entry, ...]


class _AnyVersion(BaseModel):
    version: int


def _read_header(path: Path, text: str) -> _Header:
    try:
        version = _AnyVersion.model_validate_json(text).version
        if version != FORMAT_VERSION:
            raise StateError(
                f"{path} is a tracker state of format version {version}; this Longtake reads "
                f"version {FORMAT_VERSION}: delete the file to track its chunk again"
            )
        return _Header.model_validate_json(text)
    except ValidationError as error:
        raise StateError(
            f"{path} is not a tracker state of format version {FORMAT_VERSION}; delete it to "
            "track its chunk again"
        ) from error


def _read_object(
    header: _ObjectHeader, entries: tuple[_Entry, ...], tensors: Mapping[str, Tensor]
) -> ObjectState:
    memories = []
    outputs = []
    for entry in entries:
        if entry.obj_id != header.obj_id:
            continue
        parts = {name: tensors[entry.key(name)] for name in entry.tensors}
        if entry.kind == "memory":
            device = parts["obj_ptr"].device
            memories.append(
                FrameMemory(
                    frame_idx=entry.frame_idx,
                    maskmem=parts.get("maskmem"),
                    obj_ptr_1c=parts["obj_ptr"],
                    score=torch.tensor(entry.scalars["score"], device=device),
                    predicted_iou=torch.tensor(entry.scalars["predicted_iou"], device=device),
                )
            )
        else:
            outputs.append(
                CondOutput(
                    frame_idx=entry.frame_idx,
                    logits_11hw=parts["logits"],
                    score=entry.scalars["score"],
                    predicted_iou=entry.scalars["predicted_iou"],
                )
            )
    return ObjectState(
        obj_id=header.obj_id,
        begins=header.begins,
        memories=tuple(memories),
        outputs=tuple(outputs),
        policy=header.policy,
    )
