"""The report of a run over pictures: numbers, what is broken, and a contact sheet."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from samcore.disk.files import write_atomic
from samcore.report.page import MAX_ROWS, load_template


@dataclass(frozen=True, slots=True)
class SheetPicture:
    """One picture of the contact sheet."""

    name: str
    """As in the list."""
    link: str
    """Its drawn picture, relative to the report; empty if there is none."""
    width: int
    """Of the picture itself."""
    height: int
    """Likewise."""
    masks: int
    """How many are drawn in."""
    jpeg: bytes
    """The small picture."""

    @property
    def data_uri(self) -> str:
        """The small picture as an address that holds it."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"

    @property
    def href(self) -> str:
        """`link` as an address."""
        return quote(self.link)


@dataclass(frozen=True, slots=True)
class SheetFacts:
    """What there is to say of a run over pictures."""

    title: str
    """What was asked for."""
    pictures: int
    """All of them."""
    masks: int
    """On all of them."""
    broken: tuple[tuple[str, str], ...]
    """Name and fault of the first ones that could not be segmented."""
    num_broken: int
    """How many there are in all."""
    seconds: float
    """Of all shards together."""
    rss_bytes: int
    """The most main memory that a shard took."""
    vram_bytes: int
    """The same of a GPU; 0 if none was used."""
    degradations: tuple[str, ...]
    """What was given up to fit into memory."""
    facts: tuple[tuple[str, str], ...]
    """What else is known: a name and a value each."""


def write_sheet(facts: SheetFacts, pictures: Sequence[SheetPicture], out: Path) -> None:
    """Write the page: one file, which asks no other machine for anything.

    Raises:
        StorageError: The file cannot be written.
    """
    page = load_template("sheet.html.j2").render(
        facts=facts,
        pictures=pictures,
        rate=facts.pictures / facts.seconds if facts.seconds else 0.0,
        max_rows=MAX_ROWS,
    )
    write_atomic(out, page.encode("utf-8", "replace"))
