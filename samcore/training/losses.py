"""What a predicted mask costs."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from samcore.training.config import LossWeights


@dataclass(frozen=True, slots=True, eq=False)
class FrameLoss:
    """The loss of R objects on one frame, and what to log of it."""

    total: Tensor
    """To be minimised, a scalar."""
    iou: Tensor
    """Mean IoU of the chosen masks where the object is present, a scalar without gradient."""
    presence_right: Tensor
    """Share of rows whose presence is told right, a scalar without gradient."""


def frame_loss(
    logits_rmhw: Tensor,
    ious_rm: Tensor,
    scores_r1: Tensor,
    truth_rhw: Tensor,
    *,
    chosen_r: Tensor,
    weights: LossWeights,
    balance: float,
) -> FrameLoss:
    """Compare all M candidate masks with the truth.

    Every candidate learns the whole object: which one is shown is the IoU head's choice, and a
    candidate that learns only when it is the best stays bad wherever it is chosen by mistake.

    Args:
        logits_rmhw: Mask logits of M candidates.
        ious_rm: Predicted IoU of each, in [0, 1].
        scores_r1: Object-score logits.
        truth_rhw: Share of each cell that the object covers, in [0, 1], at the logits' size or a
            multiple of it.
        chosen_r: Which candidate is shown.
        weights: Factors of the parts.
        balance: 1 weighs the object's cells and the background's alike, 0 counts cells. Without
            balance an untrained model learns that nothing is ever there, and stays so.
    """
    present_r = truth_rhw.flatten(1).amax(dim=1) >= 0.5
    presence = F.binary_cross_entropy_with_logits(scores_r1[:, 0], present_r.float())
    told_right = ((scores_r1[:, 0] > 0) == present_r).float().mean()
    # A mean over present rows that stays defined when there are none, without asking the device.
    weight_r = present_r.float() / present_r.float().sum().clamp(min=1)
    logits = F.interpolate(
        logits_rmhw, size=truth_rhw.shape[-2:], mode="bilinear", align_corners=False
    )
    truth = truth_rhw[:, None].expand_as(logits)
    mask = _weighted_bce(logits, truth, balance)
    dice = _dice(logits, truth)
    with torch.no_grad():
        actual_rm = _hard_iou(logits, truth)
    iou_error = (ious_rm - actual_rm).abs()
    per_row = weights.mask * mask + weights.dice * dice + weights.iou * iou_error
    total = (per_row.mean(dim=1) * weight_r).sum() + weights.presence * presence
    shown_r = actual_rm.gather(1, chosen_r[:, None])[:, 0]
    return FrameLoss(
        total=total,
        iou=(shown_r * weight_r).sum().detach(),
        presence_right=told_right.detach(),
    )


def _weighted_bce(logits: Tensor, truth: Tensor, balance: float) -> Tensor:
    """Cross-entropy, R x M; the weight of object and background grows as they get rarer."""
    share = truth.mean(dim=(-2, -1), keepdim=True).clamp(1e-3, 1 - 1e-3)
    weight_in = (0.5 / share) ** balance
    weight_out = (0.5 / (1 - share)) ** balance
    # softplus(x) - x * t is the cross-entropy of a sigmoid; split into the two classes' parts.
    inside = truth * F.softplus(-logits) * weight_in
    outside = (1 - truth) * F.softplus(logits) * weight_out
    return (inside + outside).mean(dim=(-2, -1))


def _dice(logits: Tensor, truth: Tensor) -> Tensor:
    """1 minus the soft Dice score, R x M."""
    soft = logits.sigmoid()
    both = (soft * truth).sum(dim=(-2, -1))
    either = soft.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    return 1 - (2 * both + 1) / (either + 1)


def _hard_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU of the thresholded masks, R x M."""
    predicted, actual = logits > 0, truth >= 0.5
    both = (predicted & actual).sum(dim=(-2, -1)).float()
    either = (predicted | actual).sum(dim=(-2, -1)).float()
    return both / either.clamp(min=1)
