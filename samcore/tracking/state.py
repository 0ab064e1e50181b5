"""The tracker's state as a file: everything of the past that the future can see."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from samcore.disk.atomic import atomic
from samcore.errors import StateError
from samcore.tracking.keepsakes import Keepsakes
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
    keepsakes: Keepsakes = field(default_factory=Keepsakes)
    """By these it is found again; empty where objects do not retire."""
    retired_at: int | None = None
    """The frame from which on it is only looked for. Its keepsakes are then not in `memories`."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackerState:
    """All that a tracker needs to go on at `next_frame`, on this machine or another.

    About 4 MB an object at 1024 px, whatever the video's length; prompts ahead add 0.8 MB each. With
    retirement it is 2 MB more, and 2 MB for a retired object.

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
    retirement: Json = field(default_factory=dict)
    """All constants of `RetirementRules`; empty where objects do not retire."""
    given_up: tuple[int, ...] = ()
    """Objects that are not looked for any more, ascending: of them there are only these numbers."""

    def options_beside(self, policy: Json, retirement: Json) -> list[tuple[str, object, object]]:
        """The constants of all rules: of each what it is, the state's value, and ours."""
        return [
            (f"{name} of the {what}", theirs.get(name), ours.get(name))
            for what, theirs, ours in (
                ("memory policy", self.policy_options, policy),
                ("retirement", self.retirement, retirement),
            )
            for name in {**ours, **theirs}
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
                _ObjectHeader(
                    obj_id=obj.obj_id,
                    begins=obj.begins,
                    policy=obj.policy,
                    absent=obj.keepsakes.absent,
                    retired_at=obj.retired_at,
                )
                for obj in self.objects
            ),
            entries=tuple(entries),
            retirement=self.retirement,
            given_up=self.given_up,
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
            retirement=header.retirement,
            given_up=header.given_up,
        )


_Kind = Literal["memory", "output", "prompted", "view"]
"""The last two are keepsakes."""


def _parts(obj: ObjectState) -> list[tuple[_Kind, int, dict[str, Tensor], dict[str, float]]]:
    """The entries of an object: kind, frame, tensors and scalars of each."""
    parts: list[tuple[_Kind, int, dict[str, Tensor], dict[str, float]]] = []
    groups: tuple[tuple[_Kind, tuple[FrameMemory, ...]], ...] = (
        ("memory", obj.memories),
        ("prompted", obj.keepsakes.prompted),
        ("view", obj.keepsakes.views),
    )
    for kind, memories in groups:
        for memory in memories:
            tensors = {"obj_ptr": memory.obj_ptr_1c}
            if memory.maskmem is not None:
                tensors["maskmem"] = memory.maskmem
            scalars = {"score": memory.score.item(), "predicted_iou": memory.predicted_iou.item()}
            parts.append((kind, memory.frame_idx, tensors, scalars))
    for output in obj.outputs:
        scalars = {"score": output.score, "predicted_iou": output.predicted_iou}
        parts.append(("output", output.frame_idx, {"logits": output.logits_11hw}, scalars))
    return parts


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    only_if_used: ClassVar[frozenset[str]] = frozenset()
    """Fields that files have only where they are not the default: others are as they always were.
    """

    @model_serializer(mode="wrap")
    def _without_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {
            name: value
            for name, value in serialize(self).items()
            if name not in self.only_if_used
            or getattr(self, name) != type(self).model_fields[name].default
        }


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
    absent: int = 0
    retired_at: int | None = None
    only_if_used = frozenset({"absent", "retired_at"})


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
    retirement: dict[str, Any] = {}
    given_up: tuple[int, ...] = ()
    only_if_used = frozenset({"retirement", "given_up"})


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
    memories: dict[str, list[FrameMemory]] = {"memory": [], "prompted": [], "view": []}
    outputs = []
    for entry in entries:
        if entry.obj_id != header.obj_id:
            continue
        parts = {name: tensors[entry.key(name)] for name in entry.tensors}
        if entry.kind in memories:
            device = parts["obj_ptr"].device
            memories[entry.kind].append(
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
        memories=tuple(memories["memory"]),
        outputs=tuple(outputs),
        policy=header.policy,
        keepsakes=Keepsakes(tuple(memories["prompted"]), tuple(memories["view"]), header.absent),
        retired_at=header.retired_at,
    )
