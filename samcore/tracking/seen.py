"""Copy of a batch's candidates what the memory policy wants to see to the host."""

from collections.abc import Set

import torch
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
            boxes_m4=None if boxes is None else boxes[i],
            masks_mhw=None if masks is None else masks[i],
        )
        for i, row in enumerate(numbers)
    ]


def _boxes(inside_bmhw: Tensor) -> list[tuple[tuple[float, float, float, float], ...]]:
    """Edges of each mask, B x M x 4, as parts of the sides; see `Seen`."""
    columns = inside_bmhw.any(dim=-2).to(torch.uint8)
    rows = inside_bmhw.any(dim=-1).to(torch.uint8)

    def first(line: Tensor) -> Tensor:
        return line.argmax(dim=-1)

    def past(line: Tensor) -> Tensor:
        return (line.shape[-1] - line.flip(-1).argmax(dim=-1)) * line.amax(dim=-1)

    edges = torch.stack([first(columns), first(rows), past(columns), past(rows)], dim=-1)
    height, width = inside_bmhw.shape[-2:]
    # Divided on the host in float64: equal bits wherever the masks were made.
    return [
        tuple(
            (left / width, top / height, right / width, bottom / height)
            for left, top, right, bottom in boxes_m4
        )
        for boxes_m4 in edges.cpu().tolist()
    ]
