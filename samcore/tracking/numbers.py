"""Make sure that a model gives numbers: NaN in a memory would spoil all frames after it."""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from samcore.errors import ModelError
from samcore.models.family import DecodedMasks, TrackingModel


def finite(decoded: DecodedMasks, *others: Tensor) -> Tensor:
    """Whether all of this are numbers: one boolean on the device, for which nothing waits."""
    given = (decoded.logits_b1hw, decoded.ious_b, decoded.score_b1, decoded.obj_ptr_bc, *others)
    return torch.stack([tensor.isfinite().all() for tensor in given]).all()


def check_numbers(model: TrackingModel, are_finite: Sequence[Tensor], *, where: str) -> None:
    """Refuse what a model gave if there are NaN or infinities in it; one wait for the device.

    Args:
        model: For the error.
        are_finite: From `finite`.
        where: What it was given for, such as `frame 7`, for the error.

    Raises:
        ModelError: Not all of it are numbers.
    """
    if are_finite and not bool(torch.stack(list(are_finite)).all()):
        refuse_numbers(model, where=where)


def refuse_numbers(model: TrackingModel, *, where: str) -> NoReturn:
    """Say that a model gave NaN or infinity.

    Raises:
        ModelError: Always.
    """
    other = "" if model.compute.dtype == torch.float32 else " with --dtype float32, or"
    raise ModelError(
        f"the model gives no numbers on {where} (NaN or infinity): its weights "
        f"are damaged, or too large for {model.dtype_name} arithmetic; try again{other} "
        "with another checkpoint"
    )
