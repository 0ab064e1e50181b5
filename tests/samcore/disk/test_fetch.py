"""Fetching from a source that is made up here; real servers are in the tests of their openers."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from samcore.disk.fetch import Answer, fetch
from samcore.errors import DamagedObjectError, TransientStorageError

CONTENT = bytes(range(256)) * 4


@dataclass
class Source:
    """Gives a content, and breaks off after so many bytes of each connection."""

    content: bytes = CONTENT
    cut_after: int | None = None
    validator: str | None = "v1"
    offsets: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def open(self, offset: int, validator: str | None) -> Iterator[Answer]:
        self.offsets.append(offset)
        rest = self.content[offset:][: self.cut_after]
        yield Answer(self.validator, len(self.content), offset, [rest])

    def fetch(self, path: Path, *, source: str = "a", checked: bool = True) -> bytes:
        digest = hashlib.sha256(CONTENT).hexdigest()
        fetch(
            self.open,
            path,
            what="cannot read it",
            source=source,
            size=len(self.content),
            checksum=f"sha256:{digest}" if checked else None,
        )
        return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where 100 bytes have come of source `a` under `v1`."""
    with pytest.raises(TransientStorageError, match="cannot read it: the connection broke"):
        Source(cut_after=100).fetch(tmp_path / "file")
    assert not (tmp_path / "file").exists()
    return tmp_path / "file"


def test_a_fetch_goes_on_and_leaves_nothing_beside_the_file(path: Path) -> None:
    """From where the last one broke off."""
    source = Source()
    assert source.fetch(path) == CONTENT
    assert source.offsets == [100]
    assert list(path.parent.iterdir()) == [path]


def test_a_fetch_of_another_source_begins_anew(path: Path) -> None:
    """So does one that nothing tells whether the rest belongs to what has come."""
    source = Source()
    assert source.fetch(path, source="b") == CONTENT
    assert source.offsets == [0]

    cut = Source(cut_after=100, validator=None)
    for _ in range(2):
        with pytest.raises(TransientStorageError):
            cut.fetch(path.with_name("other"), checked=False)
    assert cut.offsets == [0, 0]


@pytest.mark.parametrize("note", ["", "{}", '{"source": "a", "validator": 1}', "[]"])
def test_a_fetch_with_a_damaged_note_begins_anew(path: Path, note: str) -> None:
    """Nobody knows what has come then."""
    path.with_name(".file.part.json").write_text(note)
    source = Source()
    assert source.fetch(path) == CONTENT
    assert source.offsets == [0]


def test_what_was_resumed_and_is_damaged_comes_once_more(path: Path) -> None:
    """What is damaged from its first byte on is refused, and thrown away."""
    part = path.with_name(".file.part")
    part.write_bytes(b"?" * 100)
    source = Source()
    assert source.fetch(path) == CONTENT
    assert source.offsets == [100, 0]

    wrong = Source(CONTENT[::-1])
    with pytest.raises(DamagedObjectError, match="does not have its checksum"):
        wrong.fetch(path.with_name("other"))
    assert wrong.offsets == [0]
    assert list(path.parent.iterdir()) == [path]


def test_more_than_there_is_begins_anew(path: Path) -> None:
    """A part that is longer than the file is none of it."""
    path.with_name(".file.part").write_bytes(CONTENT * 2)
    source = Source()
    assert source.fetch(path) == CONTENT
    assert source.offsets == [0]
