"""The families of the package `transformers`: how a name becomes a folder, and a folder a model.

Imports neither torch nor transformers until a model is built.
"""

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samcore.errors import ModelError
from samcore.models.family import FAMILIES, missing_extra
from samcore.models.text import no_text
from samcore.models.transformers.folder import ModelFolder, config_digest, read_folder
from samcore.models.transformers.names import HubName, parse_name

if TYPE_CHECKING:
    from samcore.machine.device import Compute
    from samcore.models.family import TrackingModel
    from samcore.models.registry import ModelSpec

_VERSION = 1
"""Of the adapter: goes up when equal models would give other masks."""


class TransformersFamily:
    """SAM 2, SAM 3's tracker and EdgeTAM; a configuration is the path of a model's folder."""

    def find_config(self, config: str) -> str:
        return str(read_folder(Path(config).expanduser(), name=config).path)

    def config_digest(self, config: str) -> str:
        # Other versions of the package may give other last bits.
        package = importlib.metadata.version("transformers")
        said = f"{_VERSION} {package} {config_digest(self._folder(config))}"
        return hashlib.sha256(said.encode()).hexdigest()

    def default_image_size(self, config: str) -> int:
        return self._folder(config).image_size

    def num_maskmem(self, config: str) -> int:
        return self._folder(config).num_maskmem

    def check_image_size(self, config: str, image_size: int) -> None:
        self._folder(config).check_image_size(image_size)

    def check_files(self, spec: "ModelSpec") -> None:
        from samcore.models.transformers.network import build_network

        build_network(self._folder(spec.config), image_size=spec.image_size)

    def build(self, spec: "ModelSpec", compute: "Compute") -> "TrackingModel":
        check_installed(spec.name)
        from samcore.models.transformers.network import build_model

        return build_model(
            self._folder(spec.config),
            image_size=spec.image_size,
            fingerprint=spec.fingerprint,
            compute=compute,
            plain=spec.is_plain,
        )

    def check_texts(self, name: str, config: str, texts: Sequence[str]) -> str:
        """Refuse texts that a model cannot look for; see `samcore.models.text.check_texts`.

        Raises:
            InputError: It finds no texts, or one is too long.
            ModelError: The detector's weights or the tokenizer are not there.
        """
        folder = self._folder(config)
        if not folder.has_detector:
            raise no_text(name)
        from samcore.models.transformers.words import (
            check_detector,
            read_texts,
            tokenizer_digest,
        )

        check_detector(folder.path, name=name)
        read_texts(folder.path, texts)
        return tokenizer_digest(folder.path)

    def _folder(self, config: str) -> ModelFolder:
        return read_folder(Path(config), name=config)


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model of this family, on this machine."""

    name: str
    """For a person, with the commit."""
    config: str
    """Its folder."""
    weights: Path
    """The file of its weights, or the index of several."""
    digest: str
    """Of weights and commit, in hex."""


def check_installed(name: str, *, option: str = "--model") -> None:
    """See whether the packages are there, without importing them.

    Args:
        name: Of the model, as a person names it.
        option: The option by which they do.

    Raises:
        ModelError: One is missing; the message says how to install it.
    """
    missing = missing_extra(FAMILIES.get("transformers"))
    if missing:
        raise ModelError(
            f"{option} {name} needs the packages transformers and timm, which are not installed; "
            f"they want {missing}"
        )


def look_up_model(name: str, repo: str | None) -> ModelFolder:
    """See early whether a model can be had, before anything large is fetched.

    Args:
        name: As the person named it.
        repo: What a name without `hf:` stands for on the hub.

    Returns:
        What its configuration says; the weights need not be here.

    Raises:
        ModelError: It cannot be had or used; the message says why, and what to do.
        StorageError: Its configuration cannot be kept.
    """
    check_installed(name)
    place = parse_name(name) if repo is None else HubName(repo)
    if isinstance(place, HubName):
        from samcore.models.transformers.hub import look_up

        place = look_up(place)
    return read_folder(place, name=name)


def is_model_here(name: str, repo: str | None) -> bool:
    """Whether a model needs no download."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return False
    place = parse_name(name) if repo is None else HubName(repo)
    if isinstance(place, Path):
        return True
    from samcore.models.transformers.hub import is_here

    return is_here(place)


def is_logged_in() -> bool:
    """Whether requests to the hub carry somebody's token."""
    from samcore.models.transformers import hub

    return hub.is_logged_in()


def find_model(
    name: str,
    repo: str | None,
    *,
    cache_dir: Path,
    download: bool,
    on_progress: Callable[[int, int | None], None] | None,
) -> FoundModel:
    """Have a model on this machine, at one commit.

    Args:
        name: As the person named it.
        repo: What a name without `hf:` stands for on the hub.
        cache_dir: Where digests of large files are remembered.
        download: Whether the network may be used.
        on_progress: Called with the bytes that are here and the total, if known.

    Raises:
        ModelError: It cannot be had or used; the message says why, and what to do.
        StorageError: It cannot be kept.
    """
    check_installed(name)
    place = parse_name(name) if repo is None else HubName(repo)
    commit = ""
    if isinstance(place, HubName):
        from samcore.models.transformers.hub import fetch

        snapshot = fetch(place, download=download, on_progress=on_progress)
        place, commit = snapshot.folder, snapshot.commit
        name = f"{name.partition('@')[0]}@{commit[:12]}"
    folder = read_folder(place, name=name)
    digest = folder.digest(cache_dir)
    if commit:
        digest = hashlib.sha256(f"{commit} {digest}".encode()).hexdigest()
    return FoundModel(name, str(folder.path), folder.weights[0], digest)
