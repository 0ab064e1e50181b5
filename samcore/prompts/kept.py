"""Prompts that are kept: from the tracker's to a prompts file, and back without a loss."""

from collections.abc import Mapping, Sequence

import numpy as np

from samcore.errors import InputError
from samcore.masks.rle import decode_mask, encode_masks, rle_from_coco
from samcore.prompts.file import MaskRle, ObjectPrompts, PromptEntry, PromptFile
from samcore.prompts.prompt import Prompt


def to_file(prompts: Sequence[Prompt], labels: Mapping[int, str] | None = None) -> PromptFile:
    """Say the same in a prompts file that needs no other file: masks are in it as run lengths.

    Args:
        prompts: At least one; at most one for an object and a frame.
        labels: Names of the objects that have one; the default is those of the prompts.
    """
    if labels is None:
        labels = {prompt.obj_id: prompt.label for prompt in prompts if prompt.label}
    entries: dict[int, list[PromptEntry]] = {}
    for prompt in prompts:
        entries.setdefault(prompt.obj_id, []).append(_entry(prompt))
    return PromptFile(
        objects=tuple(
            ObjectPrompts(id=obj_id, label=labels.get(obj_id), prompts=tuple(found))
            for obj_id, found in entries.items()
        )
    )


def from_file(spec: PromptFile) -> tuple[Prompt, ...]:
    """Give back what `to_file` was given, by ascending (obj_id, frame_idx). Nothing is held
    against a video.

    Raises:
        InputError: This file was not written by `to_file`.
    """
    try:
        found = [_prompt(item, entry) for item in spec.objects for entry in item.prompts]
    except ValueError as error:
        raise InputError(f"these prompts name frames or masks in another way: {error}") from error
    return tuple(sorted(found, key=lambda prompt: (prompt.obj_id, prompt.frame_idx)))


def _entry(prompt: Prompt) -> PromptEntry:
    mask = None
    if prompt.mask_hw is not None:
        (rle,) = encode_masks(np.ascontiguousarray(prompt.mask_hw)[None])
        mask = MaskRle(size=(rle.height, rle.width), counts=rle.counts.decode("ascii"))
    points = zip(prompt.points_xy_px, prompt.point_labels, strict=True)
    return PromptEntry(
        frame=prompt.frame_idx,
        time=None,
        box=prompt.box_xyxy_px,
        points=tuple((x, y, label) for (x, y), label in points),
        mask=mask,
        from_here=prompt.from_here,
    )


def _prompt(item: ObjectPrompts, entry: PromptEntry) -> Prompt:
    if entry.frame is None or isinstance(entry.mask, str):
        raise ValueError("wanted frame numbers, and masks as run lengths")
    mask_hw = None
    if entry.mask is not None:
        height, width = entry.mask.size
        mask_hw = decode_mask(rle_from_coco(entry.mask.as_coco(), height=height, width=width))
    return Prompt(
        obj_id=item.id,
        frame_idx=entry.frame,
        box_xyxy_px=entry.box,
        points_xy_px=tuple((x, y) for x, y, _ in entry.points),
        point_labels=tuple(label for *_, label in entry.points),
        mask_hw=mask_hw,
        from_here=entry.from_here,
        label=item.label,
    )
