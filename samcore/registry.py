"""One shape for everything of which there will be a next one: formats, policies, families, checks.

An entry has a name, one line for people and a home. The module at home is imported when the entry
is first used, so that listing names costs no import. Other packages add entries of their own by
Python entry points.

To add one here: write its module, add a line to the room's tuple, add it to nothing else; the
room's contract test runs over the tuple. From another package:

    [project.entry-points."longtake.policies"]
    mine = "my_package.policies:ENTRY"       # ENTRY is an entry of the room's own class
"""

import importlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from samcore.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that a registry lists. Rooms add fields to it in classes of their own."""

    name: str
    """As people give it."""
    about: str
    """One line for people."""
    home: str
    """Module and attribute, such as `samcore.tracking.memory.sam2:Sam2Policy`."""

    def load(self) -> Any:
        """Import the module at `home` and give what the entry stands for."""
        module, _, attribute = self.home.partition(":")
        return getattr(importlib.import_module(module), attribute)


E = TypeVar("E", bound=Entry)

_log = logging.getLogger(__name__)


class Registry(Generic[E]):
    """The entries of one room, those of other packages behind our own."""

    def __init__(self, kind: str, group: str, entry_class: type[E], built_in: Iterable[E]) -> None:
        """Make the registry of a room.

        Args:
            kind: What an entry is, in the singular, as messages say it.
            group: The entry points that other packages use, such as `longtake.policies`.
            entry_class: What an entry point must give.
            built_in: Our own entries, in the order in which they are listed.
        """
        self.kind = kind
        self.group = group
        self._entry_class = entry_class
        self._built_in = tuple(built_in)

    def __iter__(self) -> Iterator[E]:
        yield from self._by_name.values()

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def built_in(self) -> tuple[E, ...]:
        """The entries of this package."""
        return self._built_in

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all entries."""
        return tuple(self._by_name)

    def get(self, name: str) -> E:
        """The entry with this name.

        Raises:
            InputError: There is none; the message lists the known ones.
        """
        if name not in self._by_name:
            raise InputError(
                f"unknown {self.kind}: got {name!r}, known are {', '.join(self.names)}"
            )
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, E]:
        entries = {entry.name: entry for entry in self._built_in}
        for point in entry_points(group=self.group):
            # Another package's fault must not keep a person from our own entries.
            try:
                entry = point.load()
            except Exception as error:
                _log.warning("the %s %s cannot be imported: %s", self.kind, point.name, error)
                continue
            if not isinstance(entry, self._entry_class):
                wanted = self._entry_class.__name__
                _log.warning("the %s %s is left out: it is no %s", self.kind, point.name, wanted)
            elif entry.name in entries:
                _log.warning("a second %s named %s is left out", self.kind, entry.name)
            else:
                entries[entry.name] = entry
        return entries
