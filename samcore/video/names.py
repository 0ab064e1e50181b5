"""What the pictures of a folder are called, from the folder to every file about them."""

import functools
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from samcore.errors import StorageError

NAMES_KEY = "frame_names"
"""Under this the metadata of a mask table has the names of all frames of its video."""

_NUMBER = re.compile(r"\d+(?=\D*$)", re.ASCII)
_MOST_DIGITS = 18


def number_in(name: str) -> int | None:
    """Give the last number in a picture's name without its ending; None if there is none."""
    match = _NUMBER.search(name)
    return None if match is None or len(match[0]) > _MOST_DIGITS else int(match[0])


@dataclass(frozen=True)
class FrameNames:
    """The file names of all frames of a folder, in the order of frames."""

    files: tuple[str, ...]
    """Such as `00005.jpg`; each is the name of a file, and no path."""

    def stem(self, frame: int) -> str:
        """Give a frame's name without its ending: `00005`."""
        return PurePosixPath(self.files[frame]).stem

    def frame_of(self, stem: str) -> int | None:
        """Give the frame that is called so; None if there is none."""
        return self._frames.get(stem)

    @functools.cached_property
    def numbers(self) -> tuple[int, ...] | None:
        """The last number in each name, if every name has one and they ascend; else None."""
        found = [number_in(self.stem(frame)) for frame in range(len(self.files))]
        numbers = [number for number in found if number is not None]
        if len(numbers) < len(found) or any(b <= a for a, b in itertools.pairwise(numbers)):
            return None
        return tuple(numbers)

    @functools.cached_property
    def _frames(self) -> dict[str, int]:
        return {self.stem(frame): frame for frame in range(len(self.files))}

    def to_text(self) -> str:
        """Write them down; `from_text` reads it."""
        return json.dumps(self.files, ensure_ascii=False)

    @classmethod
    def in_metadata(cls, metadata: Mapping[str, str], *, where: str) -> "FrameNames | None":
        """Read the names that a mask table keeps; None where its video has none.

        Raises:
            StorageError: They are damaged.
        """
        text = metadata.get(NAMES_KEY)
        return None if text is None else cls.from_text(text, where=where)

    @classmethod
    def from_text(cls, text: str, *, where: str) -> "FrameNames":
        """Read what `to_text` wrote.

        Args:
            text: The text.
            where: The file that it comes from, for the message.

        Raises:
            StorageError: It is damaged, or a name is one that leads elsewhere.
        """
        try:
            files = json.loads(text)
        except ValueError:
            files = None
        if not isinstance(files, list) or not all(
            isinstance(name, str) and _is_plain(name) for name in files
        ):
            raise StorageError(f"cannot read {where}: its names of frames are damaged; track again")
        return cls(tuple(files))


def _is_plain(name: str) -> bool:
    """Whether it is a file's name and no path: a table may be a stranger's."""
    return not (name.startswith(".") or {"/", "\0"} & set(name)) and name != ""
