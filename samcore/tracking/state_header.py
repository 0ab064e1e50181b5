"""What a state's file says of itself: its JSON header, held against the tensors that are there.

Imports no torch: what is wrong with a file should not take seconds to say.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from samcore.errors import StateError
from samcore.identities.held import Identities
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.tracking.state_file import (
    Refused,
    StateFile,
    check_plain,
    open_state_file,
    parse_json,
    shown,
)

FORMAT_VERSION: Literal[3] = 3
"""Of states with identities; others are of version 2, as they always were."""
HEADER_KEY = "longtake.tracker_state"

Kind = Literal["memory", "output", "prompted", "view", "ahead"]
"""`prompted` and `view` are keepsakes; `ahead` is a prompt that holds from its frame on."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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


class StateEntry(_Strict):
    """One frame of one object."""

    obj_id: int
    kind: Kind
    frame_idx: int
    tensors: tuple[str, ...]
    scalars: dict[str, float]

    def key(self, tensor: str) -> str:
        """The name of one of its tensors in the file."""
        return f"{self.obj_id}.{self.kind}.{self.frame_idx}.{tensor}"


class ObjectHeader(_Strict):
    """One object."""

    obj_id: int
    begins: int
    policy: dict[str, Any]
    absent: int = Field(default=0, ge=0)
    retired_at: int | None = Field(default=None, ge=0)
    base: dict[str, Any] | None = None
    only_if_used = frozenset({"absent", "retired_at", "base"})


class StateHeader(_Strict):
    """A tracker's state but for its tensors; the fields are those of `TrackerState`."""

    version: Literal[2, 3]
    model_fingerprint: str
    image_size: int = Field(ge=1)
    dtype: str
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    num_frames: int | None = Field(ge=1)
    next_frame: int = Field(ge=0)
    max_cond_frames: int = Field(ge=1)
    policy: str
    policy_options: dict[str, Any] = Field(default_factory=dict)
    objects: tuple[ObjectHeader, ...]
    entries: tuple[StateEntry, ...]
    retirement: dict[str, Any] = {}
    given_up: tuple[int, ...] = ()
    approximations: dict[str, int] = {}
    identities: Identities | None = None
    only_if_used = frozenset({"retirement", "given_up", "approximations", "identities"})
    sha256: str | None = None
    """Digest of the rest and of all tensors; None in files of versions that wrote none."""


def read_header(path: Path, limits: Limits = DEFAULT_LIMITS) -> StateHeader:
    """What a file says of itself, held against the tensors that it has; these are not read.

    Raises:
        StateError: The file is missing, damaged, too large, or of another format version.
    """
    with open_state_file(path, HEADER_KEY, limits) as file:
        return parse_header(file, limits)


