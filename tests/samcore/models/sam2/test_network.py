"""Building the network: configurations and checkpoints from anywhere, and what is refused."""

from pathlib import Path

import pytest
import torch

from samcore.errors import ModelError
from samcore.models.sam2.configs import config_file
from samcore.models.sam2.network import build_network

TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"


def build(config=TINY, checkpoint=None, seed=0):
    """A network at a small size."""
    return build_network(str(config), checkpoint, seed=seed, image_size=64)


@pytest.fixture(scope="module")
def weights():
    """Random weights of the tiny model."""
    return build().state_dict()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_come_from_the_checkpoint(weights, tmp_path, suffix):
    """Both kinds of file give exactly the tensors that were saved, whatever the seed."""
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save({"model": weights}, path)
    else:
        from safetensors.torch import save_file

        save_file({k: v.clone() for k, v in weights.items()}, path)

    loaded = build(checkpoint=path, seed=1).state_dict()

    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_a_seed_gives_the_same_weights_and_leaves_the_callers_random_numbers_alone(weights):
    """Random weights repeat; drawing them does not move the caller's generator."""
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)

    again = build().state_dict()

    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert any(not torch.equal(build(seed=1).state_dict()[name], weights[name]) for name in weights)


def _config(tmp_path: Path, old: str, new: str) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(config_file(TINY).read_text().replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    "target",
    ["os.system", "sam2.modeling.sam2_base.torch.os.system", "sam2.sam2_video_predictor.Foo"],
)
def test_a_configuration_cannot_name_other_classes(tmp_path, target):
    """Whatever a configuration asks to call, only SAM 2's own modules are."""
    path = _config(tmp_path, "sam2.modeling.memory_encoder.CXBlock", target)

    with pytest.raises(ModelError, match="may only name"):
        build(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [("embed_dim: 96", "embed_dim: many"), ("model:", "model: [1"), ("model:", "other:")],
    ids=["wrong type", "not YAML", "no model"],
)
def test_a_broken_configuration_is_one_line(tmp_path, old, new):
    """It is refused by name, in one line."""
    with pytest.raises(ModelError, match=r"own\.yaml") as refusal:
        build(_config(tmp_path, old, new))

    assert "\n" not in str(refusal.value)


def test_a_checkpoint_of_another_size_is_refused(weights, tmp_path):
    """The message names both files and the way out."""
    torch.save({"model": weights}, tmp_path / "tiny.pt")

    with pytest.raises(ModelError, match=r"tiny\.pt does not fit .*hiera_l\.yaml") as refusal:
        build("configs/sam2.1/sam2.1_hiera_l.yaml", tmp_path / "tiny.pt")

    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    """Whatever is in the file, it is one line that names it."""
    path = tmp_path / "model.pt"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"model\.pt") as refusal:
        build(checkpoint=path)

    assert "\n" not in str(refusal.value)
