"""The tracker's state as a file: everything of the past that the future can see."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from samcore.disk.atomic import atomic
from samcore.errors import StateError
from samcore.identities.held import Identities
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.tracking.keepsakes import Keepsakes
from samcore.tracking.memory.policy import Json
from samcore.tracking.memory.store import FrameMemory
from samcore.tracking.state_file import Refused, open_state_file
from samcore.tracking.state_header import (
    FORMAT_VERSION,
    HEADER_KEY,
    Kind,
    ObjectHeader,
    StateEntry,
    StateHeader,
    parse_header,
)


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
    ahead: tuple[FrameMemory, ...] = ()
    """Of those conditioning frames in `outputs` that hold from their frame on."""
    base: Json | None = None
    """What its policy without such frames dumped; None as long as there is none behind."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackerState:
    """All that a tracker needs to go on at `next_frame`, on this machine or another.

    About 4 MB an object at 1024 px, whatever the video's length; prompts ahead add 0.8 MB each.
    Where objects retire it is 2 MB more, and 2 MB for one that is retired.

    The file is a safetensors file. Its JSON header lists entries (object, kind, frame, names of
    tensors, scalars); the tensor `logits` of object 3's output on frame 20 is `3.output.20.logits`.
    The header has the digest of all there is, so that a flipped bit is found wherever it is.
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
    approximations: dict[str, int] = field(default_factory=dict)
    """`TrackSettings.approximations`; empty for exact tracking."""

    identities: Identities | None = None
    """The ledger of detected objects and the rows that are not final; None where nothing is
    detected."""

    def check_goes_on_as(self, ours: "TrackerState") -> None:
        """Hold a state against a tracker that is to go on with it.

        Args:
            ours: The state of that tracker, which has no objects yet.

        Raises:
            StateError: This one was made by another model, input size, precision or bound.
        """
        for name, theirs, here in (
            ("model", self.model_fingerprint, ours.model_fingerprint),
            ("image size", self.image_size, ours.image_size),
            ("precision", self.dtype, ours.dtype),
            ("max_cond_frames", self.max_cond_frames, ours.max_cond_frames),
            ("memory policy", self.policy, ours.policy),
            *_options_beside("memory policy", self.policy_options, ours.policy_options),
            *_options_beside("retirement", self.retirement, ours.retirement),
            *_options_beside("association", self._association, ours._association),
            *_options_beside("approximation", self.approximations, ours.approximations),
        ):
            if theirs != here:
                raise StateError(
                    f"this state was made with another {name}: {theirs}, here it is {here}; "
                    "load the same model with the same settings, or track from the start"
                )

    @property
    def _association(self) -> Json:
        """All constants of association; empty where nothing is detected."""
        return {} if self.identities is None else self.identities.config.model_dump(mode="json")

    def save(self, path: Path) -> None:
        """Write to `path` (safetensors with a JSON header), whole or not at all.

        Raises:
            StorageError: The file cannot be written.
        """
        entries: list[StateEntry] = []
        # Rows of a batch share their storage; in the file each tensor stands alone.
        own: dict[str, Tensor] = {}
        for obj in self.objects:
            for kind, frame_idx, tensors, scalars in _parts(obj):
                entry = StateEntry(
                    obj_id=obj.obj_id,
                    kind=kind,
                    frame_idx=frame_idx,
                    tensors=tuple(tensors),
                    scalars=scalars,
                )
                entries.append(entry)
                for name, tensor in tensors.items():
                    own[entry.key(name)] = tensor.detach().cpu().clone()
        header = StateHeader(
            version=2 if self.identities is None else FORMAT_VERSION,
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
                ObjectHeader(
                    obj_id=obj.obj_id,
                    begins=obj.begins,
                    policy=obj.policy,
                    absent=obj.keepsakes.absent,
                    retired_at=obj.retired_at,
                    base=obj.base,
                )
                for obj in self.objects
            ),
            entries=tuple(entries),
            retirement=self.retirement,
            given_up=self.given_up,
            approximations=self.approximations,
            identities=self.identities,
        )
        header = header.model_copy(update={"sha256": _digest(header, own)})
        data = serialize(own, metadata={HEADER_KEY: header.model_dump_json()})
        with atomic(path) as file:
            file.write(data)

    @classmethod
    def load(
        cls, path: Path, device: torch.device | str = "cpu", *, limits: Limits = DEFAULT_LIMITS
    ) -> "TrackerState":
        """Read what `save` wrote, with its tensors on `device`.

        The file may be of a stranger: all that it says is checked before anything is allocated for
        a tensor, see `state_file`.

        Raises:
            StateError: The file is missing, damaged, too large, or of another format version.
        """
        with open_state_file(path, HEADER_KEY, limits) as file:
            header = parse_header(file, limits)
            own = {name: file.read(name) for name in file.places}
            if header.sha256 is not None and header.sha256 != _digest(header, own):
                raise Refused("it is damaged: its content does not have the digest that it names")
        tensors = {name: tensor.to(device) for name, tensor in own.items()}
        entries: dict[int, list[StateEntry]] = defaultdict(list)
        for entry in header.entries:
            entries[entry.obj_id].append(entry)
        objects = tuple(_read_object(obj, entries[obj.obj_id], tensors) for obj in header.objects)
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
            approximations=header.approximations,
            identities=header.identities,
        )


def _options_beside(
    what: str, theirs: Mapping[str, object], ours: Mapping[str, object]
) -> Iterator[tuple[str, object, object]]:
    """The constants of some rules: of each what it is, the state's value, and ours."""
    for name in {**ours, **theirs}:
        yield f"{name} of the {what}", theirs.get(name), ours.get(name)


def _parts(obj: ObjectState) -> list[tuple[Kind, int, dict[str, Tensor], dict[str, float]]]:
    """The entries of an object: kind, frame, tensors and scalars of each."""
    parts: list[tuple[Kind, int, dict[str, Tensor], dict[str, float]]] = []
    groups: tuple[tuple[Kind, tuple[FrameMemory, ...]], ...] = (
        ("memory", obj.memories),
        ("prompted", obj.keepsakes.prompted),
        ("view", obj.keepsakes.views),
        ("ahead", obj.ahead),
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


def _digest(header: StateHeader, tensors: Mapping[str, Tensor]) -> str:
    """Digest of a state: what its header says but for the digest, and its tensors, on the CPU."""
    digest = hashlib.sha256(header.model_dump_json(exclude={"sha256"}).encode())
    for entry in header.entries:
        for name in entry.tensors:
            tensor = tensors[entry.key(name)].contiguous()
            digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_object(
    header: ObjectHeader, entries: Sequence[StateEntry], tensors: Mapping[str, Tensor]
) -> ObjectState:
    memories: dict[str, list[FrameMemory]] = {
        kind: [] for kind in ("memory", "prompted", "view", "ahead")
    }
    outputs = []
    for entry in entries:
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
        ahead=tuple(memories["ahead"]),
        base=header.base,
    )
