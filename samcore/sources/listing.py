"""From paths, folders, globs, tables and prefixes of buckets to one list of files, each once.

longtake image dog.jpg tapes/ 'shots/**/*.png' todo.csv s3://bucket/new/

dog.jpg             a file
tapes/              a folder, with all folders in it; files in natural order, hidden ones left
shots/**/*.png      a pattern
todo.csv            a table: .csv or .tsv with a line of names first, or .jsonl with an object
                    a line; path, and what is said of that file: text, prompts, labels
s3://bucket/new/    a prefix, of which a bucket is asked
"""

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NoReturn, Protocol

from samcore.errors import InputError
from samcore.progress import counted
from samcore.sources.names import output_names
from samcore.sources.table import NOTHING_SAID, TABLE_SUFFIXES, Said, read_table
from samcore.text import natural_order

MOST_SOURCES = 500_000
"""Of one list: each takes about a kilobyte of memory."""
_MAX_TABLE_BYTES = 1 << 30
_MAGIC = re.compile(r"[*?\[]")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a list, and what is said of it."""

    place: str
    """Absolute path, or `s3://` address."""
    mark: str
    """Changes with the content, as far as that shows without reading it; empty if there is no such
    file."""
    name: str = ""
    """Names it among all of the list, in results, too: the path below what all have in common,
    `cats/dog.jpg`. No two are alike, in upper or lower case."""
    said: Said = NOTHING_SAID
    """What a table says of it."""
    root: str = ""
    """The folder or prefix that was named, in which it was found; of a file that was named itself,
    its own folder."""


@dataclass(frozen=True, slots=True)
class SourceList:
    """All files that were asked for, in the order in which they were."""

    files: tuple[SourceFile, ...]
    repeated: int
    """How often a file was named again; each is in `files` once."""
    left_out: int
    """Files of folders and prefixes that are of another kind."""


ReadTable = Callable[[str, bytes], list[tuple[str, Said]]]
"""From a table's name and content to its rows."""


class Bucket(Protocol):
    """What object stores are asked."""

    def files(self, prefix: str) -> Iterable[tuple[str, str]]:
        """The address and mark of each object whose address begins so, ascending by key."""

    def mark(self, address: str) -> str | None:
        """The mark of one object; None if there is none."""

    def read(self, address: str, limit: int) -> bytes:
        """An object's content. Raises StorageError if there is none, or it is larger."""


def list_sources(
    asked: Sequence[str],
    *,
    kind: str,
    suffixes: Sequence[str],
    bucket: Bucket | None = None,
    leave_out: Path | None = None,
    read: ReadTable = read_table,
    by_row: bool = False,
    is_one: Callable[[Path], bool] = lambda _: False,
    schemes: Sequence[str] = (),
    named: Callable[[Sequence[SourceFile]], Sequence[str]] | None = None,
) -> SourceList:
    """Find all files that are meant.

    The order is that of `asked`; in a folder, pattern or prefix that of the names, numbers by
    their value. What is named twice stays where it was first; what tables say of it is joined.

    Args:
        asked: Files, folders, patterns, tables, or `s3://` addresses of these.
        kind: What they are, in the plural, such as `pictures`.
        suffixes: Of files that are taken from folders and prefixes, in small letters. A file that
            is named itself, or by a pattern or table, may have any.
        bucket: Asked for what begins with `s3://`.
        leave_out: A folder none of whose files is meant, such as that of the results.
        read: Reads a table.
        by_row: Each row of a table is meant by itself, also where two name one file.
        is_one: Tells of a folder that is named whether it is itself what is meant.
        schemes: Of addresses that are taken as they are, such as `https://`.
        named: Gives the names; by default those below the folder that all have in common.

    Raises:
        InputError: Nothing is there, a table is wrong (which names the line), or there are too
            many.
        StorageError: A bucket does not answer, or refuses.
    """
    finder = _Finder(kind, tuple(suffixes), bucket, leave_out, read, is_one, tuple(schemes))
    found: dict[tuple[str, str], SourceFile] = {}
    repeated = 0
    for text in asked:
        for file in finder.find(text):
            key = (file.place, file.said.where if by_row else "")
            known = found.get(key)
            if known is None:
                found[key] = file
                if len(found) > MOST_SOURCES:
                    raise InputError(f"more than {MOST_SOURCES:,} {kind}: give them in parts")
                continue
            repeated += 1
            if not by_row:
                found[key] = replace(known, said=known.said.joined(file.said, file.place))
    if not found:
        raise InputError(f"no {kind}: name files, folders, tables or s3:// prefixes")
    files = list(found.values())
    names = output_names([one.place for one in files]) if named is None else named(files)
    listed = tuple(replace(file, name=name) for file, name in zip(files, names, strict=True))
    return SourceList(listed, repeated, finder.left_out)


