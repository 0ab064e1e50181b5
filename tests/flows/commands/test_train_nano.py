"""`longtake train-nano`: what a person starts, reads and goes on with."""

import json
import re
from pathlib import Path

import pytest

from flows.cli import run
from samcore.models.known import NANO_DIR

RECIPE = """
seed: 3
model_config_file: {model}
workers: 0
validate_every: 100
validation_scenes: 1
validation_frames: 3
log_every: 1
phases:
  - name: only
    steps: {steps}
    image_size: 64
    scenes: 1
    objects: 1
    frames: 1
    lr: [0.001, 0.001]
    mix: {{easy: 1}}
"""


def _train(folder: Path, steps: int) -> int:
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=NANO_DIR / "config.yaml", steps=steps))
    out = str(folder / "run")
    return run(["train-nano", "-o", out, "--config", str(recipe), "--device", "cpu"])


def _steps_in_log(folder: Path) -> list[int]:
    lines = (folder / "run" / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [record["step"] for record in records if record["kind"] == "train"]


def test_training_goes_on_where_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run tells its files and how to track with them; the same command again does nothing, and
    a recipe with more steps does only those."""
    out = tmp_path / "run"
    weights = out / "nano.safetensors"

    assert _train(tmp_path, 2) == 0

    said, told = capsys.readouterr()
    done, curve, use = said.splitlines()
    assert re.fullmatch(rf"2 of 2 steps in .+: {re.escape(str(weights))}", done)
    assert curve == f"the curve: {out / 'curve.png'}"
    assert use == f"to track with it: --checkpoint {weights} --config {NANO_DIR / 'config.yaml'}"
    assert re.search(r"^training: step 2 of 2, only: loss \d.*, IoU \d.* left$", told, re.MULTILINE)
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.pt", "curve.json", "curve.png", "log.jsonl", "nano.safetensors"
    }  # fmt: skip
    assert _steps_in_log(tmp_path) == [1, 2]

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert _train(tmp_path, 2) == 0
    assert capsys.readouterr() == (said, "")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    assert _train(tmp_path, 3) == 0
    said, told = capsys.readouterr()
    assert said.startswith("3 of 3 steps in ")
    assert "training: step 3 of 3" in told
    assert _steps_in_log(tmp_path) == [1, 2, 3]
    assert weights.read_bytes() != before[weights.name]


def test_the_weights_that_it_makes_can_be_tracked_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options that the last line gives are those of a model that loads."""
    from samcore.machine.device import choose_compute
    from samcore.models.loader import load_model
    from samcore.models.registry import resolve_model

    assert _train(tmp_path, 1) == 0
    use = capsys.readouterr().out.splitlines()[-1]
    found = re.fullmatch(r"to track with it: --checkpoint (\S+) --config (\S+)", use)
    assert found is not None

    spec = resolve_model(
        None, checkpoint=Path(found[1]), config=found[2], cache_dir=tmp_path / "cache"
    )
    model = load_model(spec, choose_compute("cpu", "float32"))

    assert (
        model.facts.fingerprint != resolve_model("nano", cache_dir=tmp_path / "cache").fingerprint
    )


def test_a_wrong_recipe_ends_the_command_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, exit code 2, and no folder is made."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 1\n")

    assert run(["train-nano", "-o", str(tmp_path / "run"), "--config", str(recipe)]) == 2

    said, told = capsys.readouterr()
    assert said == ""
    assert told.count("\n") == 1
    assert "model_config_file" in told
    assert not (tmp_path / "run").exists()


def test_help_of_training_names_the_extra_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    """The brackets of the extra are text, not markup that vanishes from the page."""
    assert run(["train-nano", "--help"]) == 0

    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "pip install 'longtake[train]'" in text
