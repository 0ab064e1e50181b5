"""What a person may write after `--model`, and what is said where it does not do."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from samcore.errors import InputError, ModelError
from samcore.models import family as families
from samcore.models.loader import check_model
from samcore.models.registry import needs_download, resolve_model
from samcore.models.transformers.names import HubName, parse_name

ROOT = Path(__file__).parents[4]


def resolve(name: str, tmp_path: Path, **options):
    return resolve_model(name, cache_dir=tmp_path / "cache", **options)


def one_line(caught: pytest.ExceptionInfo[Exception]) -> str:
    (line,) = str(caught.value).splitlines()
    return line


def test_a_name_is_a_repository_or_a_folder(tmp_path, monkeypatch):
    """With a revision or without; a folder that is there comes first."""
    monkeypatch.chdir(tmp_path)
    assert parse_name("hf:facebook/sam2.1-hiera-tiny") == HubName("facebook/sam2.1-hiera-tiny")
    assert parse_name("hf:facebook/sam3@v1") == HubName("facebook/sam3", "v1")
    (tmp_path / "facebook" / "sam3").mkdir(parents=True)
    assert parse_name("hf:facebook/sam3") == Path("facebook/sam3")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:", "wanted hf:ORG/NAME"),
        ("hf:no-slash", "wanted hf:ORG/NAME"),
        ("hf:/no/such/folder", "no folder /no/such/folder"),
        ("hf:./none", "wanted an existing folder"),
        ("hf:facebook/sam3.1", "up to 16 objects"),
        ("sam3.1", "take --model sam3"),
        ("hf:org/sam3-multiplex", "up to 16 objects"),
        ("sam3.pt", "config.json and model.safetensors"),
        ("hf:/models/sam3.pt", "take --model sam3"),
        ("sam4", "hf:ORG/NAME or hf:FOLDER; did you mean sam3"),
    ],
)
def test_a_name_of_nothing_says_what_is_wanted(tmp_path, name, told):
    """One line, with the way out."""
    with pytest.raises(ModelError) as caught:
        resolve(name, tmp_path)

    assert told in one_line(caught)


@pytest.mark.parametrize("model", ["sam3", "hf:facebook/sam3", "sam2.1-tiny"])
def test_sam3s_own_checkpoint_says_which_form_is_wanted(tmp_path, model):
    """By its name, before gigabytes of it are read."""
    checkpoint = tmp_path / "sam3.pt"
    checkpoint.write_bytes(b"large")

    with pytest.raises(ModelError, match="take --model sam3, or --model hf:FOLDER") as caught:
        resolve(model, tmp_path, checkpoint=checkpoint)

    assert str(checkpoint) in one_line(caught)


def test_sam3s_own_checkpoint_is_known_by_its_keys(tmp_path):
    """Also under another name."""
    checkpoint = tmp_path / "mine.pt"
    torch.save({"model": {"detector.a": torch.ones(1), "tracker.b": torch.ones(1)}}, checkpoint)

    with pytest.raises(ModelError, match="SAM 3 in a layout that Longtake does not read"):
        check_model(resolve("sam2.1-tiny", tmp_path, checkpoint=checkpoint))


def test_a_checkpoint_does_not_go_with_a_model_of_the_hub(tmp_path):
    """Such a model is a folder."""
    (tmp_path / "mine.pt").write_bytes(b"weights")

    with pytest.raises(InputError, match="--checkpoint does not go with --model edgetam"):
        resolve("edgetam", tmp_path, checkpoint=tmp_path / "mine.pt")


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _only_sam3_pt(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "sam3.pt").write_bytes(b"large")


def _another_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "sam2_hiera_det_model"}')


def _no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _an_oblong(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_size": [64, 128]}))


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_without_config, "has no config.json"),
        (_only_sam3_pt, "sam3.pt alone cannot be used"),
        (_another_type, "of the type 'sam2_hiera_det_model', which cannot track"),
        (_no_json, "cannot read"),
        (_an_oblong, "image_size must be a square"),
        (_without_weights, "only pytorch_model.bin, which may run code"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(folders, tmp_path, damage, told):
    """One line, that names the folder and what is wanted; before anything is loaded."""
    folder = tmp_path / "model"
    shutil.copytree(folders / "sam2", folder)
    damage(folder)

    with pytest.raises(ModelError) as caught:
        resolve(f"hf:{folder}", tmp_path)

    assert told in one_line(caught)
    assert str(folder) in one_line(caught)


def _lacks_a_part(weights: dict[str, torch.Tensor]) -> None:
    del weights["no_object_pointer"]


def _is_of_another_size(weights: dict[str, torch.Tensor]) -> None:
    weights["no_object_pointer"] = torch.ones(1, 3)


def _is_no_number(weights: dict[str, torch.Tensor]) -> None:
    weights["no_object_pointer"][0, 0] = torch.nan


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_lacks_a_part, "lack 1 of the network's parameters"),
        (_is_of_another_size, "in another size, such as no_object_pointer"),
        (_is_no_number, "holds NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folders, tmp_path, damage, told):
    """A parameter that is missing would be random, and nobody would see it."""
    folder = tmp_path / "model"
    shutil.copytree(folders / "sam2", folder)
    weights = load_file(folder / "model.safetensors")
    damage(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError) as caught:
        check_model(resolve(f"hf:{folder}", tmp_path))

    assert told in one_line(caught)


@pytest.mark.parametrize(
    ("family", "size", "better"),
    [("sam2", 100, 96), ("sam2", 32, 64), ("sam3", 160, 154), ("edgetam", 112, 96)],
)
def test_image_sizes_that_do_not_fit_a_family_are_refused(folders, tmp_path, family, size, better):
    """Each family has a step of its own; the error offers a size that would do."""
    with pytest.raises(InputError, match=f"got {size}; {better} would do"):
        resolve(f"hf:{folders / family}", tmp_path, image_size=size)


def test_weights_in_parts_are_one_model(folders, tmp_path):
    """An index and its parts are read, and a change of any of them is another fingerprint."""
    folder = tmp_path / "model"
    shutil.copytree(folders / "sam2", folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    index = {}
    for part, keys in enumerate((names[::2], names[1::2])):
        file = f"model-{part}.safetensors"
        save_file({key: weights[key] for key in keys}, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(keys, file))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    spec = resolve(f"hf:{folder}", tmp_path)
    check_model(spec)

    weights["no_object_pointer"] += 1
    save_file(
        {key: weights[key] for key in names[::2]},
        folder / "model-0.safetensors",
        metadata={"format": "pt"},
    )
    assert resolve(f"hf:{folder}", tmp_path).fingerprint != spec.fingerprint


@pytest.mark.parametrize("name", ["sam3", "edgetam", "hf:facebook/sam2.1-hiera-tiny"])
def test_without_the_extra_a_name_says_how_to_install_it(tmp_path, monkeypatch, name):
    """Before anything is fetched or imported."""
    there = families.importlib.util.find_spec
    monkeypatch.setattr(
        families.importlib.util,
        "find_spec",
        lambda package: None if package in ("transformers", "huggingface_hub") else there(package),
    )

    with pytest.raises(ModelError, match=r"pip install 'longtake\[transformers\]'") as caught:
        resolve(name, tmp_path)

    assert name in one_line(caught)
    assert needs_download(name, tmp_path)
    monkeypatch.setattr(families.sys, "version_info", (3, 10, 12))
    with pytest.raises(ModelError, match=r"they want Python 3\.11 or newer"):
        resolve(name, tmp_path)


def test_without_the_extra_all_else_works(tmp_path, clip):
    """Where the packages are missing, the models are listed with what they want, nano is loaded,
    and a model of the hub is one line."""
    code = """
import sys
from pathlib import Path

sys.modules.update(dict.fromkeys(("transformers", "timm", "huggingface_hub")))  # as if not there
from flows.cli import run
from samcore.models.loader import check_model
from samcore.models.registry import resolve_model

clip, folder = sys.argv[1:]
assert run(["models"]) == 0
check_model(resolve_model("nano", cache_dir=Path(folder)))
sys.exit(run(["track", clip, "--box", "1:0:1,1,90,90", "-o", folder + "/out", "--model", "sam3"]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(clip), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    assert "wants pip install 'longtake[transformers]'" in ended.stdout
    (line,) = ended.stderr.splitlines()
    assert "pip install 'longtake[transformers]'" in line
