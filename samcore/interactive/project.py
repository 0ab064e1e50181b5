"""The prompts of a video while a person works on them: saved at each change, and undone in order.

FOLDER/
  project.json   all objects, those without prompts too, and what can be undone
  prompts.json   what of it can be tracked, as `--prompts` takes it
  open.lock      held while somebody works on it
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from samcore.disk.atomic import storage_errors
from samcore.disk.files import make_folder, write_atomic
from samcore.disk.locks import locked_if_free
from samcore.errors import InputError, StateError, StorageError
from samcore.interactive.edits import Change, DraftObject, Edit, Import, change_of
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.prompts.file import PromptEntry, PromptFile, check_limits, parse_prompts

PROJECT, PROMPTS, LOCK = "project.json", "prompts.json", "open.lock"
_MOST_UNDONE = 100


class StaleRevision(StateError):
    """The edit was made of another state than the present one."""


class _Saved(BaseModel):
    """What `project.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    source: str
    """The video, for people."""
    revision: int = Field(ge=0)
    """Counts changes."""
    next_id: int = Field(ge=1)
    """The number of the next object."""
    objects: tuple[DraftObject, ...] = ()
    done: tuple[Change, ...] = ()
    """What can be undone, the last one last."""
    undone: tuple[Change, ...] = ()
    """What can be done again, the next one last."""


class Project:
    """The objects and prompts of one video. Safe to use from any thread.

    A change is on the disk before `edit` returns, whatever happens to the process afterwards.
    """

    def __init__(
        self,
        folder: Path,
        *,
        source: str,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Take up what lies in the folder; use `open_project`.

        Raises:
            StorageError: It cannot be read.
        """
        self.folder = folder
        self._limits = limits
        self.on_change: Callable[[Project], None] | None = None
        """Called after each change, by the thread that makes it."""
        self._lock = threading.RLock()
        self._saved = _load(folder, source)
        self._objects = {item.id: item for item in self._saved.objects}

    @property
    def revision(self) -> int:
        """Counts the changes; an edit names the one that it was made of."""
        return self._saved.revision

    @property
    def objects(self) -> tuple[DraftObject, ...]:
        """All objects, by ascending id."""
        return self._saved.objects

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._saved.done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to do again."""
        return bool(self._saved.undone)

    @property
    def prompts_path(self) -> Path:
        """The prompts file."""
        return self.folder / PROMPTS

    def edit(self, edit: Edit, *, revision: int, check: Callable[[PromptFile], None]) -> int | None:
        """Make a change and save it.

        Args:
            edit: What to do.
            revision: Of the state that the person saw.
            check: Holds what is newly said of objects against the video; raises what is wrong.

        Returns:
            The object that was changed, a new one's number too; None where several were.

        Raises:
            StaleRevision: The prompts have changed since.
            InputError: It cannot be done.
            StorageError: It cannot be saved; nothing has changed.
        """
        with self._lock:
            self._refuse_stale(revision)
            saved = self._saved
            try:
                change = change_of(edit, self._objects, new_id=saved.next_id)
            except ValidationError as error:
                raise InputError(error.errors()[0]["msg"]) from error
            said = PromptFile.model_construct(objects=tuple(_new_in(change)), masks=())
            check_limits(said, self._limits)
            check(said)
            self._take(change.after, done=(*saved.done, change)[-_MOST_UNDONE:], undone=())
            (obj_id, *others) = change.after or (None,)
            return None if others else obj_id

    def undo(self, *, revision: int) -> None:
        """Take the last edit back.

        Raises:
            StaleRevision: The prompts have changed since.
            InputError: There is none.
            StorageError: It cannot be saved; nothing has changed.
        """
        with self._lock:
            self._refuse_stale(revision)
            if not self._saved.done:
                raise InputError("there is nothing to undo")
            *done, change = self._saved.done
            self._take(change.before, done=tuple(done), undone=(*self._saved.undone, change))

    def redo(self, *, revision: int) -> None:
        """Do again what was undone last; raises as `undo`."""
        with self._lock:
            self._refuse_stale(revision)
            if not self._saved.undone:
                raise InputError("there is nothing to do again")
            *undone, change = self._saved.undone
            self._take(change.after, done=(*self._saved.done, change), undone=tuple(undone))

    def as_prompts(self) -> PromptFile | None:
        """What can be tracked: objects of which a box, a mask or a click on them is known. On
        frames where there are only clicks beside an object, nothing is said of it. None if there
        is no such object."""
        ready = []
        for item in self._saved.objects:
            entries = tuple(entry for entry in item.prompts if says_where(entry))
            if entries:
                ready.append(item.model_copy(update={"prompts": entries}))
        return PromptFile.model_construct(objects=tuple(ready), masks=()) if ready else None

    def _refuse_stale(self, revision: int) -> None:
        if revision != self._saved.revision:
            raise StaleRevision(
                f"the prompts have changed: this was made of revision {revision}, the present one "
                f"is {self._saved.revision}"
            )

    def _take(
        self,
        changed: dict[int, DraftObject | None],
        *,
        done: tuple[Change, ...],
        undone: tuple[Change, ...],
    ) -> None:
        before = self._saved, self._objects
        objects = dict(self._objects)
        for obj_id, item in changed.items():
            objects.pop(obj_id, None)
            if item is not None:
                objects[obj_id] = item
        self._objects = dict(sorted(objects.items()))
        self._saved = self._saved.model_copy(
            update={
                "revision": self._saved.revision + 1,
                "next_id": max(self._saved.next_id, *(obj_id + 1 for obj_id in changed)),
                "objects": tuple(self._objects.values()),
                "done": done,
                "undone": undone,
            }
        )
        try:
            self.save()
        except BaseException:
            self._saved, self._objects = before
            raise
        if self.on_change is not None:
            self.on_change(self)

    def save(self) -> None:
        """Write both files.

        Raises:
            StorageError: One of them cannot be written.
        """
        data = self._saved.model_dump_json(exclude_none=True, exclude_defaults=False)
        write_atomic(self.folder / PROJECT, data.encode())
        prompts = self.as_prompts()
        if prompts is None:
            with storage_errors(self.prompts_path, "write"):
                self.prompts_path.unlink(missing_ok=True)
        else:
            said = prompts.model_dump(mode="json", exclude_defaults=True)
            write_atomic(self.prompts_path, json.dumps(said, indent=1).encode() + b"\n")


@contextlib.contextmanager
def open_project(
    folder: Path,
    *,
    source: str,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Project]:
    """Work on the prompts in a folder, which is made if need be; nobody else can meanwhile.

    Raises:
        StateError: Somebody else works on it.
        StorageError: It cannot be read or written.
    """
    make_folder(folder)
    with locked_if_free(folder / LOCK) as free:
        if not free:
            raise StateError(
                f"another `longtake open` has {folder} open: use its window, or end it first"
            )
        project = Project(folder, source=source, limits=limits)
        project.save()
        yield project


def says_where(entry: PromptEntry) -> bool:
    """Whether an object can begin with this, and not only clicks beside it are known."""
    is_on = any(label for _, _, label in entry.points)
    return entry.box is not None or entry.mask is not None or is_on


def _new_in(change: Change) -> Iterator[DraftObject]:
    """The objects that a change leaves, with those prompts that are new."""
    for obj_id, item in change.after.items():
        before = change.before[obj_id]
        old = () if before is None else before.prompts
        if item is not None:
            entries = tuple(entry for entry in item.prompts if entry not in old)
            yield item.model_copy(update={"prompts": entries})


def _load(folder: Path, source: str) -> _Saved:
    path = folder / PROJECT
    with storage_errors(path, "read"):
        data = path.read_bytes() if path.exists() else None
    if data is None:
        return _begin(folder, source)
    try:
        return _Saved.model_validate_json(data)
    except ValidationError as error:
        raise StorageError(
            f"cannot read {path}: damaged, or written by another version of Longtake; move it "
            f"away to begin with {PROMPTS}"
        ) from error


def _begin(folder: Path, source: str) -> _Saved:
    """A new project, with the prompts that lie in the folder."""
    path = folder / PROMPTS
    if not path.exists():
        return _Saved(source=source, revision=0, next_id=1)
    found = parse_prompts(path)
    try:
        if found.masks:
            raise ValueError("masks: a PNG of many objects cannot be edited")
        taken = Import(kind="import", objects=tuple(DraftObject(**dict(o)) for o in found.objects))
    except ValueError as error:
        raise InputError(
            f"cannot take up {path}: it names frames or masks in another way than this page does; "
            "move it away, or give another folder with -o"
        ) from error
    objects = tuple(sorted(taken.objects, key=lambda item: item.id))
    next_id = max((item.id for item in objects), default=0) + 1
    return _Saved(source=source, revision=0, next_id=next_id, objects=objects)
