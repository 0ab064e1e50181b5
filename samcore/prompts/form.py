"""Prompts as Prefect's form lets a person type them; what comes out is a `PromptFile`.

The form shows a tab for each shape that a prompt can have, since each is a model of its own with a
`kind`. What the README documents as the prompts file is taken, too: its prompts have no `shape`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)

from samcore.errors import InputError
from samcore.prompts.file import (
    MAX_LABEL_CHARS,
    MAX_NAME_CHARS,
    MAX_OBJECT_ID,
    PromptFile,
    parse_prompts,
    shown,
)

_M = TypeVar("_M", bound=BaseModel)


def name_tabs(schema: dict[str, Any]) -> None:
    """Name the form's tabs of optional fields by what a person chooses, in place of the type."""
    for field in schema["properties"].values():
        for choice in field.get("anyOf", ()):
            if "$ref" not in choice:
                choice.setdefault("title", "default" if choice["type"] == "null" else "set")


def _config(title: str) -> ConfigDict:
    return ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, title=title, json_schema_extra=name_tabs
    )


_Frame = Annotated[
    int, Field(ge=0, title="Frame", description="Counted from 0 at the start of the video.")
]
_Time = Annotated[
    float | None,
    Field(
        ge=0,
        title="Time",
        description="Seconds from the start; if it is given, the frame does not count.",
    ),
]


class TypedBox(BaseModel):
    """A box around the object, in pixels of the video as displayed."""

    model_config = _config("Box")

    kind: Literal["box"] = Field(default="box", title="Kind", description="A box.")
    left: float = Field(title="Left", description="Pixels from the left of the picture.")
    top: float = Field(title="Top", description="Pixels from the top of the picture.")
    right: float = Field(title="Right", description="Pixels from the left of the picture.")
    bottom: float = Field(title="Bottom", description="Pixels from the top of the picture.")

    def entry(self) -> dict[str, Any]:
        """As a prompts file has it."""
        return {"box": [self.left, self.top, self.right, self.bottom]}


class TypedPoint(BaseModel):
    """A click on the object or beside it, in pixels of the video as displayed."""

    model_config = _config("Point")

    kind: Literal["point"] = Field(default="point", title="Kind", description="A click.")
    x: float = Field(title="x", description="Pixels from the left of the picture.")
    y: float = Field(title="y", description="Pixels from the top of the picture.")
    on_object: bool = Field(
        default=True,
        title="On the object",
        description="Off: this point is beside the object. All points of a frame go together.",
    )

    def entry(self) -> dict[str, Any]:
        """As a prompts file has it."""
        return {"points": [[self.x, self.y, int(self.on_object)]]}


class TypedMask(BaseModel):
    """The object's mask."""

    model_config = _config("Mask")

    kind: Literal["mask"] = Field(default="mask", title="Kind", description="A mask.")
    file: str = Field(
        min_length=1,
        max_length=MAX_NAME_CHARS,
        title="File",
        description="A PNG of the video's size; what is not black is the object.",
    )
    index: int | None = Field(
        default=None,
        ge=0,
        le=2**16 - 1,
        title="Index",
        description="Which one of the objects in a PNG with an index for each; the default is the "
        "one with the object's number.",
    )

    def entry(self) -> dict[str, Any]:
        """As a prompts file has it."""
        return {"mask": self.file if self.index is None else f"{self.file}#{self.index}"}


def _begin_with_box(schema: dict[str, Any]) -> None:
    name_tabs(schema)
    # A prompt as in a file has no shape; that one is there is checked when the form is read.
    schema["required"].remove("shape")


class TypedPrompt(BaseModel):
    """What is said about an object on one frame."""

    # Not forbidden here: a prompts file's own keys, which stand in place of the shape.
    model_config = ConfigDict(
        frozen=True, allow_inf_nan=False, title="Prompt", json_schema_extra=_begin_with_box
    )

    frame: _Frame = 0
    time: _Time = None
    shape: TypedBox | TypedPoint | TypedMask = Field(
        title="Where", description="What shows the object on that frame."
    )
    from_here: bool = Field(
        default=False,
        title="From here on",
        description="Hold from this frame on; masks of earlier frames are as without this prompt.",
    )

    def entry(self) -> dict[str, Any]:
        """As a prompts file has it."""
        when = {"frame": self.frame} if self.time is None else {"time": self.time}
        on = {"from_here": True} if self.from_here else {}
        return {**when, **self.shape.entry(), **on}


