"""What the engine needs of a model, whatever family it is of.

A family is a network architecture with its own package: `sam2` is the first. Its adapter gives the
network as functions from tensors to tensors, without any memory of its own. The tracker, the mask
generator and the tasks name only what is here.
"""

from __future__ import annotations  # torch takes a second to import; only types need it here

import importlib.util
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from samcore.errors import InputError
from samcore.registry import Entry, Registry

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from samcore.machine.device import Compute
    from samcore.models.registry import ModelSpec


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model is made of, as far as the engine must know."""

    fingerprint: str
    """Digest of weights, configuration and input size: equal fingerprints, equal functions."""
    image_size: int
    """Side of the square that frames are resized to, in pixels."""
    logits_size: int
    """Side of the low-resolution mask logits."""
    num_maskmem: int
    """Spatial memories of a step: a conditioning frame and `num_maskmem - 1` tracked ones."""
    max_obj_ptrs: int
    """Object pointers: of the last `max_obj_ptrs - 1` tracked frames."""
    max_cond_frames: int
    """Conditioning frames that the model was told to attend to; -1 for all."""
    future_ptrs: bool
    """Whether pointers of conditioning frames that lie ahead are attended to."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """What the image encoder says of one frame."""

    tokens_n1c: Tensor
    """Top-level features, (H/16 * W/16) x 1 x C."""
    pos_n1c: Tensor
    """Their position encoding, the same shape."""
    high_res_1chw: tuple[Tensor, ...]
    """Feature maps at strides 4 and 8 for the mask decoder, each 1 x C' x H' x W'."""
    trunk_1nc: Tensor | None = None
    """What the image encoder gave before the tracker's own maps were made of it, 1 x N x C; only
    of a model that looks for texts, too: see `samcore/models/text.py`."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """All masks that the decoder proposes for B objects on one frame: M = 3, or 1, for each."""

    logits_bmhw: Tensor
    """Low-resolution mask logits, not yet blanked where the object is absent."""
    ious_bm: Tensor
    """Predicted IoU of each, float32 in [0, 1]."""
    tokens_bkc: Tensor
    """The decoder's output tokens, from which pointers are made; K = M, or 1 for all masks."""
    score_b1: Tensor
    """Object-score logits."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedMasks:
    """The one mask of each of B objects on one frame."""

    logits_b1hw: Tensor
    """Low-resolution mask logits, float32. Above 0 is inside; -1024 everywhere where the object
    is absent."""
    ious_b: Tensor
    """Predicted IoU, float32 in [0, 1]."""
    obj_ptr_bc: Tensor
    """Object pointers."""
    score_b1: Tensor
    """Object-score logits; above 0 is present."""


@dataclass(frozen=True, slots=True, eq=False)
class AttendedMemory:
    """What B objects with one memory layout attend to at a frame; lists run over memory slots."""

    maskmem_bchw: Sequence[Tensor]
    """Spatial memories as `encode_memory` gave them, such as B x 64 x H/16 x W/16."""
    temporal_positions: Sequence[int]
    """For each spatial memory: 0 for a conditioning frame, else num_maskmem minus its age."""
    obj_ptr_bc: Sequence[Tensor]
    """Object pointers, each B x C."""
    ptr_ages: Sequence[Sequence[int]]
    """For each pointer, for each object: how many frames it lies back."""
    max_ptr_age: int
    """The age that the pointers' temporal encoding is normalised by."""
    pool: int = 1
    """Side of the squares over which spatial memories are averaged before they are attended to; 1
    is exact. Only for families whose entry says `pools_memory`."""


class TrackingModel(Protocol):
    """A network on one device, in inference mode, without any memory of its own.

    All methods take and give tensors on `device`. Batch results do not depend on what else is in
    the batch, but their last bits may depend on the batch's shape.
    """

    compute: Compute
    facts: ModelFacts

    @property
    def device(self) -> torch.device:
        """Where tensors live."""

    @property
    def dtype_name(self) -> str:
        """Arithmetic of the model, such as `bfloat16`."""

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Parts that run otherwise than asked, up to now, such as one that cannot be compiled: a
        line each, for the records."""

    def running(self) -> AbstractContextManager[None]:
        """Inference mode, mixed precision as chosen, and kernels whose results repeat."""

    def preprocess(self, images_rgb_nhwc_u8: NDArray[np.uint8]) -> Tensor:
        """Resize and normalise N frames: N x 3 x image_size x image_size, float32."""

    def encode_images(self, images_n3hw: Tensor) -> list[ImageFeatures]:
        """Run the image encoder on N preprocessed frames; features of each, in order."""

    def without_memory(self, features: ImageFeatures) -> Tensor:
        """Features for a conditioning frame, which looks at no memory: 1 x C x H/16 x W/16."""

    def with_memory(self, features: ImageFeatures, memory: AttendedMemory) -> Tensor:
        """Fuse a frame with the memories of B objects: B x C x H/16 x W/16."""

    def decode(
        self,
        fused_bchw: Tensor,
        features: ImageFeatures,
        *,
        is_cond: bool,
        points_bp2: Tensor | None = None,
        labels_bp: Tensor | None = None,
        prior_logits_b1hw: Tensor | None = None,
        multimask: bool | None = None,
    ) -> Candidates:
        """Run prompt encoder and mask decoder.

        Args:
            fused_bchw: Features from `without_memory` or `with_memory`.
            features: Those of the frame, for the high-resolution maps; or with a row of each map
                for each object, which may then be of different pictures.
            is_cond: A conditioning frame; decides whether three masks compete.
            points_bp2: P clicks an object, x and y in pixels of the model's input. A box is two
                points with labels 2 and 3. With P = 0 it is a picture's prompt without clicks, in
                the way of the family's own image predictor; None is a frame's.
            labels_bp: 1 on the object, 0 off it, 2 and 3 the corners of a box.
            prior_logits_b1hw: An earlier low-resolution mask that the clicks correct.
            multimask: Whether three masks compete; None leaves that to the model, by `is_cond` and
                P.
        """

    def pick(
        self, candidates: Candidates, index_b: Tensor, *, present_above: float = 0.0
    ) -> DecodedMasks:
        """Take one candidate of each object, with the pointer of its token.

        Args:
            candidates: From `decode`.
            index_b: Which one, int64.
            present_above: An object whose score is not above this is absent.
        """

    def mask_to_output(self, features: ImageFeatures, mask_hw: NDArray[np.bool_]) -> DecodedMasks:
        """Take a given mask (any size) as the output of a conditioning frame."""

    def encode_memory(
        self, features: ImageFeatures, decoded: DecodedMasks, *, is_cond: bool
    ) -> Tensor:
        """Fuse a frame's features with B masks: spatial memories, batch first."""


