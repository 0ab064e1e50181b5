"""From what the mask decoder proposes for prompts to masks at the size of their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from samcore.images.result import PictureMask
from samcore.masks.rle import Rle, encode_masks
from samcore.models.family import Candidates
from samcore.prompts.prompt import Prompt
from samcore.tracking.postprocess import fill_holes_and_remove_specks, masks_at_video_size

_MOST_LOGIT = 32.0
"""Logits that are kept lie between this and its negative, as the sam2 package gives them."""
_PIXELS_AT_ONCE = 1 << 27
"""Pixels of the masks of a picture that are held at once, a byte each (128 MiB)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be given for each prompt."""

    multimask: bool | None
    """Whether three masks compete; None leaves it to the model."""
    every: bool
    """Whether all candidates are given, and not only the best one."""
    mask_threshold: float
    """Logits above this are inside."""
    min_region_area: int
    """Holes and specks of at most this many pixels of the low-resolution mask are removed."""
    keep_logits: bool
    """Whether masks have their logits, too."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """K candidates of each of B prompts; all but the logits are on the host."""

    logits_bkhw: Tensor
    """Low-resolution logits, float32, on the device."""
    index_bk: list[list[int]]
    """Which candidate each one is."""
    ious_bk: list[list[float]]
    """Predicted IoU."""
    score_b: list[float]
    """Object-score logits."""
    first_without_numbers: int | None
    """The first prompt whose masks hold NaN or infinity; None if there is none."""


def choose_candidates(decoded: Candidates, *, every: bool) -> Chosen:
    """All candidates, or of each prompt the one with the highest predicted IoU.

    Waits for the device once.
    """
    ious_bm = decoded.ious_bm
    count, most = ious_bm.shape
    if every:
        index_bk = torch.arange(most, device=ious_bm.device).expand(count, -1)
    else:
        index_bk = ious_bm.argmax(dim=1, keepdim=True)
    rows_b1 = torch.arange(count, device=ious_bm.device)[:, None]
    logits_bkhw = decoded.logits_bmhw[rows_b1, index_bk].float()
    taken = index_bk.shape[1]
    table_bn = torch.cat(
        [
            index_bk.float(),
            ious_bm.gather(1, index_bk),
            decoded.score_b1.float(),
            logits_bkhw.flatten(1).isfinite().all(dim=1, keepdim=True).float(),
        ],
        dim=1,
    ).cpu()
    is_bad_b = ~table_bn.isfinite().all(dim=1) | (table_bn[:, -1] == 0)
    return Chosen(
        logits_bkhw=logits_bkhw,
        index_bk=table_bn[:, :taken].int().tolist(),
        ious_bk=table_bn[:, taken : 2 * taken].tolist(),
        score_b=table_bn[:, -2].tolist(),
        first_without_numbers=int(is_bad_b.nonzero()[0]) if bool(is_bad_b.any()) else None,
    )


def masks_of(
    chosen: Chosen,
    rows: Sequence[int],
    prompts: Sequence[Prompt],
    size_hw: tuple[int, ...],
    wanted: Wanted,
) -> list[list[PictureMask]]:
    """The masks of some prompts of one picture, at its size; a list for each prompt.

    Args:
        chosen: Of these prompts and maybe others.
        rows: Where these are in `chosen`.
        prompts: The prompts.
        size_hw: Rows and columns of the picture.
        wanted: What is to be given.
    """
    logits_rkhw = chosen.logits_bkhw[torch.tensor(rows, device=chosen.logits_bkhw.device)]
    count = logits_rkhw.shape[1]
    rles = _at_picture_size(logits_rkhw.flatten(0, 1), (size_hw[0], size_hw[1]), wanted)
    kept_rkhw = None
    if wanted.keep_logits:
        kept_rkhw = logits_rkhw.clamp(-_MOST_LOGIT, _MOST_LOGIT).cpu().numpy()
    return [
        [
            PictureMask(
                obj_id=prompt.obj_id,
                rle=rles[at * count + place],
                score=chosen.ious_bk[row][place],
                predicted_iou=chosen.ious_bk[row][place],
                object_score=chosen.score_b[row],
                candidate=chosen.index_bk[row][place],
                label=prompt.label,
                logits_hw=None if kept_rkhw is None else kept_rkhw[at, place],
            )
            for place in range(count)
        ]
        for at, (row, prompt) in enumerate(zip(rows, prompts, strict=True))
    ]


def _at_picture_size(logits_nhw: Tensor, size_hw: tuple[int, int], wanted: Wanted) -> list[Rle]:
    height, width = size_hw
    if wanted.min_region_area > 0:
        logits_nhw = fill_holes_and_remove_specks(
            logits_nhw, max_area=wanted.min_region_area, threshold=wanted.mask_threshold
        )
    if wanted.mask_threshold:
        logits_nhw = logits_nhw - wanted.mask_threshold
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    rles: list[Rle] = []
    for first in range(0, len(logits_nhw), at_once):
        some_n1hw = logits_nhw[first : first + at_once, None]
        rles += encode_masks(masks_at_video_size(some_n1hw, height=height, width=width))
    return rles
