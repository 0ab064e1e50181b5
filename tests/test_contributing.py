"""The page for those who change Longtake names what is there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from samcore.registry import Registry

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "tests" / "README.md").read_text()


def test_contributors_page_is_short():
    """A page to read before the first change, not a book."""
    assert len(PAGE.splitlines()) <= 60


def test_contributors_pages_commands_can_be_run():
    """The scripts can be started, and the tests that commands name exist."""
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    scripts = [words[0] for words in lines if words[0].startswith("infra/")]
    pytests = [words[1:] for words in lines if words[0] == ".venv/bin/python"]

    assert len(scripts) + len(pytests) == len(lines)
    for script in scripts:
        assert (ROOT / script).stat().st_mode & 0o111, script
    for module, name, path, *options in pytests:
        assert (module, name) == ("-m", "pytest")
        assert (ROOT / path).exists(), path
        for word in options[options.index("-k") + 1 :][:1] if "-k" in options else []:
            texts = [file.read_text() for file in (ROOT / path).rglob("test_*.py")]
            assert any(re.search(rf"^def test_\w*{word}", text, re.MULTILINE) for text in texts)


def registries() -> list[tuple[str, str, str, str]]:
    """The table's rows: the list's name, its module, the contract's file, the entry points."""
    pattern = r"^\| [\w -]+ \|.*\| `(\w+)` in `([\w/.]+)` \| `([\w/.]+)` \| `([\w.]+)` \|$"
    return re.findall(pattern, PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("row", registries(), ids=lambda row: row[0])
def test_registries_are_where_it_says(row):
    """Each list is in its module, takes entries by these entry points, and has a contract test
    that runs over it."""
    name, module, contract, group = row
    dotted = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    registry = getattr(importlib.import_module(dotted), name)

    assert isinstance(registry, Registry)
    assert registry.group == group
    assert name in (ROOT / contract).read_text()


def test_every_registry_has_a_row():
    """Whatever room gets a registry, the page says how to add to it."""
    in_code = {
        name
        for path in (ROOT / "samcore").rglob("*.py")
        for name in re.findall(
            r"^([A-Z_]+)(?:: [^=]+)? = Registry\(", path.read_text(), re.MULTILINE
        )
    }

    assert in_code == {row[0] for row in registries()}


@pytest.mark.parametrize(
    ("name", "path"),
    re.findall(r"`(?!FAIL)(\w+)`(?: in)? \(?`([\w/]+\.py)`", PAGE),
)
def test_names_are_in_the_files_beside_them(name, path):
    """A function, class or constant that the page names with its file is there."""
    assert re.search(rf"^(?:def |class )?{name}\b", (ROOT / path).read_text(), re.MULTILINE)


def test_named_settings_are_read():
    """The marker and the variable of the page are those of the tests."""
    assert "needs_cuda" in (ROOT / "pyproject.toml").read_text()
    assert "FAIL_WITHOUT_CUDA" in (ROOT / "tests" / "conftest.py").read_text()
