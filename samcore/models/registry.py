"""The models that Longtake knows by name, and how a request becomes one exact model.

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

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "sam2.1-tiny"

_PUBLISHED = "https://dl.fbaipublicfiles.com/segment_anything_2"


@dataclass(frozen=True, slots=True)
class RemoteWeights:
    """Weights that are downloaded at first use."""

    url: str
    size: int
    """Bytes."""
    sha256: str | None
    """Hex digest, where one is known."""

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Weights that come with Longtake."""

    path: Path


@dataclass(frozen=True, slots=True)
class Seeded:
    """Random weights, the same for everyone."""

    seed: int


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that has a name."""

    name: str
    config: str
    """As its family names configurations: a name of the sam2 package's, or a file's path."""
    weights: RemoteWeights | Embedded | Seeded
    about: str
    """One line for a person who chooses."""
    image_size: int = 1024
    """Side of the square that it was trained on, in pixels."""
    licence: str = "Apache-2.0"
    family: str = "sam2"
    """A name in `samcore.models.family.FAMILIES`."""


NANO_DIR = Path(__file__).parent / "nano"
"""The embedded model: weights, configuration, recipe and model card."""


def _published(generation: str, size: str, num_bytes: int, sha256: str, about: str) -> KnownModel:
    # The package shortens the sizes in its configurations' names, but not in the checkpoints'.
    short = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}[size]
    date = {"sam2": "072824", "sam2.1": "092824"}[generation]
    return KnownModel(
        name=f"{generation}-{size}",
        config=f"configs/{generation}/{generation}_hiera_{short}.yaml",
        weights=RemoteWeights(
            url=f"{_PUBLISHED}/{date}/{generation}_hiera_{size.replace('-', '_')}.pt",
            size=num_bytes,
            sha256=sha256,
        ),
        about=about,
    )


KNOWN_MODELS: tuple[KnownModel, ...] = (
    # Sizes and digests: Git LFS pointers and hash tables of several unrelated public projects
    # that use these files, which agree. The publisher gives none.
    _published(
        "sam2.1",
        "tiny",
        156_008_466,
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        "SAM 2.1, 39 M parameters; the fastest",
    ),
    _published(
        "sam2.1",
        "small",
        184_416_285,
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        "SAM 2.1, 46 M parameters",
    ),
    _published(
        "sam2.1",
        "base-plus",
        323_606_802,
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        "SAM 2.1, 81 M parameters",
    ),
    _published(
        "sam2.1",
        "large",
        898_083_611,
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        "SAM 2.1, 224 M parameters; the most accurate",
    ),
    _published(
        "sam2",
        "tiny",
        155_906_050,
        "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
        "SAM 2.0, 39 M parameters",
    ),
    _published(
        "sam2",
        "small",
        184_309_650,
        "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
        "SAM 2.0, 46 M parameters",
    ),
    _published(
        "sam2",
        "base-plus",
        323_493_298,
        "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        "SAM 2.0, 81 M parameters",
    ),
    _published(
        "sam2",
        "large",
        897_952_466,
        "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
        "SAM 2.0, 224 M parameters",
    ),
    KnownModel(
        name="nano",
        config=str(NANO_DIR / "config.yaml"),
        weights=Embedded(NANO_DIR / "nano.safetensors"),
        about="3 M parameters, in this package; for demos and tests, not for real footage",
        image_size=128,
    ),
    KnownModel(
        name="random-tiny",
        config="configs/sam2.1/sam2.1_hiera_t.yaml",
        weights=Seeded(seed=0),
        about="masks are noise; for trying the machinery and tests",
        image_size=256,
    ),
)


class ModelSpec(BaseModel):
    """One exact model: equal fingerprints give equal masks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """For a person: a known name, or the checkpoint's file name."""
    family: str = "sam2"
    """A name in `samcore.models.family.FAMILIES`."""
    config: str
    """As the family names it: a name of the sam2 package's, or a file's absolute path."""
    checkpoint: Path | None
    """None where the weights are random."""
    seed: int | None
    """Of random weights; None where there is a checkpoint."""
    image_size: int
    """Side of the square that frames are resized to, in pixels."""
    fingerprint: str
    """`sha256:` and a digest of the weights (or their seed), the configuration and the size."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A known model, and whether it is on this machine."""

    model: KnownModel
    path: Path | None
    """Where its weights are, or will be; None where they are random."""
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
    cache_dir: Path,
    download: bool = True,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> ModelSpec:
    """Turn a request into one exact model whose weights are on this machine.

    Args:
        name: A known model; None with no checkpoint is `sam2.1-tiny`, if it is here: a model that
            nobody named is not worth a download that nobody asked for.
        checkpoint: Weights to use in place of the named model's. Without a name it needs `config`.
        config: What `checkpoint` was made with: a name of the sam2 package's, or a file's path.
        image_size: Side of the model's input in pixels; None is the model's own.
        cache_dir: Folder for downloads; need not exist.
        download: Whether a checkpoint that is not here may be fetched.
        on_progress: Called with the bytes that are here and the total, if known.

    Raises:
        InputError: The options do not go together, or the image size does not fit.
        ModelError: The name or configuration is not known, or the checkpoint cannot be had.
        StorageError: The checkpoint cannot be written to the cache.
    """
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
    model = _known(name or DEFAULT_MODEL)
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
    close = difflib.get_close_matches(name.lower(), models, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ModelError(f"unknown model {name!r}: known are {', '.join(models)}{hint}")


def _entry(model: KnownModel, cache_dir: Path) -> ModelEntry:
    if isinstance(model.weights, Seeded):
        return ModelEntry(model, None, available=True)
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
