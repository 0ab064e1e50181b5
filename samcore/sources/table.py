"""Tables of sources: a row names a file, and may say what is to be found in it.

path,text                            {"path": "1.jpg", "text": ["red car", "dog"]}
1.jpg,red car;dog                    {"path": "2.jpg", "prompts": [{"box": [4, 8, 90, 60]}],
2.jpg,bicycle                         "labels": ["cat"]}

Tables of videos have other columns, the options of a command: see videos.py.
"""

import csv
import difflib
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from samcore.errors import InputError
from samcore.prompts.file import shown

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""What is taken for a table, in small letters."""
COLUMNS = ("path", "text", "prompts", "labels")
"""What a row can say; `path` it must."""
_MAX_WORDS = 1_000
"""Texts or labels of a row."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a table says of one file."""

    texts: tuple[str, ...] = ()
    """What is to be looked for, in words."""
    prompts: str = ""
    """JSON of the prompts, or the name of a file of them; empty if there are none."""
    labels: tuple[str, ...] = ()
    """Names of the objects that the prompts are of, in their order."""
    where: str = ""
    """The row, for messages: `todo.csv, line 3`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else it says, by the names of columns: a cell's text, or a value of JSON."""

    def joined(self, other: "Said", place: str) -> "Said":
        """All that two rows say of one file: texts are added up.

        Raises:
            InputError: Both have prompts or labels, which differ.
        """
        for name in ("prompts", "labels"):
            one, two = getattr(self, name), getattr(other, name)
            if one and two and one != two:
                raise InputError(
                    f"{other.where}: {place} has other {name} in {self.where}; give all of a "
                    "picture's in one row"
                )
        texts = tuple(dict.fromkeys((*self.texts, *other.texts)))
        return replace(
            self,
            texts=texts,
            prompts=self.prompts or other.prompts,
            labels=self.labels or other.labels,
            where=self.where or other.where,
        )


NOTHING_SAID = Said()


def read_table(name: str, data: bytes) -> list[tuple[str, Said]]:
    """The rows of a table of pictures: a path each, as it stands there, and what is said of it.

    Args:
        name: What the table is called; its ending says what it is.
        data: Its content.

    Raises:
        InputError: One line that names the line of the table.
    """
    return [_row(raw, where) for where, raw in read_rows(name, data, COLUMNS)]


def read_rows(
    name: str, data: bytes, columns: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table: what names each, and its cells by the names of their columns. An empty
    cell is left out.

    Args:
        name: What the table is called; its ending says what it is.
        data: Its content.
        columns: The names that there may be, in small letters; the first one must be there.

    Raises:
        InputError: One line that names the line of the table, and the column that is unknown.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text, at byte {error.start}") from error
    suffix = name[name.rfind(".") :].lower()
    rows = _json_rows if suffix in (".jsonl", ".ndjson") else _csv_rows
    for number, raw in rows(name, text, suffix, columns):
        yield f"{name}, line {number}", raw


def _csv_rows(
    name: str, text: str, suffix: str, columns: Sequence[str]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if suffix == ".tsv" else ",", strict=True
    )
    try:
        head = [_name(column.strip().lower()) for column in next(lines, [])]
        if not head:
            raise InputError(f"{name} is empty: wanted a first line of names; {_known(columns)}")
        _check_names(head, f"{name}, line 1", columns)
        end = lines.line_num
        for cells in lines:
            start, end = end + 1, lines.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(head):
                raise InputError(
                    f"{name}, line {start}: wanted {len(head)} cells ({', '.join(head)}), got "
                    f"{len(cells)}; a cell with a comma in it is put in double quotes"
                )
            yield start, {key: cell for key, cell in zip(head, cells, strict=True) if cell.strip()}
    except csv.Error as error:
        raise InputError(f"{name}, line {lines.line_num}: {error}") from error


def _json_rows(
    name: str, text: str, _suffix: str, columns: Sequence[str]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = error.msg.lower() if isinstance(error, json.JSONDecodeError) else "too deep"
            raise InputError(f"{where}: not valid JSON: {said}") from error
        if not isinstance(raw, dict):
            raise InputError(
                f'{where}: wanted an object such as {{"{columns[0]}": "..."}}, got {shown(raw)}'
            )
        _check_names([_name(name) for name in raw], where, columns)
        yield number, {_name(name): value for name, value in raw.items()}


def _name(column: str) -> str:
    return column.replace("-", "_")


def _check_names(names: list[str], where: str, columns: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            near = difflib.get_close_matches(name, columns, 1)
            meant = f"did you mean {near[0]}?" if near else _known(columns)
            raise InputError(f"{where}: unknown column {shown(name)}; {meant}")
    for one, other in itertools.pairwise(sorted(names)):
        if one == other:
            raise InputError(f"{where}: the column {one} is there twice")
    if columns[0] not in names:
        raise InputError(f"{where}: there is no column {columns[0]}; {_known(columns)}")


def _known(columns: Sequence[str]) -> str:
    return f"known are {', '.join(columns)}"


def path_of_row(raw: Mapping[str, Any], column: str, where: str) -> str:
    """The cell that names the row's file.

    Raises:
        InputError: It is empty, or no text.
    """
    path = raw.get(column)
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise InputError(f"{where}: wanted a path, got {shown(path if path is not None else '')}")
    return path.strip()


def _row(raw: Mapping[str, Any], where: str) -> tuple[str, Said]:
    path = path_of_row(raw, "path", where)
    prompts = raw.get("prompts") or ""
    if not isinstance(prompts, str):
        prompts = json.dumps(prompts)
    elif prompts.strip()[:1] in "[{" and prompts.strip():
        try:
            json.loads(prompts)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}, prompts: not valid JSON: {shown(prompts)}") from error
    said = Said(
        texts=_words(raw.get("text"), f"{where}, text"),
        prompts=prompts.strip(),
        labels=_words(raw.get("labels"), f"{where}, labels"),
        where=where,
    )
    return path, said


def _words(given: object, where: str) -> tuple[str, ...]:
    """`red car;dog` of a cell, or a list of a line of JSON."""
    if given is None or given == "":
        return ()
    listed = given.split(";") if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise InputError(f"{where}: wanted words, or a list of them, got {shown(given)}")
    words = tuple(" ".join(one.split()) for one in listed)
    if not all(words) or len(words) > _MAX_WORDS:
        raise InputError(f"{where}: wanted 1 to {_MAX_WORDS} words, none of them empty")
    return words
