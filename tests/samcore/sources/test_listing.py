"""Lists of sources: what is meant is found, once, in a stable order, under names of its own."""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from samcore.errors import InputError
from samcore.sources.listing import SourceList, list_sources

SUFFIXES = (".jpg", ".png")


class Bucket:
    """Objects by their addresses."""

    def __init__(self, **content: bytes) -> None:
        self.content = {f"s3://b/{name.replace('__', '/')}": data for name, data in content.items()}

    def add(self, name: str, data: bytes) -> None:
        self.content[f"s3://b/{name}"] = data

    def files(self, prefix: str) -> Iterator[tuple[str, str]]:
        return (
            (one, self.mark(one) or "") for one in sorted(self.content) if one.startswith(prefix)
        )

    def mark(self, address: str) -> str | None:
        return f"etag-{len(self.content[address])}" if address in self.content else None

    def read(self, address: str, limit: int) -> bytes:
        return self.content[address][:limit]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """2.jpg, 10.jpg, sub/1.PNG, and what is not meant: a text, a hidden file, a hidden folder."""
    for name in ("10.jpg", "2.jpg", "sub/1.PNG", "note.txt", ".hidden.jpg", ".git/3.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def _list(*asked: object, **options: object) -> SourceList:
    return list_sources([str(one) for one in asked], kind="pictures", suffixes=SUFFIXES, **options)


def _names(found: SourceList) -> list[str]:
    return [file.name for file in found.files]


def test_a_folder_is_listed_in_natural_order(folder: Path) -> None:
    """Numbers by their value, folders within it too; hidden files and other kinds are left out."""
    found = _list(folder)

    assert _names(found) == ["2.jpg", "10.jpg", "sub/1.PNG"]
    assert (found.left_out, found.repeated) == (1, 0)
    assert all(file.place == str(folder / file.name) for file in found.files)


def test_results_in_the_folder_are_not_sources(folder: Path) -> None:
    """The folder of the results is passed over: a second run finds the same list."""
    out = folder / "out"
    (out / "overlays").mkdir(parents=True)
    (out / "overlays" / "2.jpg").write_bytes(b"drawn")

    assert _names(_list(folder, leave_out=out)) == ["2.jpg", "10.jpg", "sub/1.PNG"]
    assert "out/overlays/2.jpg" in _names(_list(folder))
    assert _names(_list(folder / "**" / "2.jpg", leave_out=out)) == ["2.jpg"]


def test_a_folder_that_cannot_be_read_is_not_left_out(folder: Path) -> None:
    """Its pictures would be lost without a word."""
    locked = folder / "sub"
    locked.chmod(0)
    try:
        if os.access(locked, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(InputError, match=f"cannot look into the folder {locked}: Permission"):
            _list(folder)
    finally:
        locked.chmod(0o700)


def test_a_link_that_leads_back_names_no_file_twice(folder: Path) -> None:
    """Neither in a folder nor by a pattern; a file that is linked to is a file of its own."""
    (folder / "sub" / "back").symlink_to(folder)
    (folder / "other.jpg").symlink_to(folder / "2.jpg")

    assert _names(_list(folder)) == ["2.jpg", "10.jpg", "other.jpg", "sub/1.PNG"]
    assert _names(_list(folder / "**" / "*.jpg")) == ["2.jpg", "10.jpg", "other.jpg"]


def test_each_file_is_there_once_where_it_was_named_first(folder: Path) -> None:
    """A file, a pattern and the folder that hold it: one entry; repetitions are counted."""
    found = _list(folder / "10.jpg", folder / "*.jpg", folder)

    assert _names(found) == ["10.jpg", "2.jpg", "sub/1.PNG"]
    assert found.repeated == 3


def test_equal_names_of_different_folders_do_not_meet(folder: Path) -> None:
    """Names are paths below what all have in common, and differ in more than case."""
    for name in ("a/1.jpg", "b/1.jpg", "b/1.JPG"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")

    names = _names(_list(folder / "a" / "1.jpg", folder / "b"))

    assert set(names) == {"a/1.jpg", "b/1.JPG", "b/1-2.jpg"} or set(names) == {
        "a/1.jpg",
        "b/1.jpg",
        "b/1-2.JPG",
    }
    assert len({name.casefold() for name in names}) == 3


def test_a_changed_file_has_another_mark(folder: Path) -> None:
    """The list of a folder in which a file was replaced is another list."""
    before = _list(folder).files[0].mark
    (folder / "2.jpg").write_bytes(b"something longer")

    assert _list(folder).files[0].mark != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'path,text\n2.jpg,red car;dog\n\nsub/1.PNG,"a, b"\n'),
        ("t.tsv", "path\ttext\n2.jpg\tred car;dog\nsub/1.PNG\ta, b\n"),
        (
            "t.jsonl",
            '{"path": "2.jpg", "text": ["red car", "dog"]}\n'
            '{"path": "sub/1.PNG", "text": "a, b"}\n',
        ),
    ],
)
def test_tables_say_what_to_look_for(folder: Path, name: str, text: str) -> None:
    """Paths are relative to the table; several texts of a picture are kept apart."""
    (folder / name).write_text(text)

    found = _list(folder / name).files

    assert [(file.name, file.said.texts) for file in found] == [
        ("2.jpg", ("red car", "dog")),
        ("sub/1.PNG", ("a, b",)),
    ]


