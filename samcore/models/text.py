"""What some models can do besides tracking: find what a text says, on the tracker's features.

SAM 3 has a tracker and a detector with one image encoder, so that a picture is encoded once for
both. The detector `sam3` (`samcore/detectors/sam3.py`) is made of what is here.
"""

from __future__ import annotations  # torch takes a second to import; only types need it here

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from samcore.errors import InputError
from samcore.models.family import model_family

if TYPE_CHECKING:
    from torch import Tensor

    from samcore.models.family import ImageFeatures, TrackingModel
    from samcore.models.registry import ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class TextFinds:
    """What a picture shows of K texts: Q proposals for each, most of them of nothing."""

    scores_kq: Tensor
    """How sure it is, float32 in [0, 1]."""
    boxes_kq4: Tensor
    """Left, top, right, bottom as parts of the picture, about 0 to 1, float32."""
    logits_kqhw: Tensor
    """Mask logits of the whole picture on a square grid, float32; above 0 is inside."""


class TextHeads(Protocol):
    """Finds texts on features of the model that gave it."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What it looks for; encoded once, when it was made."""

    def find(self, features: ImageFeatures, numbers: Sequence[int]) -> TextFinds:
        """Look for some of the texts on one frame, in `TrackingModel.running`.

        Args:
            features: From the model's `encode_images`, called after these heads were made.
            numbers: Which texts, by their place in `texts`; all at once.
        """


def text_heads(model: TrackingModel, texts: Sequence[str]) -> TextHeads:
    """The part of a model that finds texts. From now on its features have `trunk_1nc`.

    Raises:
        InputError: The model has no such part, or a text is too long for it.
        ModelError: Its weights cannot be used.
    """
    make = getattr(model, "text_heads", None)
    if make is None:
        raise no_text("that is loaded")
    heads: TextHeads = make(texts)
    return heads


def check_texts(spec: ModelSpec, texts: Sequence[str]) -> str:
    """Refuse a model that cannot look for these texts; reads no more than its files' headers.

    Returns:
        A digest of what texts are read by and that the model's fingerprint does not hold.

    Raises:
        InputError: It finds no texts, or a text is too long.
        ModelError: What it reads texts by is not there.
    """
    check = getattr(model_family(spec.family), "check_texts", None)
    if check is None:
        raise no_text(spec.name)
    digest: str = check(spec.name, spec.config, texts)
    return digest


def no_text(name: str) -> InputError:
    """The error of a model that finds no texts.

    Args:
        name: Of the model, as a person names it.
    """
    return InputError(
        f"text: the model {name} does not look for what a text says; take --model sam3, "
        "--model hf:FOLDER of SAM 3 with its detector, or --detect transformers:ORG/NAME"
    )
