"""The README says what the code does, and no more."""

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
from samcore.masks.row import SCHEMA
from samcore.models.registry import DEFAULT_MODEL, KNOWN_MODELS, RemoteWeights, resolve_model
from samcore.prompts.file import parse_prompts
from samcore.video import VideoWriter
from tasks.results.manifest import MANIFEST, MASKS, OVERLAY, SEAMS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def code_blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> dict[str, list[str]]:
    """The long options of each command of the command line."""
    group = typer.main.get_command(app)
    return {
        name: [
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--") and option != "--help"
        ]
        for name, command in group.commands.items()
    }


def test_every_command_and_option_is_there():
    """What the command line takes is named, and what is named it takes."""
    known = {option for options in commands().values() for option in options}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))

    assert known <= named
    assert named <= known
    for name in commands():
        assert f"`longtake {name}" in README


def test_the_two_commands_are_there_and_can_be_run():
    """The quick start names scripts of this repository, and CI runs the one for the tests."""
    quick_start = code_blocks("bash")[0]

    for line in quick_start.strip().splitlines():
        script = ROOT / shlex.split(line)[0]
        assert script.stat().st_mode & 0o111, script
    assert "infra/test" in (ROOT / ".ci" / "run").read_text()


def test_paths_exist():
    """Every file and folder of the repository that is named is there."""
    named = re.findall(r"`((?:samcore|tasks|flows|infra|tests)/[\w./-]*)`", README)
    named += re.findall(r"\]\(([\w./-]+)\)", README)

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_models_are_the_ones_known():
    """Each name is listed with the size of its download, the default is marked."""
    for known in KNOWN_MODELS:
        assert f"`{known.name}`" in README, known.name
    default = next(known for known in KNOWN_MODELS if known.name == DEFAULT_MODEL)
    assert isinstance(default.weights, RemoteWeights)
    assert f"| `{DEFAULT_MODEL}` (default) | {default.weights.size / 1e6:.0f} MB |" in README


def test_the_columns_are_the_tables():
    """The columns of masks.parquet, in order."""
    paragraph = README[README.index("The columns of") : README.index("To read it:")]
    named = re.findall(r"`(\w+)`", paragraph.replace("`masks.parquet`", ""))

    assert named == SCHEMA.names


def test_the_published_files_are_named():
    """Each file of a result is in the table."""
    for name in (MANIFEST, MASKS, OVERLAY, SEAMS):
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
