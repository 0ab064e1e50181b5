"""Prompts as a run keeps them: a run continues although the files that they came from are gone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from samcore.masks.rle import Rle, decode_mask, encode_masks
from samcore.prompts.prompt import Prompt
from tasks.run.sealed import read_sealed, write_sealed


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _MaskRecord(_Record):
    height: int
    width: int
    counts: str
    """COCO's compressed run lengths."""


class _PromptRecord(_Record):
    obj_id: int
    frame_idx: int
    box_xyxy_px: tuple[float, float, float, float] | None
    points_xy_px: tuple[tuple[float, float], ...]
    point_labels: tuple[int, ...]
    mask: _MaskRecord | None


class _Prompts(_Record):
    prompts: tuple[_PromptRecord, ...]


def write_prompts(path: Path, prompts: Sequence[Prompt], *, of: str) -> None:
    """Write prompts with their masks' pixels, whole or not at all; `of` is what they are for.

    Raises:
        StorageError: The file cannot be written.
    """
    write_sealed(path, _Prompts(prompts=tuple(_to_record(prompt) for prompt in prompts)), of=of)


def read_prompts(path: Path, *, of: str) -> tuple[Prompt, ...] | None:
    """Read what `write_prompts` wrote; None if it is missing, damaged or for something else."""
    record = read_sealed(path, _Prompts, of=of)
    return None if record is None else tuple(_from_record(item) for item in record.prompts)


def _to_record(prompt: Prompt) -> _PromptRecord:
    mask = None
    if prompt.mask_hw is not None:
        (rle,) = encode_masks(np.ascontiguousarray(prompt.mask_hw)[None])
        mask = _MaskRecord(height=rle.height, width=rle.width, counts=rle.counts.decode("ascii"))
    return _PromptRecord(
        obj_id=prompt.obj_id,
        frame_idx=prompt.frame_idx,
        box_xyxy_px=prompt.box_xyxy_px,
        points_xy_px=prompt.points_xy_px,
        point_labels=prompt.point_labels,
        mask=mask,
    )


def _from_record(record: _PromptRecord) -> Prompt:
    mask_hw = None
    if record.mask is not None:
        counts = record.mask.counts.encode("ascii")
        mask_hw = decode_mask(Rle(record.mask.height, record.mask.width, counts))
    return Prompt(
        obj_id=record.obj_id,
        frame_idx=record.frame_idx,
        box_xyxy_px=record.box_xyxy_px,
        points_xy_px=record.points_xy_px,
        point_labels=record.point_labels,
        mask_hw=mask_hw,
    )
