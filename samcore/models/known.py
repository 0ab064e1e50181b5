"""The models that Longtake knows by name, and where their weights are."""

from dataclasses import dataclass
from pathlib import Path

_PUBLISHED = "https://dl.fbaipublicfiles.com/segment_anything_2"

DEFAULT_MODEL = "sam2.1-tiny"


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
class HubWeights:
    """Weights on the Hugging Face hub, which come with their configuration."""

    repo: str
    """Organisation and name."""
    is_gated: bool = False
    """Whether a person has to log in and accept the licence."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """Random weights, the same for everyone."""

    seed: int


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that has a name."""

    name: str
    config: str
    """As its family names configurations: a name of the sam2 package's, or a file's path. Empty
    where it comes with the weights."""
    weights: RemoteWeights | Embedded | HubWeights | Seeded
    about: str
    """One line for a person who chooses."""
    image_size: int = 1024
    """Side of the square that it was trained on, in pixels."""
    licence: str = "Apache-2.0"
    family: str = "sam2"
    """A name in `samcore.models.family.FAMILIES`."""
    takes_text: bool = False
    """Whether it finds what a text says, too."""


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
        name="sam3",
        config="",
        weights=HubWeights("facebook/sam3", is_gated=True),
        about="SAM 3's tracker; finds what --text says, too",
        image_size=1008,
        licence="SAM License",
        family="transformers",
        takes_text=True,
    ),
    KnownModel(
        name="edgetam",
        config="",
        weights=HubWeights("yonigozlan/EdgeTAM-hf"),
        about="EdgeTAM; small memory, for weak devices",
        family="transformers",
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
