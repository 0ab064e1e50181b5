"""The README and the pages that it links to say what the code does, and no more."""

import json
import re
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import typer

from flows.cli import app
from samcore.config import TrackSettings
from samcore.masks.ledger import OBJECTS
from samcore.masks.row import SCHEMA
from samcore.models.known import DEFAULT_MODEL, KNOWN_MODELS, RemoteWeights
from samcore.models.registry import resolve_model
from samcore.prompts.file import parse_prompts
from samcore.result.manifest import MANIFEST, MASKS, OVERLAY, SEAMS
from samcore.video import VideoWriter

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {
    name: (ROOT / name).read_text()
    for name in ("README.md", "infra/README.md", "tests/README.md", "tests/bench/README.md")
}
REFERENCE = PAGES["infra/README.md"].partition("## All commands and options")[2]
REFERENCE = REFERENCE.partition("\n## Limits")[0]
"""The part of the operators' page that lists options and models."""
OPTION = r"(?<![\w-])--[a-z][a-z-]*"


def code_blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def command_line():
    """All commands, with the texts that `--help` gives their options."""
    group = typer.main.get_command(app)
    for command in group.commands.values():
        command.get_help(typer.Context(command))
    return group


def commands() -> dict[str, list[str]]:
    """The long options of each command of the command line."""
    group = command_line()
    return {
        name: [
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--") and option != "--help"
        ]
        for name, command in group.commands.items()
    }


def test_a_newcomer_can_read_it():
    """The README is short; what is long has pages of its own."""
    assert len(README.split()) <= 1500


def rows(text: str, first: str) -> list[str]:
    """The rows of tables whose first cell begins so."""
    return re.findall(rf"^\| {re.escape(first)}.*$", text, flags=re.MULTILINE)


def test_every_command_has_a_row_with_its_options():
    """The operators' page lists each command once, with all of its options and no others; those
    of `track` have a table of their own."""
    of_track = REFERENCE.partition("| option of `track` | |")[2].partition("\n\n")[0]
    for name, options in commands().items():
        (row,) = rows(REFERENCE, f"`longtake {name}")
        page = of_track if name == "track" else row

        assert set(re.findall(OPTION, page)) == set(options), f"infra/README.md, longtake {name}"


def test_every_option_is_explained():
    """Each option has a text in `--help`, and is on one of the pages; what they name exists."""
    group = command_line()
    silent = [
        f"longtake {name} {option}"
        for name, command in group.commands.items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
        and option != "--help"
        and not (parameter.help or "").strip("\0 ")
    ]
    known = {option for options in commands().values() for option in options}
    on_pages = {"README.md": README, "infra/README.md, All commands and options": REFERENCE}
    named = {page: set(re.findall(OPTION, text)) - {"--help"} for page, text in on_pages.items()}

    assert silent == []
    assert known - set.union(*named.values()) == set(), f"explain it in one of {list(named)}"
    assert [(page, options - known) for page, options in named.items() if options - known] == []


def test_every_command_is_in_the_readme():
    """What the command line can do shows on the first page."""
    assert [name for name in commands() if f"`longtake {name}" not in README] == ["demo"]
    assert "infra/longtake demo" in README


