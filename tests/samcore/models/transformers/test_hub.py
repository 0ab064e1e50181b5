"""Models of the hub: fetched once, at one commit; each way in which that fails is one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants as hub_constants
import pytest

from samcore.errors import InputError, ModelError
from samcore.models.known import KNOWN_MODELS, HubWeights
from samcore.models.registry import (
    check_can_be_had,
    list_models,
    needs_download,
    resolve_model,
)
from tests.samcore.models.transformers.hub_server import HubServer

ROOT = Path(__file__).parents[4]
FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def hub(folders, tmp_path, monkeypatch):
    """A hub with one model, and an empty cache of its own."""
    served = tmp_path / "served"
    shutil.copytree(folders / "sam2", served)
    (served / "README.md").write_text("a model")
    (served / "pytorch_model.bin").write_bytes(b"a pickle")
    with HubServer() as server:
        server.folders["org/sam2"] = served
        server.commits["org/sam2"] = FIRST
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(hub_constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub_constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


def resolve(name: str, tmp_path: Path, **options):
    return resolve_model(name, cache_dir=tmp_path / "cache", **options)


def test_a_model_is_fetched_once_at_one_commit(hub, tmp_path):
    """Its name says the commit; what is there is not fetched again; no pickle, no second form."""
    assert needs_download("hf:org/sam2", tmp_path)
    told = []

    spec = resolve("hf:org/sam2", tmp_path, on_progress=lambda *at: told.append(at))
    again = resolve("hf:org/sam2", tmp_path)

    assert spec == again
    assert spec.name == "hf:org/sam2@111111111111"
    assert spec.family == "transformers"
    assert Path(spec.config).name == FIRST
    assert sorted(hub.asked) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert not needs_download("hf:org/sam2", tmp_path)
    size = (Path(spec.config) / "model.safetensors").stat().st_size
    assert told[-1][0] == told[-1][1] >= size


def test_a_branch_that_moves_is_another_model(hub, tmp_path):
    """The commit is in the fingerprint; the one that was fetched first stays to be had."""
    first = resolve("hf:org/sam2", tmp_path)
    hub.commits["org/sam2"] = SECOND

    second = resolve("hf:org/sam2", tmp_path)

    assert second.fingerprint != first.fingerprint
    assert second.name == "hf:org/sam2@222222222222"
    assert resolve(f"hf:org/sam2@{FIRST}", tmp_path) == first


def test_what_was_fetched_is_used_without_a_network(hub, tmp_path, monkeypatch):
    """With HF_HUB_OFFLINE, and where the hub cannot be reached."""
    spec = resolve("hf:org/sam2", tmp_path)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert resolve("hf:org/sam2", tmp_path) == spec
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    assert resolve("hf:org/sam2", tmp_path) == spec


@pytest.mark.parametrize(
    "ask", [resolve, lambda name, _: check_can_be_had(name)], ids=["", "early"]
)
@pytest.mark.parametrize(
    ("kind", "failure", "token", "told"),
    [
        ("errors", (401, "GatedRepo"), None, "run `hf auth login`, or set HF_TOKEN"),
        ("errors", (403, "GatedRepo"), "hf_mine", "does not let your account in"),
        ("hidden", (401, "GatedRepo"), None, "accept its licence at http"),
        ("hidden", (401, "RepoNotFound"), None, "there is no hf:org/other on the hub, or it is"),
        ("hidden", (401, ""), "hf_old", "the hub does not take your token"),
        ("hidden", (500, ""), None, "the hub cannot be reached"),
    ],
)
def test_a_refusal_is_one_line_with_the_way_out(
    hub, tmp_path, monkeypatch, ask, kind, failure, token, told
):
    """At the first look, before anything large is fetched, and when it is fetched."""
    getattr(hub, kind)["org/other"] = failure
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)

    with pytest.raises(ModelError) as caught:
        ask("hf:org/other", tmp_path)

    (line,) = str(caught.value).splitlines()
    assert told in line
    assert "hf:org/other" in line
    if failure[1] == "GatedRepo":
        assert f"{hub.endpoint}/org/other" in line
    if token is not None:
        assert token not in line


def test_a_known_name_is_a_model_of_the_hub(hub, tmp_path):
    """`sam3` is gated: what is missing is said with the name of the model."""
    hub.errors["facebook/sam3"] = (401, "GatedRepo")

    with pytest.raises(ModelError, match=r"hf:facebook/sam3 wants you to log in.*hf auth login"):
        resolve("sam3", tmp_path)


def test_whether_a_model_finds_texts_is_asked_before_its_weights(hub, folders):
    """Its configuration tells; one of SAM 3 without its detector does not do either."""
    with pytest.raises(InputError, match="hf:org/sam2 does not look for what a text says"):
        check_can_be_had("hf:org/sam2", for_text=True)
    assert hub.asked == ["config.json"]
    hub.folders["facebook/sam3"] = folders / "sam3"
    check_can_be_had("sam3", for_text=True)
    assert hub.asked == ["config.json", "config.json"]


def test_a_revision_that_is_not_there(hub, tmp_path):
    """The line names it."""
    with pytest.raises(ModelError, match="hf:org/sam2 has no revision v9"):
        resolve("hf:org/sam2@v9", tmp_path)


@pytest.mark.parametrize(
    ("offline", "told"),
    [(True, "HF_HUB_OFFLINE is set: unset it"), (False, "the hub cannot be reached")],
)
def test_without_a_network_and_not_in_the_cache(hub, tmp_path, monkeypatch, offline, told):
    """Both lines say how to bring the model here."""
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(ModelError, match=told) as caught:
        resolve("hf:org/sam2", tmp_path)

    (line,) = str(caught.value).splitlines()
    assert "copy the model's folder here and take --model hf:FOLDER" in line


def test_a_model_that_was_only_looked_up_is_not_here(hub, tmp_path, monkeypatch):
    """Its configuration alone is no model."""
    check_can_be_had("hf:org/sam2")
    assert hub.asked == ["config.json"]
    assert needs_download("hf:org/sam2", tmp_path)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(ModelError, match="is not on this machine, or not all of it"):
        resolve("hf:org/sam2", tmp_path)


def test_a_model_that_cannot_track_is_refused_before_its_weights(hub, tmp_path):
    """The look at its configuration is enough."""
    (hub.folders["org/sam2"] / "config.json").write_text('{"model_type": "bert"}')

    with pytest.raises(ModelError, match="of the type 'bert', which cannot track"):
        check_can_be_had("hf:org/sam2")

    assert hub.asked == ["config.json"]


def test_the_list_says_which_are_here(hub, folders, tmp_path):
    """A model of the hub is there once it was fetched."""
    hub.folders["yonigozlan/EdgeTAM-hf"] = folders / "edgetam"
    names = {m.name for m in KNOWN_MODELS if isinstance(m.weights, HubWeights)}
    here = {entry.name: entry.available for entry in list_models(tmp_path)}
    assert names == {"sam3", "edgetam"}
    assert not here["edgetam"]

    spec = resolve("edgetam", tmp_path)

    assert spec.name.startswith("edgetam@")
    assert {entry.name: entry.available for entry in list_models(tmp_path)}["edgetam"]


def test_the_hubs_own_settings_hold(hub, tmp_path, clip):
    """HF_ENDPOINT says which hub, HF_HOME where models are kept: in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from samcore import resolve_model;"
        "print(resolve_model('hf:org/sam2', cache_dir=Path(sys.argv[1])).config)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    environment.pop("HF_HUB_OFFLINE", None)
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stderr == ""
    assert Path(ended.stdout.strip()).is_relative_to(tmp_path / "home")