class TypedObject(BaseModel):
    """One object and what is said about it."""

    model_config = _config("Object")

    id: int = Field(
        default=1, ge=0, le=MAX_OBJECT_ID, title="Number", description="Its id in the results."
    )
    label: str | None = Field(
        default=None, max_length=MAX_LABEL_CHARS, title="Label", description="A name for people."
    )
    prompts: list[TypedPrompt] = Field(
        min_length=1,
        title="Prompts",
        description="Where the object is: one box often is enough; more of them correct it.",
    )


class TypedMasks(BaseModel):
    """The masks of all objects on one frame, in one file."""

    model_config = _config("Masks")

    frame: _Frame = 0
    time: _Time = None
    mask: str = Field(
        min_length=1,
        max_length=MAX_NAME_CHARS,
        title="File",
        description="A PNG of the video's size. Each index is an object's number; 0 is the ground, "
        "and 255 is void, nobody's.",
    )


class TypedObjects(BaseModel):
    """The objects, typed into the form."""

    model_config = _config("typed in")

    # An empty list is what the form sends if another tab was meant.
    objects: list[TypedObject] = Field(
        default=[], title="Objects", description="Each object once, with a number of its own."
    )
    masks: list[TypedMasks] = Field(
        default=[],
        title="Files of several masks",
        description="Files that have an index for each of their objects.",
    )


_Shape = TypedBox | TypedPoint | TypedMask
_SHAPES: dict[str, type[_Shape]] = {"box": TypedBox, "point": TypedPoint, "mask": TypedMask}


def _read(value: object) -> object:
    """Turn what a form, a program or a file's JSON gives into a `PromptFile`.

    Raises:
        InputError: One line that names the object, the field and the limit.
    """
    if isinstance(value, str) and not value.strip():
        raise InputError("wanted objects, or the name of a file, got an empty name")
    if value is None or isinstance(value, str | PromptFile):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"wanted objects, or the name of a file, got {shown(value)}")
    given = {key: part for key, part in value.items() if (key, part) != ("masks", [])}
    if given == {"objects": []}:
        return None
    return parse_prompts({key: _as_in_a_file(key, part) for key, part in given.items()})


def _as_in_a_file(key: str, part: Any) -> Any:
    """What was typed as a prompts file has it; anything else as it is."""
    if not isinstance(part, list | tuple):
        return part
    if key == "objects":
        return [_object(item) if isinstance(item, Mapping) else item for item in part]
    if key == "masks":
        return [_masks(item) if isinstance(item, Mapping) else item for item in part]
    return part


def _masks(item: Mapping[str, Any]) -> dict[str, Any]:
    """Without the frame where there is a time, as the form sends both, and without an empty one."""
    empty = {"time"} if item.get("time") is None else {"frame"}
    return {key: value for key, value in item.items() if key not in empty}


def _object(item: Mapping[str, Any]) -> dict[str, Any]:
    prompts = item.get("prompts")
    if not isinstance(prompts, list | tuple):
        return dict(item)
    where = f"object {item.get('id')}"
    entries = [_entry(raw, f"{where}, prompts[{n}]") for n, raw in enumerate(prompts)]
    return {**item, "prompts": entries}


def _entry(raw: Any, where: str) -> Any:
    """One prompt as a prompts file has it; what is no prompt of the form stays as it is."""
    if not isinstance(raw, Mapping) or "shape" not in raw:
        return raw
    unknown = sorted(set(raw) - set(TypedPrompt.model_fields))
    if unknown:
        raise InputError(f"{where}: unknown key {shown(unknown[0])} beside shape")
    shape = raw["shape"]
    kind = shape.get("kind") if isinstance(shape, Mapping) else None
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise InputError(f"{where}, shape.kind: wanted box, point or mask, got {shown(kind)}")
    model = _checked(_SHAPES[kind], shape, f"{where}, {kind}")
    return _checked(TypedPrompt, {**raw, "shape": model}, where).entry()


def _checked(model: type[_M], raw: object, where: str) -> _M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        got = "" if first["type"] == "missing" else f", got {shown(first['input'])}"
        raise InputError(f"{where}, {field}: {first['msg'].lower()}{got}") from error


def _write(value: object) -> object:
    """The short form, as in a file; it fits the form's schema, too."""
    return value.model_dump(exclude_defaults=True) if isinstance(value, PromptFile) else value


Prompts = Annotated[
    PromptFile | str | None,
    BeforeValidator(
        _read, json_schema_input_type=TypedObjects | Annotated[str, Field(title="a file")] | None
    ),
    PlainSerializer(_write),
]
"""A request's prompts: validated they are a `PromptFile` or a file's name; the form's schema has
the typed ones."""