def test_the_two_commands_are_there_and_can_be_run():
    """The quick start names scripts of this repository, and CI runs the one for the tests."""
    quick_start = code_blocks("bash")[0]

    for line in quick_start.strip().splitlines():
        script = ROOT / shlex.split(line)[0]
        assert script.stat().st_mode & 0o111, script
    assert "infra/test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    """Every file and folder of the repository that a page names is there."""
    text = PAGES[page]
    named = re.findall(r"`((?:samcore|tasks|flows|infra|tests)/[\w./-]*)`", text)
    missing = [path for path in named if not (ROOT / path).exists()]
    linked = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text)
    missing += [link for link in linked if not (ROOT / page).parent.joinpath(link).exists()]

    assert named or linked
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_links_into_pages_meet_a_heading(page):
    """A link to a part of a page finds that part."""
    for link, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", PAGES[page]):
        target = ROOT.joinpath(page).parent / link if link else ROOT / page
        headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}
        assert anchor in anchors, f"{page}: {link}#{anchor}"


def test_the_models_are_the_ones_known():
    """Each name is listed, those with a row of their own with the size of the download; the
    default is marked, also in the README."""
    for known in KNOWN_MODELS:
        assert f"`{known.name}`" in REFERENCE, known.name
        for row in (*rows(README, f"`{known.name}`"), *rows(REFERENCE, f"`{known.name}`")):
            if isinstance(known.weights, RemoteWeights) and "`, `" not in row:
                assert f"| {known.weights.size / 1e6:.0f} MB |" in row
    assert rows(REFERENCE, f"`{DEFAULT_MODEL}` (default) |")
    assert f"`--model {DEFAULT_MODEL}` (default)" in README


def test_the_columns_are_the_tables():
    """The columns of masks.parquet, in order."""
    page = PAGES["infra/README.md"]
    paragraph = page[page.index("The columns of") : page.index("run lengths.")]
    named = re.findall(r"`(\w+)`", paragraph.replace("`masks.parquet`", ""))

    assert named == SCHEMA.names


def test_the_published_files_are_named():
    """Each file of a result is in the table."""
    for name in (MANIFEST, MASKS, OBJECTS, OVERLAY, SEAMS):
        assert f"| `{name}` |" in README


def test_the_prompts_are_valid():
    """The example of a prompts file is one."""
    (example,) = code_blocks("json")

    spec = parse_prompts(json.dumps(json.loads(example)))

    assert [item.id for item in spec.objects] == [1, 2]


@pytest.fixture
def dog(tmp_path, monkeypatch):
    """A folder with a short dog.mp4 and nothing else."""
    monkeypatch.chdir(tmp_path)
    image = np.zeros((720, 1280, 3), dtype=np.uint8)
    image[180:520, 412:640] = (160, 110, 60)
    with VideoWriter(Path("dog.mp4"), width=1280, height=720, rate=Fraction(30)) as writer:
        for _ in range(3):
            writer.write(image)
    return tmp_path


def test_the_library_example_runs(dog, monkeypatch, capsys):
    """The code block runs as written, but for the model, which would be a download."""
    (example,) = [block for block in code_blocks("python") if "VideoTracker(" in block]

    def small(name: str, *, cache_dir: Path):
        assert name == DEFAULT_MODEL
        return resolve_model("random-tiny", image_size=64, cache_dir=cache_dir)

    monkeypatch.setattr("samcore.models.registry.resolve_model", small)
    exec(compile(example, "README.md", "exec"), {})

    assert capsys.readouterr().out.splitlines()[-1].startswith("2 (1,) (1, 720, 1280)")
    assert Path("state.safetensors").exists()


def test_reading_the_table_works_as_written(tmp_path, monkeypatch, capsys):
    """The code block that reads masks.parquet reads one."""
    from samcore.masks.frame_masks import FrameMasks
    from samcore.masks.table import MaskWriter

    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    one = np.ones(1, dtype=np.float32)
    with MaskWriter(Path("out/masks.parquet"), height=4, width=6) as writer:
        masks = np.ones((1, 4, 6), dtype=np.bool_)
        writer.write(FrameMasks(0, (7,), masks, one, one, np.ones(1, dtype=np.bool_)), 0)
    (example,) = [block for block in code_blocks("python") if "MaskReader(" in block]

    exec(compile(example, "README.md", "exec"), {})

    assert capsys.readouterr().out == "0 7 24 (4, 6)\n"


def test_the_bounds_are_the_settings():
    """Sixteen conditioning frames, as the limits say."""
    assert TrackSettings().max_cond_frames == 16
    assert "More than 16 prompted frames" in README
