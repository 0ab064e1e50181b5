"""What a person does to the prompts of a video, one thing at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from samcore.errors import InputError
from samcore.prompts.file import (
    MAX_LABEL_CHARS,
    MAX_OBJECT_ID,
    MaskRle,
    ObjectPrompts,
    PromptEntry,
)

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_Id = Annotated[int, Field(ge=0, le=MAX_OBJECT_ID)]
_Label = Annotated[str, Field(max_length=MAX_LABEL_CHARS)]


class DraftObject(ObjectPrompts):
    """An object that may have no prompts yet."""

    prompts: Annotated[tuple[PromptEntry, ...], Field(strict=False)] = ()
    """At most one for each frame, by ascending frame."""

    def on(self, frame_idx: int) -> PromptEntry | None:
        """What is said of it on a frame."""
        return next((entry for entry in self.prompts if entry.frame == frame_idx), None)

    def with_entry(self, frame_idx: int, entry: PromptEntry | None) -> "DraftObject":
        """The same with another entry on this frame; None for nothing."""
        others = [one for one in self.prompts if one.frame != frame_idx]
        kept = [*others, entry] if entry is not None else others
        kept.sort(key=lambda one: one.frame or 0)
        return self.model_copy(update={"prompts": tuple(kept)})


Objects = Mapping[int, DraftObject]


class _Edit(BaseModel):
    model_config = _STRICT


class _OfObject(_Edit, ABC):
    id: _Id | None = None
    """The object; None is a new one."""
    frame: int = Field(ge=0)
    from_here: bool = False
    """Whether what is newly said of the object on this frame holds from there on only."""

    @abstractmethod
    def changed(self, entry: PromptEntry | None) -> PromptEntry | None:
        """What is said on the frame afterwards."""

    def apply(self, item: DraftObject) -> DraftObject:
        """The object afterwards."""
        before = item.on(self.frame)
        entry = self.changed(before)
        if entry is not None:
            from_here = self.from_here if before is None else before.from_here
            entry = _entry(entry, from_here=from_here)
        return item.with_entry(self.frame, entry)


class AddPoint(_OfObject):
    """A click on the object, or off it."""

    kind: Literal["point"]
    x: float
    y: float
    label: Literal[0, 1] = 1

    def changed(self, entry: PromptEntry | None) -> PromptEntry:
        old = entry or PromptEntry.model_construct(frame=self.frame)
        return _entry(old, points=(*old.points, (self.x, self.y, self.label)))


class RemovePoint(_OfObject):
    """Take a click back."""

    kind: Literal["remove_point"]
    index: int = Field(ge=0)

    def changed(self, entry: PromptEntry | None) -> PromptEntry | None:
        if entry is None or self.index >= len(entry.points):
            raise InputError(f"object {self.id} has no click {self.index} on frame {self.frame}")
        points = (*entry.points[: self.index], *entry.points[self.index + 1 :])
        if not points and entry.box is None and entry.mask is None:
            return None
        return _entry(entry, points=points)


class SetBox(_OfObject):
    """A box around the object, in the place of another one or of a mask."""

    kind: Literal["box"]
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the video."""

    def changed(self, entry: PromptEntry | None) -> PromptEntry:
        old = entry or PromptEntry.model_construct(frame=self.frame)
        return _entry(old, box=self.box, mask=None)


class SetMask(_OfObject):
    """The object's mask, in the place of all else on that frame."""

    kind: Literal["mask"]
    mask: MaskRle

    def changed(self, entry: PromptEntry | None) -> PromptEntry:
        return PromptEntry(frame=self.frame, time=None, mask=self.mask)


class Clear(_OfObject):
    """Nothing is said of the object on that frame any more."""

    kind: Literal["clear"]

    def changed(self, entry: PromptEntry | None) -> None:
        return None


class AddObject(_Edit):
    """An object without prompts."""

    kind: Literal["add_object"]
    label: _Label | None = None


class Rename(_Edit):
    """Another label."""

    kind: Literal["rename"]
    id: _Id
    label: _Label | None

    def apply(self, item: DraftObject) -> DraftObject:
        """The object afterwards."""
        return DraftObject(**{**dict(item), "label": self.label or None})


class RemoveObject(_Edit):
    """The object and its prompts are gone."""

    kind: Literal["remove_object"]
    id: _Id


class Import(_Edit):
    """Objects with prompts, in the place of those with the same numbers."""

    kind: Literal["import"]
    objects: tuple[DraftObject, ...]

    @field_validator("objects")
    @classmethod
    def _are_by_frame(cls, objects: tuple[DraftObject, ...]) -> tuple[DraftObject, ...]:
        for item in objects:
            frames = [entry.frame for entry in item.prompts]
            if None in frames or len(set(frames)) < len(frames):
                raise ValueError(f"object {item.id}: wanted one prompt a frame, by frame number")
        return objects


Edit = Annotated[
    AddPoint | RemovePoint | SetBox | SetMask | Clear | AddObject | Rename | RemoveObject | Import,
    Field(discriminator="kind"),
]
EDIT: TypeAdapter[Edit] = TypeAdapter(Edit)
"""Reads an edit from JSON."""


class Change(BaseModel):
    """What an edit did: those objects that it changed, before and after; None is absent."""

    model_config = _STRICT

    before: dict[int, DraftObject | None]
    after: dict[int, DraftObject | None]


def change_of(edit: Edit, objects: Objects, *, new_id: int) -> Change:
    """What an edit does to these objects.

    Args:
        edit: Any.
        objects: As they are, by id.
        new_id: The number of an object that the edit adds.

    Raises:
        InputError: There is no such object, or its prompts would say nothing that makes sense.
    """
    after: dict[int, DraftObject | None]
    if isinstance(edit, Import):
        after = {item.id: item for item in edit.objects}
    elif isinstance(edit, AddObject):
        after = {new_id: _new(new_id, edit.label)}
    elif isinstance(edit, RemoveObject):
        after = {_there(objects, edit.id).id: None}
    elif edit.id is None:
        after = {new_id: edit.apply(_new(new_id, None))}
    else:
        after = {edit.id: edit.apply(_there(objects, edit.id))}
    return Change(before={obj_id: objects.get(obj_id) for obj_id in after}, after=after)


def _new(obj_id: int, label: str | None) -> DraftObject:
    return DraftObject(id=obj_id, label=label or None)


def _there(objects: Objects, obj_id: int) -> DraftObject:
    if obj_id not in objects:
        raise InputError(f"there is no object {obj_id}; there are {sorted(objects)}")
    return objects[obj_id]


def _entry(old: PromptEntry, **changes: object) -> PromptEntry:
    """The entry with changes, checked as a whole."""
    return PromptEntry.model_validate({**dict(old), **changes})
