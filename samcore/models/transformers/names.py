"""Names of models on the hub and in folders: `hf:ORG/NAME`, `hf:ORG/NAME@REVISION`, `hf:FOLDER`."""

import re
from dataclasses import dataclass
from pathlib import Path

from samcore.errors import ModelError

PREFIX = "hf:"

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
SAM3_FILES = ("sam3.pt", "sam3.safetensors")
"""Names of SAM 3's own checkpoint."""

OTHER_LAYOUT = (
    "is SAM 3 in a layout that Longtake does not read: take --model sam3, or --model hf:FOLDER "
    "with config.json and model.safetensors, as the hub has them"
)
"""What is wrong with such a file, and the way out."""

_MULTIPLEX = re.compile(r"sam[-_.]?3\.1|multiplex", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubName:
    """A model on the hub."""

    repo: str
    """Organisation and name."""
    revision: str | None = None
    """A branch, tag or commit; None for the main branch."""
    option: str = f"--model {PREFIX}"
    """How people begin to name models of this kind."""

    @property
    def named(self) -> str:
        """As people name it, without the option."""
        return f"{self.option.rpartition(' ')[2]}{self}"

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def parse_name(name: str) -> HubName | Path:
    """What `hf:...` names. A folder that exists comes before a model on the hub.

    Raises:
        ModelError: It names neither.
    """
    refuse_other_forms(name)
    return parse_place(
        name.removeprefix(PREFIX),
        option=f"--model {PREFIX}",
        example="facebook/sam2.1-hiera-tiny",
    )


def parse_place(text: str, *, option: str, example: str) -> HubName | Path:
    """What `ORG/NAME`, `ORG/NAME@REVISION` or `FOLDER` names.

    Args:
        text: As a person wrote it, behind the prefix.
        option: The option and the prefix, such as `--model hf:`.
        example: A model of this kind.

    Raises:
        ModelError: It names neither a model nor a folder.
    """
    prefix = option.rpartition(" ")[2]
    path = Path(text).expanduser()
    if text and path.exists():
        return path
    repo, _, revision = text.partition("@")
    is_repo = _REPO.fullmatch(repo) is not None and not text.startswith((".", "~"))
    if is_repo and (revision or not text.endswith("@")):
        return HubName(repo, revision or None, option)
    if "/" in text.strip("/") or text.startswith(("/", ".", "~")):
        raise ModelError(
            f"no folder {path}, which {option}{text} names; wanted an existing folder, or "
            f"{prefix}ORG/NAME for a model on the hub"
        )
    raise ModelError(
        f"{option}{text} names neither a model on the hub nor a folder: wanted {prefix}ORG/NAME, "
        f"such as {prefix}{example}, {prefix}ORG/NAME@REVISION or {prefix}FOLDER"
    )


def refuse_other_forms(name: str) -> None:
    """Refuse SAM 3.1, whose memory belongs to groups of objects, and SAM 3's own checkpoint file.

    Raises:
        ModelError: The name is one of these.
    """
    last = Path(name.removeprefix(PREFIX)).name
    if last in SAM3_FILES:
        raise ModelError(f"{name} {OTHER_LAYOUT}")
    if _MULTIPLEX.search(last):
        raise ModelError(
            f"{name}: SAM 3.1 keeps one memory for up to 16 objects at once (multiplex), which "
            "Longtake cannot do yet; take --model sam3"
        )
