"""How a request becomes one exact model.

Imports neither torch nor sam2, so that listing models takes no seconds.
"""

import difflib
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from samcore.disk.digests import file_digest
from samcore.errors import InputError, ModelError
from samcore.models.family import model_family
from samcore.models.known import (
    DEFAULT_MODEL,
    KNOWN_MODELS,
    Embedded,
    HubWeights,
    KnownModel,
    RemoteWeights,
    Seeded,
)
from samcore.models.text import no_text
from samcore.models.transformers.family import find_model, is_model_here, look_up_model
from samcore.models.transformers.names import PREFIX, SAM3_FILES, refuse_other_forms

logger = logging.getLogger(__name__)

PLAIN_ENGINE = 0
"""The arithmetic of the models' packages: that of all versions that knew no other one."""
ENGINE = 1
"""Longtake's own arithmetic, whose results differ from the plain one's by rounding. Goes up when
equal models give other bits than before: results are then made anew, and what another version has
begun is not gone on with."""
HUB_FAMILY = "transformers"
"""The family of models in folders as the hub has them."""


class ModelSpec(BaseModel):
    """One exact model: equal fingerprints give equal masks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """For a person: a known name, or the checkpoint's file name."""
    family: str = "sam2"
    """A name in `samcore.models.family.FAMILIES`."""
    config: str
    """As the family names it: a name of the sam2 package's, or an absolute path."""
    checkpoint: Path | None
    """The weights' file, or the index of several; None where they are random."""
    seed: int | None
    """Of random weights; None where there is a checkpoint."""
    image_size: int
    """Side of the square that frames are resized to, in pixels."""
    engine: int = PLAIN_ENGINE
    """Which arithmetic: `PLAIN_ENGINE`, or the `ENGINE` of the version that resolved it."""
    fingerprint: str
    """`sha256:` and a digest of the weights (or their seed), the configuration, the size and the
    engine."""

    @property
    def is_plain(self) -> bool:
        """Whether to compute everything as the models' packages do."""
        return self.engine == PLAIN_ENGINE

    @property
    def weights_bytes(self) -> int:
        """Size of the weights' files; of random weights, that of the published ones which fit the
        same configuration; 0 if nobody knows."""
        if self.checkpoint is None:
            fitting = (one.weights for one in KNOWN_MODELS if one.config == self.config)
            return max((one.size for one in fitting if isinstance(one, RemoteWeights)), default=0)
        is_index = self.checkpoint.suffix == ".json"
        files = self.checkpoint.parent.glob("*.safetensors") if is_index else [self.checkpoint]
        return sum(file.stat().st_size for file in files if file.is_file())


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A known model, and whether it is on this machine."""

    model: KnownModel
    path: Path | None
    """Where its weights are, or will be; None where they are random, or in the hub's own cache."""
    available: bool
    """It needs no download."""

    @property
    def name(self) -> str:
        return self.model.name


def list_models(cache_dir: Path) -> list[ModelEntry]:
    """All known models, in the order to show them; reads nothing but file sizes."""
    return [_entry(model, cache_dir) for model in KNOWN_MODELS]


