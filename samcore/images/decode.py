"""Run the mask decoder on the prompts of several pictures at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samcore.errors import InputError
from samcore.images.prompt import PicturePrompt
from samcore.models.family import Candidates, ImageFeatures, TrackingModel
from samcore.models.pixels import mask_at_input_size
from samcore.prompts.prompt import Prompt, check_prompt

_INSIDE, _OUTSIDE = 10.0, -10.0
"""Logits of a given mask, as `SAM2Base._use_mask_as_output` (sam2 1.1.0) has them."""
_LEFT_TOP, _RIGHT_BOTTOM = 2, 3
"""Labels of a box's corners."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One prompt, as the decoder takes it."""

    picture: int
    """Which of the pictures that are decoded together it is of, from 0."""
    place: int
    """Where it stands among the prompts of its picture, from 0."""
    prompt: Prompt
    """What was said."""
    points_p2: NDArray[np.float32]
    """Corners of the box and clicks, as parts of the picture's sides."""
    labels_p: NDArray[np.int32]
    """Of each of these."""

    @property
    def has_prior(self) -> bool:
        """Whether a mask is given, too."""
        return self.prompt.mask_hw is not None or _prior_of(self.prompt) is not None

    @property
    def kind(self) -> tuple[int, bool]:
        """Only prompts of one kind can go through the decoder together: padding with points that
        are none would change a mask."""
        return len(self.labels_p), self.has_prior


def ask(
    prompt: Prompt, *, picture: int, place: int, size_hw: tuple[int, int], name: str, side: int
) -> Asked:
    """A prompt as the decoder takes it.

    Args:
        prompt: For an object on a picture.
        picture, place: As in `Asked`.
        size_hw: Rows and columns of the picture.
        name: Of the picture, for errors.
        side: Of the model's low-resolution logits.

    Raises:
        InputError: The prompt says nothing, contradicts itself, or has no numbers.
    """
    height, width = size_hw
    prior_hw = _prior_of(prompt)
    if prior_hw is None:
        where = check_prompt(prompt, height=height, width=width, num_frames=1, on=name)
    else:
        where = _check_with_prior(prompt, prior_hw, name=name, side=side)
    points = [*(prompt.box_xyxy_px or ())]
    for x, y in prompt.points_xy_px:
        points += [x, y]
    points_p2 = np.array(points, np.float32).reshape(-1, 2)
    if not np.isfinite(points_p2).all():
        raise InputError(f"{where} has coordinates that are no numbers; wanted pixels")
    corners = [] if prompt.box_xyxy_px is None else [_LEFT_TOP, _RIGHT_BOTTOM]
    return Asked(
        picture=picture,
        place=place,
        prompt=prompt,
        points_p2=np.asarray(points_p2 / np.array([width, height], np.float32), np.float32),
        labels_p=np.array([*corners, *prompt.point_labels], np.int32),
    )


def _prior_of(prompt: Prompt) -> NDArray[np.float32] | None:
    return prompt.prior_logits_hw if isinstance(prompt, PicturePrompt) else None


def _check_with_prior(
    prompt: Prompt, prior_hw: NDArray[np.float32], *, name: str, side: int
) -> str:
    """Check a prompt that corrects an earlier answer, and name it for messages."""
    where = f"the prompt for object {prompt.obj_id} on {name}"
    if prior_hw.shape != (side, side) or not np.isfinite(prior_hw).all():
        raise InputError(
            f"{where} has prior logits of shape {prior_hw.shape}; wanted {(side, side)} numbers, "
            "those of an earlier answer of this model"
        )
    if prompt.mask_hw is not None:
        raise InputError(f"{where} has a mask beside prior logits; give one of them")
    if prompt.box_xyxy_px is not None or prompt.points_xy_px:
        check_prompt(prompt, height=0, width=0, num_frames=1, on=name)
    return where


def decode_prompts(
    model: TrackingModel,
    features: Sequence[ImageFeatures],
    asked: Sequence[Asked],
    *,
    at_once: int,
    multimask: bool | None,
) -> Iterator[tuple[list[Asked], Candidates]]:
    """Decode prompts of several pictures together, those of one kind at a time.

    A prompt's masks do not depend on what else is decoded, but for rounding. Runs within
    `model.running()`.

    Args:
        model: Any.
        features: Of each picture.
        asked: Prompts of these pictures, in any order.
        at_once: How many go through the decoder at once.
        multimask: As for `TrackingModel.decode`.

    Returns:
        Batches of prompts with the masks that are proposed for them.
    """
    if not asked:
        return
    kinds: dict[tuple[int, bool], list[Asked]] = {}
    for one in asked:
        kinds.setdefault(one.kind, []).append(one)
    pictures = _Pictures(model, features)
    for (_, has_prior), same in kinds.items():
        for first in range(0, len(same), at_once):
            batch = same[first : first + at_once]
            fused_bchw, of_each = pictures.of([one.picture for one in batch])
            priors_b1hw = None
            if has_prior:
                priors_b1hw = torch.cat([_prior(model, one.prompt) for one in batch])
            points_bp2 = torch.from_numpy(np.stack([one.points_p2 for one in batch]))
            labels_bp = torch.from_numpy(np.stack([one.labels_p for one in batch]))
            yield (
                batch,
                model.decode(
                    fused_bchw,
                    of_each,
                    is_cond=True,
                    points_bp2=points_bp2.to(model.device) * model.facts.image_size,
                    labels_bp=labels_bp.to(model.device),
                    prior_logits_b1hw=priors_b1hw,
                    multimask=multimask,
                ),
            )


class _Pictures:
    """Features of several pictures, to be laid out with a row for each prompt."""

    def __init__(self, model: TrackingModel, features: Sequence[ImageFeatures]) -> None:
        self._features = features
        self._fused_nchw = torch.cat([model.without_memory(one) for one in features])
        levels = zip(*(one.high_res_1chw for one in features), strict=True)
        self._maps_nchw = [torch.cat(level) for level in levels]

    def of(self, pictures: Sequence[int]) -> tuple[Tensor, ImageFeatures]:
        """The features of a picture for each of these, as `TrackingModel.decode` takes them."""
        first = self._features[pictures[0]]
        if len(set(pictures)) == 1:
            # Large maps of one picture are not copied.
            fused_1chw = self._fused_nchw[pictures[0] : pictures[0] + 1]
            return fused_1chw.repeat_interleave(len(pictures), dim=0), first
        rows = torch.tensor(pictures, device=self._fused_nchw.device)
        maps = tuple(level[rows] for level in self._maps_nchw)
        return self._fused_nchw[rows], ImageFeatures(first.tokens_n1c, first.pos_n1c, maps)


def _prior(model: TrackingModel, prompt: Prompt) -> Tensor:
    """The mask that a prompt gives, as low-resolution logits, 1 x 1 x side x side."""
    prior_hw = _prior_of(prompt)
    if prior_hw is not None:
        return torch.from_numpy(np.ascontiguousarray(prior_hw)).to(model.device)[None, None].float()
    if prompt.mask_hw is None:
        raise ValueError(f"the prompt for object {prompt.obj_id} gives no mask")
    mask_11hw = mask_at_input_size(
        prompt.mask_hw, image_size=model.facts.image_size, device=model.device
    )
    side = model.facts.logits_size
    return F.interpolate(
        mask_11hw * (_INSIDE - _OUTSIDE) + _OUTSIDE,
        size=(side, side),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
