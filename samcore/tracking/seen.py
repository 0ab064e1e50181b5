"""Copy of a batch's candidates what the memory policy wants to see to the host."""

from collections.abc import Set

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samcore.models.family import Candidates
from samcore.tracking.memory.policy import Need, Seen


def see(candidates: Candidates, needs: Set[Need]) -> list[Seen | None]:
    """What the policies of B objects see of their candidates; None each where they need nothing.

    One copy from the device for all objects' numbers, one for boxes and one for masks.
    """
    num_objects = candidates.ious_bm.shape[0]
    if not needs:
        return [None] * num_objects
    numbers = torch.cat([candidates.ious_bm, candidates.score_b1.float()], dim=1).cpu().tolist()
    inside_bmhw = candidates.logits_bmhw > 0
    boxes = _boxes(inside_bmhw) if needs & {"boxes", "masks"} else None
    masks = inside_bmhw.cpu().numpy() if "masks" in needs else None
    return [
        Seen(
            ious_m=tuple(row[:-1]),
            score=row[-1],
            boxes_m4=None if boxes is None else tuple(map(tuple, boxes[i].tolist())),
            masks_mhw=None if masks is None else masks[i],
        )
        for i, row in enumerate(numbers)
    ]


def _boxes(inside_bmhw: Tensor) -> NDArray[np.int64]:
    """Extent of each mask, B x M x 4: left, top, right, bottom, inclusive; zeros if it is empty."""
    columns = inside_bmhw.any(dim=-2).to(torch.uint8)
    rows = inside_bmhw.any(dim=-1).to(torch.uint8)

    def first(line: Tensor) -> Tensor:
        return line.argmax(dim=-1)

    def last(line: Tensor) -> Tensor:
        return (line.shape[-1] - 1 - line.flip(-1).argmax(dim=-1)) * line.amax(dim=-1)

    edges = torch.stack([first(columns), first(rows), last(columns), last(rows)], dim=-1)
    found: NDArray[np.int64] = edges.cpu().numpy()
    return found