class ModelFamily(Protocol):
    """What a family knows of its configurations, and how its models are built."""

    def find_config(self, config: str) -> str:
        """A configuration as it is written into a `ModelSpec`.

        Raises:
            ModelError: There is no such configuration.
        """

    def config_digest(self, config: str) -> str:
        """SHA-256 of the configuration, in hex."""

    def default_image_size(self, config: str) -> int:
        """Side of the input that the configuration is made for, in pixels."""

    def num_maskmem(self, config: str) -> int | None:
        """`ModelFacts.num_maskmem`; None if that is known only once the model is built.

        Raises:
            ModelError: The configuration cannot be read.
        """

    def check_image_size(self, config: str, image_size: int) -> None:
        """Check that the architecture takes this input.

        Raises:
            InputError: It does not; the message says which sizes it takes.
        """

    def check_files(self, spec: ModelSpec) -> None:
        """Read the configuration and the checkpoint as `build` does, and keep nothing of them.

        Raises:
            ModelError: One of them cannot be used.
        """

    def build(self, spec: ModelSpec, compute: Compute) -> TrackingModel:
        """Build the model on its device.

        Raises:
            ModelError: The configuration or the checkpoint cannot be used.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyEntry(Entry):
    """A model family. Its home is a class that is a `ModelFamily`."""

    extra: str = ""
    """The optional dependencies of Longtake that it needs; empty where none."""
    packages: tuple[str, ...] = ()
    """Modules that must be there for it."""
    python: tuple[int, int] = (3, 10)
    """The oldest version of Python that these run on."""
    pools_memory: bool = False
    """Whether its models take `AttendedMemory.pool`."""
    compiles: bool = False
    """Whether its models can be compiled by `torch.compile`."""


FAMILIES = Registry(
    "model family",
    "longtake.families",
    FamilyEntry,
    [
        FamilyEntry(
            name="sam2",
            about="SAM 2 and 2.1, by the sam2 package",
            home="samcore.models.sam2.family:Sam2Family",
            pools_memory=True,
            compiles=True,
        ),
        FamilyEntry(
            name="transformers",
            about="SAM 2, SAM 3's tracker and EdgeTAM, by the package transformers",
            home="samcore.models.transformers.family:TransformersFamily",
            extra="transformers",
            packages=("transformers", "timm"),
            python=(3, 11),
        ),
    ],
)
"""The families, by name."""


def check_memory_pool(family: str, pool: int) -> None:
    """Refuse to pool memories for a family that cannot.

    Raises:
        InputError: There is no such family, or it attends to all of its memory only.
    """
    if pool > 1 and not FAMILIES.get(family).pools_memory:
        able = ", ".join(one.name for one in FAMILIES if one.pools_memory)
        raise InputError(
            f"memory_pool {pool} is for models of the family {able}, got one of {family}: leave "
            "it out, or take such a model"
        )


def check_compiles(family: str, *, compile: bool, plain_engine: bool) -> None:
    """Refuse to compile what cannot be compiled.

    Args:
        family: Of the model.
        compile: Whether it is to be compiled.
        plain_engine: Whether it is to compute as its package does.

    Raises:
        InputError: There is no such family, it cannot, or both are asked for.
    """
    if not compile:
        return
    if plain_engine:
        raise InputError("plain_engine and compile: wanted one of them, got both")
    if not FAMILIES.get(family).compiles:
        able = ", ".join(one.name for one in FAMILIES if one.compiles)
        raise InputError(
            f"compile is for models of the family {able}, got one of {family}: leave it out, or "
            "take such a model"
        )


def missing_extra(family: FamilyEntry) -> str:
    """How to install what a family lacks on this machine; empty where nothing is missing."""
    if all(importlib.util.find_spec(package) is not None for package in family.packages):
        return ""
    if sys.version_info < family.python:
        return "Python {}.{} or newer".format(*family.python)
    return f"pip install 'longtake[{family.extra}]'"


def model_family(name: str) -> ModelFamily:
    """The family with this name.

    Raises:
        InputError: There is none; the message lists the known ones.
    """
    family: ModelFamily = FAMILIES.get(name).load()()
    return family