def test_rows_of_one_picture_are_joined(folder: Path) -> None:
    """A row a concept, as benchmarks have it: one picture with all of them, each once."""
    (folder / "t.csv").write_text("path,text\n2.jpg,dog\n10.jpg,dog\n2.jpg,cat\n2.jpg,dog\n")

    found = _list(folder / "t.csv")

    assert [file.said.texts for file in found.files] == [("dog", "cat"), ("dog",)]
    assert found.repeated == 2


def test_a_missing_file_of_a_table_is_in_the_list(folder: Path) -> None:
    """Tables go stale: the run tells of such a file, and goes on with the rest."""
    (folder / "t.csv").write_text("path\n2.jpg\ngone.jpg\n")

    assert [file.mark == "" for file in _list(folder / "t.csv").files] == [False, True]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("t.csv", "path,text\n2.jpg,a\n2.jpg,a,b\n", "t.csv, line 3: wanted 2 cells"),
        ("t.csv", "file\n2.jpg\n", "t.csv, line 1: unknown column 'file'; known are path, text"),
        ("t.csv", "text\ndog\n", "t.csv, line 1: there is no column path"),
        ("t.csv", "path,path\na,b\n", "line 1: the column path is there twice"),
        ("t.csv", "path,text\n,dog\n", "t.csv, line 2: wanted a path"),
        ("t.csv", 'path,prompts\n2.jpg,"[{"\n', "t.csv, line 2, prompts: not valid JSON"),
        ("t.csv", 'path,text\n"2\n.jpg",a\n3.jpg,a,b\n', "t.csv, line 4: wanted 2 cells"),
        ("t.csv", "path,text\n2.jpg,a;;b\n", "line 2, text: wanted 1 to 1000 words"),
        ("t.csv", "path,prompts\n2.jpg,a.json\n2.jpg,b.json\n", "line 3: .* has other prompts in"),
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", "path\n", "t.csv has no rows"),
        ("t.jsonl", '{"path": "2.jpg"}\n{"path": \n', "t.jsonl, line 2: not valid JSON"),
        ("t.jsonl", "[1]\n", "t.jsonl, line 1: wanted an object"),
        ("t.jsonl", '{"path": "a", "text": [1]}\n', "line 1, text: wanted words"),
        ("t.jsonl", '{"path": "ftp://a/b"}\n', "t.jsonl, line 1: wanted a path or s3://"),
    ],
)
def test_a_bad_row_is_named_by_its_line(folder: Path, name: str, text: str, wanted: str) -> None:
    """One line: the table, the line, what was wanted."""
    (folder / name).write_text(text)

    with pytest.raises(InputError, match=wanted):
        _list(folder / name)


