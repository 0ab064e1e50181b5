"""Processes that train one model together."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from samcore.errors import InputError
from samcore.models.known import NANO_DIR
from samcore.training import train
from samcore.training.config import load_config
from samcore.training.replicas import check_count

RUN = f"""
seed: 3
model_config_file: {NANO_DIR / "config.yaml"}
workers: 0
validation: [easy 1]
validation_scenes: 1
validation_frames: 2
phases:
  - name: alone
    steps: 1
    image_size: 64
    scenes: 1
    objects: 1
    frames: 1
    lr: [0.0001, 0.0001]
    mix: {{easy: 1}}
  - name: together
    steps: 2
    image_size: 64
    scenes: 1
    batches: 2
    objects: 1
    frames: 2
    lr: [0.0001, 0.0001]
    mix: {{easy: 1}}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    return path


@pytest.mark.timeout(600)
def test_two_processes_train_as_one_does(recipe, tmp_path):
    """Each takes one of a step's batches, or none where a step has one; the weights are those of
    one process that takes both, but for the order of sums. One of them writes."""
    alone = train(recipe, tmp_path / "alone", device="cpu")
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = ("-m", "flows.cli", "train-nano", "--config", str(recipe), "--device", "cpu")
    subprocess.run(
        [sys.executable, *launch, *command, "-o", str(tmp_path / "together")],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    one = load_file(alone.weights)
    two = load_file(tmp_path / "together" / alone.weights.name)
    assert one.keys() == two.keys()
    # Three steps of AdamW move a weight by up to 3e-4. Where its gradient is next to nothing, its
    # direction is a matter of rounding.
    moved = torch.cat([(one[name].float() - two[name].float()).abs().flatten() for name in one])
    assert (moved > 5e-5).float().mean() < 0.01
    lines = (tmp_path / "together" / "log.jsonl").read_text().splitlines()
    assert len(lines) == 3  # the start, the last step, the validation


def test_more_processes_than_batches_are_refused(recipe):
    """A process that would never have anything to do is not started in silence."""
    config = load_config(recipe)
    with pytest.raises(InputError, match=r"3 processes, .* start 2 processes, or"):
        check_count(config, 3, device=torch.device("cpu"))
    with pytest.raises(InputError, match="one process for a GPU"):
        check_count(config, 2, device=torch.device("cuda"))
    check_count(config, 1, device=torch.device("cuda"))