class Made(Protocol):
    """How a state was made: a `TrackerState`, or the header of its file."""

    @property
    def model_fingerprint(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def policy(self) -> str: ...


def check_made_for(
    state: Made,
    *,
    fingerprint: str | None = None,
    image_size: int | None = None,
    dtype: str | None = None,
    policy: str,
) -> None:
    """Refuse a state whose memories would mean nothing here.

    Args:
        state: What is to be begun with.
        fingerprint, image_size: Of the model; None if they are not known yet.
        dtype: Arithmetic of the model; None if it is not known yet.
        policy: Name and version of the memory policy.

    Raises:
        StateError: It was made with another one; which, is said.
    """
    for name, theirs, ours in (
        # The size first: it is in the fingerprint, too, which says less.
        ("image size", state.image_size, image_size),
        ("model", state.model_fingerprint, fingerprint),
        ("precision", state.dtype, dtype),
        ("memory policy", state.policy, policy),
    ):
        if ours is not None and theirs != ours:
            raise StateError(
                f"the warm start was made with another {name}: {theirs}, here it is {ours}; make "
                "it anew by `longtake memory` with the options of this run, or change these"
            )


def parse_header(file: StateFile, limits: Limits = DEFAULT_LIMITS) -> StateHeader:
    """The same of an open file.

    Raises:
        Refused: It is no state.
    """
    header = _parse(file.text)
    _check_entries(header, file)
    if header.version != (2 if header.identities is None else 3):
        raise Refused(f"a state of format version {header.version} does not have what it has")
    if header.identities is not None:
        _check_ledger(header, header.identities)
        _check_held(header, header.identities, limits)
    return header


def _parse(text: str) -> StateHeader:
    content = parse_json(text, "what it says of itself")
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version not in (2, 3):
        raise Refused(f"it is of format version {version}; this Longtake reads version 2 and 3")
    check_plain(content, "what it says of itself")
    try:
        return StateHeader.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = shown(".".join(map(str, first["loc"])))
        raise Refused(
            f"it is no tracker state of format version 2 or 3: {where}: {first['msg'].lower()}"
        ) from error


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What one kind of entry consists of."""

    tensors: dict[str, Callable[[tuple[int, ...]], bool]]
    """Whether a shape is right, by name."""
    optional: frozenset[str] = frozenset()
    scalars: frozenset[str] = frozenset({"score", "predicted_iou"})


def _is_one_row(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] == 1


def _is_one_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[0] == 1


def _is_one_memory(shape: tuple[int, ...]) -> bool:
    """A map, or a list of tokens, as EdgeTAM has it."""
    return len(shape) in (3, 4) and shape[0] == 1


_KEEPSAKE = _Wanted({"obj_ptr": _is_one_row, "maskmem": _is_one_memory})
_WANTED: dict[Kind, _Wanted] = {
    "prompted": _KEEPSAKE,
    "view": _KEEPSAKE,
    "memory": _Wanted({"obj_ptr": _is_one_row, "maskmem": _is_one_memory}, frozenset({"maskmem"})),
    "ahead": _KEEPSAKE,
    "output": _Wanted({"logits": lambda shape: _is_one_map(shape) and shape[1] == 1}),
}


def _check_entries(header: StateHeader, file: StateFile) -> None:
    """Hold what the header lists against the tensors that there are.

    Raises:
        Refused: They do not fit, or a frame cannot be.
    """
    objects = {obj.obj_id for obj in header.objects}
    if len(objects) < len(header.objects):
        raise Refused("it has an object twice")
    stop = header.num_frames or math.inf
    known: set[str] = set()
    shapes: dict[str, tuple[int, ...]] = {}
    for entry in header.entries:
        wanted = _WANTED[entry.kind]
        where = f"{entry.kind} of object {entry.obj_id} on frame {entry.frame_idx}"
        names = set(entry.tensors)
        if entry.obj_id not in objects:
            raise Refused(f"it has no object for the {where}")
        if entry.kind in ("output", "ahead") and not header.next_frame <= entry.frame_idx < stop:
            raise Refused(f"the {where} does not lie ahead, from {header.next_frame} to {stop}")
        if (
            len(names) < len(entry.tensors)
            or not set(wanted.tensors) - wanted.optional <= names <= set(wanted.tensors)
            or set(entry.scalars) != wanted.scalars
        ):
            raise Refused(f"the {where} has not the parts of one")
        for name in entry.tensors:
            key = entry.key(name)
            if key in known or key not in file.places:
                wrong = "there twice" if key in known else "missing"
                raise Refused(f"tensor {shown(key)} is {wrong}")
            known.add(key)
            shape = file.places[key].shape
            if not wanted.tensors[name](shape) or shapes.setdefault(name, shape) != shape:
                raise Refused(f"tensor {shown(key)} has another shape than such a one: {shape}")
    if len(known) < len(file.places):
        (other, *_) = file.places.keys() - known
        raise Refused(f"it has a tensor that belongs to nothing, {shown(other)}")


def _check_ledger(header: StateHeader, identities: Identities) -> None:
    """Hold the ledger against the objects that there are.

    Raises:
        Refused: They do not fit.
    """
    ledger = identities.ledger
    ids = [track.obj_id for track in ledger.tracks]
    if ids != sorted(set(ids)) or any(obj_id >= ledger.next_id for obj_id in ids):
        raise Refused("its ledger has ids that do not ascend, or that are still to come")
    known = {obj.obj_id for obj in header.objects} | set(header.given_up)
    for track in ledger.tracks:
        frames = (track.first_frame, track.confirmed_at or 0, track.last_occluded or 0)
        if track.obj_id not in known:
            raise Refused(f"its ledger has object {track.obj_id}, of which there is nothing else")
        if max(frames) >= header.next_frame:
            raise Refused(f"its ledger has object {track.obj_id} on a frame that is to come")
        others = [other for other, _ in track.shared]
        if others != sorted(set(others)) or any(count < 1 for _, count in track.shared):
            raise Refused(f"its ledger counts wrongly what object {track.obj_id} shares")


def _check_held(header: StateHeader, identities: Identities, limits: Limits) -> None:
    """Hold the rows that are not final against the video and its frames.

    Raises:
        Refused: They do not fit, or a mask is damaged.
    """
    held = identities.held
    if not held:
        return
    if header.height * header.width > limits.max_pixels:
        raise Refused("the pictures that it is of are larger than any that are taken")
    first = header.next_frame - len(held)
    frames = [frame.frame_idx for frame in held]
    if frames != list(range(first, header.next_frame)) or len(held) > identities.config.hot_start:
        raise Refused(f"the rows that it holds are not of the frames before {header.next_frame}")
    # Late: of most states nothing is held.
    from samcore.masks.rle import run_lengths

    for frame in held:
        ids = [row.obj_id for row in frame.rows]
        gone = (*frame.retired, *frame.given_up)
        if ids != sorted(set(ids)) or len({*ids, *gone}) < len(ids) + len(gone):
            raise Refused(f"it holds an object twice on frame {frame.frame_idx}")
        for row in frame.rows:
            try:
                run_lengths(row.rle(header.height, header.width))
            except ValueError as error:
                raise Refused(
                    f"the mask that it holds of object {row.obj_id} on frame {frame.frame_idx} is "
                    "damaged"
                ) from error