def resolve_model(
    name: str | None,
    *,
    checkpoint: Path | None = None,
    config: str | None = None,
    image_size: int | None = None,
    plain_engine: bool = False,
    cache_dir: Path,
    download: bool = True,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> ModelSpec:
    """Turn a request into one exact model whose weights are on this machine.

    Args:
        name: A known model, or `hf:ORG/NAME`, `hf:ORG/NAME@REVISION`, `hf:FOLDER`; None with no
            checkpoint is `sam2.1-tiny`, if it is here: a model that nobody named is not worth a
            download that nobody asked for.
        checkpoint: Weights to use in place of the named model's. Without a name it needs `config`.
        config: What `checkpoint` was made with: a name of the sam2 package's, or a file's path.
        image_size: Side of the model's input in pixels; None is the model's own.
        plain_engine: Whether to compute as the models' packages do. By default Longtake's own
            faster ways are taken, whose results differ by rounding.
        cache_dir: Folder for downloads; need not exist.
        download: Whether a checkpoint that is not here may be fetched.
        on_progress: Called with the bytes that are here and the total, if known.

    Raises:
        InputError: The options do not go together, or the image size does not fit.
        ModelError: The name or configuration is not known, or the checkpoint cannot be had.
        StorageError: The checkpoint cannot be written to the cache.
    """
    plain = _resolve(name, checkpoint, config, image_size, cache_dir, download, on_progress)
    if plain_engine:
        return plain
    digest = hashlib.sha256(f"{plain.fingerprint} by engine {ENGINE}".encode()).hexdigest()
    return plain.model_copy(update={"engine": ENGINE, "fingerprint": f"sha256:{digest}"})


def _resolve(
    name: str | None,
    checkpoint: Path | None,
    config: str | None,
    image_size: int | None,
    cache_dir: Path,
    download: bool,
    on_progress: Callable[[int, int | None], None] | None,
) -> ModelSpec:
    """The model as the plain engine computes it."""
    if config is not None and checkpoint is None:
        raise InputError("--config goes with --checkpoint: give the checkpoint file, too")
    if checkpoint is not None:
        return _resolve_checkpoint(
            name, checkpoint, config=config, image_size=image_size, cache_dir=cache_dir
        )
    if name is None and not _entry(_known(DEFAULT_MODEL), cache_dir).available:
        raise ModelError(
            f"no model was named, and the default, {DEFAULT_MODEL}, is not on this machine: "
            f"--model {DEFAULT_MODEL} downloads it (156 MB); --model nano needs no download, but "
            "is for trying things out, not for real footage"
        )
    if name is not None and name.startswith(PREFIX):
        return _resolve_hub(name, None, image_size, cache_dir, download, on_progress)
    model = _known(name or DEFAULT_MODEL)
    if isinstance(model.weights, HubWeights):
        repo = model.weights.repo
        return _resolve_hub(model.name, repo, image_size, cache_dir, download, on_progress)
    size = _image_size(model.family, model.config, model.image_size, image_size)
    if isinstance(model.weights, Seeded):
        return _spec(model.family, model.name, model.config, size, seed=model.weights.seed)
    path = _weights_path(model.weights, cache_dir)
    if isinstance(model.weights, RemoteWeights):
        digest = _have_published(
            model.name, model.weights, path, download=download, on_progress=on_progress
        )
    else:
        digest = file_digest(path, cache_dir=cache_dir)
    return _spec(model.family, model.name, model.config, size, checkpoint=path, digest=digest)


def needs_download(name: str | None, cache_dir: Path) -> bool:
    """Whether a model has to be fetched before it can be used; False where nobody knows it.

    Raises:
        ModelError: It is an `hf:` name of nothing.
    """
    if name is not None and name.startswith(PREFIX):
        return not is_model_here(name, None)
    here = {entry.name: entry.available for entry in list_models(cache_dir)}
    return not here.get(name or "", True)


def check_can_be_had(name: str, *, for_text: bool = False) -> None:
    """See early whether a model that needs a download can be had; asks the hub, where it is one's.

    Args:
        name: A known model, or `hf:ORG/NAME`.
        for_text: Whether it has to find what a text says.

    Raises:
        InputError: It finds no texts.
        ModelError: It cannot be had or used; the message says why, and what to do.
        StorageError: What the hub says of it cannot be kept.
    """
    weights = None if name.startswith(PREFIX) else _known(name).weights
    if weights is None or isinstance(weights, HubWeights):
        folder = look_up_model(name, None if weights is None else weights.repo)
        if for_text and not folder.has_detector:
            raise no_text(name)


def check_may_take_text(name: str | None, *, checkpoint: bool) -> None:
    """Refuse a model that finds no texts, as far as its name alone says that.

    Args:
        name: As for `resolve_model`.
        checkpoint: Whether a checkpoint is given, too: SAM 3 has none that could be.

    Raises:
        InputError: It finds none.
    """
    if checkpoint:
        raise no_text("of --checkpoint")
    named = name or DEFAULT_MODEL
    if any(model.name == named and not model.takes_text for model in KNOWN_MODELS):
        raise no_text(named)


def resized_model(spec: ModelSpec, image_size: int) -> ModelSpec:
    """The same weights with another input size.

    The fingerprint follows from that of `spec`: it is another one than that of the same model
    asked for with this size in the first place.

    Raises:
        InputError: The architecture does not take this size.
    """
    if image_size == spec.image_size:
        return spec
    model_family(spec.family).check_image_size(spec.config, image_size)
    digest = hashlib.sha256(f"{spec.fingerprint} at {image_size}".encode()).hexdigest()
    return spec.model_copy(update={"image_size": image_size, "fingerprint": f"sha256:{digest}"})


def _resolve_hub(
    name: str,
    repo: str | None,
    image_size: int | None,
    cache_dir: Path,
    download: bool,
    on_progress: Callable[[int, int | None], None] | None,
) -> ModelSpec:
    """A model on the hub or in a folder. The hub keeps what it fetches in a cache of its own."""
    found = find_model(name, repo, cache_dir=cache_dir, download=download, on_progress=on_progress)
    family = model_family(HUB_FAMILY)
    size = _image_size(
        HUB_FAMILY, found.config, family.default_image_size(found.config), image_size
    )
    return _spec(
        HUB_FAMILY,
        found.name,
        found.config,
        size,
        checkpoint=found.weights,
        digest=found.digest,
    )


def _resolve_checkpoint(
    name: str | None,
    checkpoint: Path,
    *,
    config: str | None,
    image_size: int | None,
    cache_dir: Path,
) -> ModelSpec:
    if name is None and config is None:
        raise InputError(
            f"--checkpoint {checkpoint} needs the --model whose architecture it has, or --config, "
            "such as configs/sam2.1/sam2.1_hiera_t.yaml"
        )
    if name is not None and config is not None:
        raise InputError("give --model or --config with --checkpoint, not both")
    if checkpoint.name in SAM3_FILES:
        refuse_other_forms(str(checkpoint))
    if name is not None and (
        name.startswith(PREFIX) or isinstance(_known(name).weights, HubWeights)
    ):
        raise InputError(
            f"--checkpoint does not go with --model {name}: such a model is a whole folder, as the "
            "hub has it; give that as --model hf:FOLDER (sam3.pt is in another layout)"
        )
    if not checkpoint.is_file():
        raise ModelError(f"no checkpoint file {checkpoint}; wanted a SAM 2 .pt or .safetensors")
    if config is None:
        model = _known(name or DEFAULT_MODEL)
        family, found, default_size = model.family, model.config, model.image_size
    else:
        family = "sam2"
        found = model_family(family).find_config(config)
        default_size = model_family(family).default_image_size(found)
    size = _image_size(family, found, default_size, image_size)
    digest = file_digest(checkpoint, cache_dir=cache_dir)
    path = checkpoint.resolve()
    return _spec(family, checkpoint.name, found, size, checkpoint=path, digest=digest)


def _known(name: str) -> KnownModel:
    models = {model.name: model for model in KNOWN_MODELS}
    if name in models:
        return models[name]
    refuse_other_forms(name)
    close = difflib.get_close_matches(name.lower(), models, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ModelError(
        f"unknown model {name!r}: known are {', '.join(models)}, and hf:ORG/NAME or hf:FOLDER{hint}"
    )


def _entry(model: KnownModel, cache_dir: Path) -> ModelEntry:
    if isinstance(model.weights, Seeded):
        return ModelEntry(model, None, available=True)
    if isinstance(model.weights, HubWeights):
        return ModelEntry(model, None, available=is_model_here(model.name, model.weights.repo))
    path = _weights_path(model.weights, cache_dir)
    if isinstance(model.weights, Embedded):
        return ModelEntry(model, path, available=True)
    here = path.is_file() and path.stat().st_size == model.weights.size
    return ModelEntry(model, path, available=here)


def _weights_path(weights: RemoteWeights | Embedded, cache_dir: Path) -> Path:
    return weights.path if isinstance(weights, Embedded) else cache_dir / weights.file_name


def _image_size(family: str, config: str, default: int, asked: int | None) -> int:
    size = default if asked is None else asked
    model_family(family).check_image_size(config, size)
    return size


def _have_published(
    name: str,
    weights: RemoteWeights,
    path: Path,
    *,
    download: bool,
    on_progress: Callable[[int, int | None], None] | None,
) -> str:
    """Have the published file itself at `path`, and not another one; its SHA-256."""
    if not path.is_file():
        if not download:
            raise ModelError(
                f"the weights of {name} are not on this machine: download {weights.url} to {path}"
            )
        # Only who downloads pays for the HTTP library's import (half a second).
        from samcore.disk.download import download_file

        logger.info("downloading %s (%.0f MB)", weights.url, weights.size / 1e6)
        download_file(
            weights.url, path, size=weights.size, sha256=weights.sha256, on_progress=on_progress
        )
        if weights.sha256 is not None:
            return weights.sha256
    digest = file_digest(path, cache_dir=path.parent)
    if path.stat().st_size != weights.size or weights.sha256 not in (None, digest):
        raise ModelError(
            f"{path} is not the published file of {name}: delete it to download it again, or use "
            f"it by --checkpoint {path} --model {name}"
        )
    return digest


def _spec(
    family: str,
    name: str,
    config: str,
    image_size: int,
    *,
    checkpoint: Path | None = None,
    digest: str | None = None,
    seed: int | None = None,
) -> ModelSpec:
    identity = {
        "config": model_family(family).config_digest(config),
        "image_size": image_size,
        "seed": seed,
        "weights": digest,
    }
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return ModelSpec(
        name=name,
        family=family,
        config=config,
        checkpoint=checkpoint,
        seed=seed,
        image_size=image_size,
        fingerprint=f"sha256:{fingerprint}",
    )