def test_a_table_that_is_no_text_is_refused(folder: Path) -> None:
    """A picture that is called .csv, say."""
    (folder / "t.csv").write_bytes(b"\xff\xd8\xff\xe0")

    with pytest.raises(InputError, match=r"t\.csv is not UTF-8 text, at byte 0"):
        _list(folder / "t.csv")


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("nothing.jpg", "there is no file or folder nothing.jpg"),
        ("*.tiff", "no file has a name like"),
        ("https://host/a.jpg", "https:// is not read here"),
        ("s3://b/a.jpg", "buckets are not read here"),
        ("/dev/null", "neither a file nor a folder"),
    ],
)
def test_what_is_not_there_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: str, wanted: str
) -> None:
    """Each with what was wanted."""
    monkeypatch.chdir(folder)

    with pytest.raises(InputError, match=re.escape(wanted)):
        _list(asked)


def test_a_folder_without_pictures_is_refused(folder: Path) -> None:
    """With what it has instead."""
    (folder / "sub" / "1.PNG").rename(folder / "sub" / "1.txt")

    with pytest.raises(
        InputError, match=r"no pictures in the folder .*of jpg, png; it has 1 other"
    ):
        _list(folder / "sub")


def test_buckets_are_asked_for_prefixes_patterns_and_tables() -> None:
    """As on a disk; * stays within a folder, and a table's paths are relative to it."""
    bucket = Bucket(new__10_jpg=b"", other__1_jpg=b"")
    for name in ("new/2.jpg", "new/10.jpg", "new/sub/1.png", "new/a.txt", "newer/1.jpg"):
        bucket.add(name, name.encode())
    bucket.add("new/t.csv", b"path,text\n2.jpg,dog\nsub/none.png,cat\n")

    def places(*asked: str) -> list[str]:
        return [file.place.removeprefix("s3://b/") for file in _list(*asked, bucket=bucket).files]

    assert places("s3://b/new/") == ["new/2.jpg", "new/10.jpg", "new/sub/1.png"]
    assert places("s3://b/new") == places("s3://b/new/")
    assert places("s3://b/new/*.jpg") == ["new/2.jpg", "new/10.jpg"]
    assert places("s3://b/new/**/*.png") == ["new/sub/1.png"]
    assert places("s3://b/new/t.csv") == ["new/2.jpg", "new/sub/none.png"]
    assert places("s3://b/new/2.jpg", "s3://b/newer/1.jpg") == ["new/2.jpg", "newer/1.jpg"]
    bucket.add("odd/a[1].jpg", b"")
    bucket.add("odd/a1.jpg", b"")
    assert places("s3://b/odd/a[1].jpg") == ["odd/a[1].jpg"]
    marks = [file.mark for file in _list("s3://b/new/t.csv", bucket=bucket).files]
    assert marks == ["etag-9", ""]
    with pytest.raises(InputError, match=r"no pictures in s3://b/none/"):
        places("s3://b/none/")


def test_every_name_can_be_a_file(folder: Path) -> None:
    """Whatever files are called: no part begins with a dot or has what a file system refuses."""
    for name in ("a:b.jpg", "x\ny.jpg", "é" * 120 + ".jpg", "...jpg", "a_b.jpg"):
        (folder / "odd").mkdir(exist_ok=True)
        (folder / "odd" / name).write_bytes(b"x")

    names = _names(_list(*sorted((folder / "odd").iterdir())))

    assert len({name.casefold() for name in names}) == 5
    for part in itertools.chain.from_iterable(name.split("/") for name in names):
        assert part.isprintable()
        assert not part.startswith(".")
        assert ":" not in part
        assert len(part.encode()) <= 204