def file_mark(path: Path) -> str:
    """What changes when the file does: its size and time; empty if it is not there."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


class _Finder:
    """Finds what one argument means."""

    def __init__(
        self,
        kind: str,
        suffixes: tuple[str, ...],
        bucket: Bucket | None,
        leave_out: Path | None,
        read: ReadTable,
        is_one: Callable[[Path], bool],
        schemes: tuple[str, ...],
    ) -> None:
        self._read = read
        self._is_one = is_one
        self._schemes = schemes
        self._kind = kind
        self._suffixes = suffixes
        self._bucket = bucket
        self._leave_out = None if leave_out is None else leave_out.absolute()
        self.left_out = 0

    def find(self, text: str) -> Iterator[SourceFile]:
        if text.startswith("s3://"):
            return self._in_bucket(text)
        if text.startswith(self._schemes):
            return iter([SourceFile(text, "", root=_folder_of(text))])
        if "://" in text:
            scheme = text.partition("://")[0]
            raise InputError(
                f"{scheme}:// is not read here: wanted {self._kind} as paths, folders, patterns, "
                "tables or s3:// addresses; download them first"
            )
        return self._on_disk(Path(text).expanduser().absolute(), text)

    def _on_disk(self, path: Path, text: str) -> Iterator[SourceFile]:
        if path.is_dir():
            return iter([_local(path)]) if self._is_one(path) else self._in_folder(path)
        if path.is_file():
            if path.suffix.lower() in TABLE_SUFFIXES:
                return self._in_table(str(path), _read(path))
            return iter([_local(path)])
        if path.exists():
            raise InputError(f"{text} is neither a file nor a folder: a pipe or device is not read")
        if _MAGIC.search(text):
            return self._by_pattern(path, text)
        raise InputError(f"there is no file or folder {text}; check the path")

    def _in_folder(self, folder: Path) -> Iterator[SourceFile]:
        found: list[str] = []
        for root, folders, names in os.walk(folder, onerror=_refuse_folder):
            here = Path(root)
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".") and here / name != self._leave_out
            ]
            found += [
                os.path.relpath(here / name, folder)
                for name in names
                if name.startswith(".") is False
            ]
        wanted = sorted(filter(self._is_wanted, found), key=_path_order)
        self.left_out += len(found) - len(wanted)
        if not wanted:
            raise InputError(self._none_in(f"the folder {folder}", len(found)))
        return (_local(folder / name, root=folder) for name in wanted)

    def _by_pattern(self, path: Path, text: str) -> Iterator[SourceFile]:
        out = self._leave_out
        found = [Path(name) for name in glob.iglob(str(path), recursive=True)]
        files = [
            file for file in found if file.is_file() and (out is None or out not in file.parents)
        ]
        if not files:
            raise InputError(f"no file has a name like {text}; check the pattern")
        # ** follows links, also those that lead back: of several ways to a file the shortest one
        # counts.
        real = {folder: folder.resolve() for folder in {file.parent for file in files}}
        ways: dict[Path, Path] = {}
        for file in sorted(files, key=lambda file: (len(file.parts), _path_order(str(file)))):
            ways.setdefault(real[file.parent] / file.name, file)
        root = Path(_folder_of(_MAGIC.split(str(path))[0]))
        listed = sorted(ways.values(), key=lambda f: _path_order(str(f)))
        return (_local(file, root=root) for file in listed)

    def _in_bucket(self, address: str) -> Iterator[SourceFile]:
        bucket = self._asked_bucket(address)
        is_prefix = address.endswith("/") or address.count("/") < 3
        if not is_prefix:
            mark = bucket.mark(address)  # also of what looks like a pattern, as with files
            if mark is not None:
                if PurePosixPath(address).suffix.lower() in TABLE_SUFFIXES:
                    return self._in_table(address, bucket.read(address, _MAX_TABLE_BYTES))
                return iter([SourceFile(address, mark, root=_folder_of(address))])
            if not _MAGIC.search(address):
                address += "/"
        start = _MAGIC.split(address)[0]
        listed = [(place, mark) for place, mark in bucket.files(start) if not place.endswith("/")]
        if start != address:  # a pattern, in which * stays within a folder
            depth = address.count("/")
            wanted = [
                (place, mark)
                for place, mark in listed
                if fnmatch.fnmatchcase(place, address)
                and ("**" in address or place.count("/") == depth)
            ]
        else:
            wanted = [one for one in listed if self._is_wanted(one[0][len(start) :])]
            self.left_out += len(listed) - len(wanted)
        if not wanted:
            raise InputError(self._none_in(address, len(listed)))
        wanted.sort(key=lambda one: _path_order(one[0]))
        return (SourceFile(place, mark, root=_folder_of(start)) for place, mark in wanted)

    def _in_table(self, table: str, data: bytes) -> Iterator[SourceFile]:
        rows = self._read(table, data)
        if not rows:
            raise InputError(f"{table} has no rows: wanted a path in each")
        base = table.rpartition("/")[0]
        for path, said in rows:
            if path.startswith(("s3://", *self._schemes)):
                place = path
            elif "://" in path:
                known = " or ".join(("s3://", *self._schemes))
                raise InputError(f"{said.where}: wanted a path or {known} address, got {path!r}")
            elif table.startswith("s3://"):
                place = f"{base}/{path}"
            else:
                place = os.path.normpath(Path(base) / Path(path).expanduser())
            if place.startswith("s3://"):
                # Of an object that is not there the run says so, and goes on with the rest.
                mark = self._asked_bucket(place).mark(place) or ""
                yield SourceFile(place, mark, said=said, root=base)
            elif "://" in place:
                yield SourceFile(place, "", said=said, root=_folder_of(place))
            else:
                yield replace(_local(Path(place)), said=said, root=base)

    def _is_wanted(self, name: str) -> bool:
        parts = name.split("/")
        hidden = any(part.startswith(".") for part in parts)
        return not hidden and name.lower().endswith(self._suffixes)

    def _none_in(self, where: str, others: int) -> str:
        known = ", ".join(suffix.lstrip(".") for suffix in self._suffixes)
        found = f"; it has {counted(others, 'other file')}" if others else ""
        return f"there are no {self._kind} in {where}: wanted files of {known}{found}"

    def _asked_bucket(self, address: str) -> Bucket:
        if self._bucket is None:
            raise InputError(f"{address}: buckets are not read here")
        return self._bucket


def _local(path: Path, *, root: Path | None = None) -> SourceFile:
    return SourceFile(str(path), file_mark(path), root=str(path.parent if root is None else root))


def _folder_of(address: str) -> str:
    return address.rpartition("/")[0]


def _refuse_folder(error: OSError) -> NoReturn:
    # os.walk would leave it out without a word.
    raise InputError(
        f"cannot look into the folder {error.filename}: {error.strerror}; change its permissions, "
        "or name the files that are meant"
    ) from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_TABLE_BYTES:
            raise InputError(
                f"{path} is larger than {_MAX_TABLE_BYTES >> 20} MiB: give it in parts"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _path_order(name: str) -> list[tuple[list[tuple[int, str]], str]]:
    return [(natural_order(part), part) for part in name.split("/")]
