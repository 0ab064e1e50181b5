"""Which masks of a result show what an object looks like."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.exports.source import ExportSource
from samcore.masks.columns import read_columns
from samcore.masks.reader import MaskReader

Looks = dict[int, dict[int, NDArray[np.bool_]]]
"""Masks that are not empty, by frame and object; both ascending."""


def choose_looks(
    masklets: ExportSource,
    prompted: Mapping[int, Sequence[int]],
    *,
    frames: Sequence[int] | None,
    objects: Sequence[int] | None,
    most: int,
) -> Looks:
    """Take an object's masks from some frames of a result.

    Args:
        masklets: The result's masks.
        prompted: Prompted frames of its objects, by id, ascending; they are taken by default, of
            more than `most` the first one and the last ones. Of an object that has none, or is on
            none of them, the first frame that shows it is taken.
        frames: These frames in place of that, for all objects.
        objects: Ids; None is all objects that are on any of the frames.
        most: Masks of an object at most.

    Raises:
        InputError: A frame was not tracked, there is no such object, one is not to be seen on the
            frames, or there are too many.
        StorageError: The masks are damaged.
    """
    wanted = _wanted(masklets, objects)
    if frames is None:
        by_object = {obj_id: _spread(prompted.get(obj_id, ()), most) for obj_id in wanted}
    else:
        by_object = dict.fromkeys(wanted, _checked(masklets, frames, most))
    looks = _read(masklets, by_object)
    seen = {obj_id for masks in looks.values() for obj_id in masks}
    unseen = [obj_id for obj_id in wanted if obj_id not in seen]
    if frames is None and unseen:
        firsts = _first_frames(masklets, unseen)
        for frame_idx, masks in _read(masklets, firsts).items():
            looks.setdefault(frame_idx, {}).update(masks)
        unseen = [obj_id for obj_id in unseen if obj_id not in firsts]
    if unseen and (objects is not None or not looks):
        where = "any frame" if frames is None else f"frames {', '.join(map(str, frames))}"
        names = ", ".join(map(str, unseen))
        raise InputError(f"no mask of object {names} on {where}: choose other frames or objects")
    return {frame_idx: dict(sorted(looks[frame_idx].items())) for frame_idx in sorted(looks)}


def _wanted(masklets: ExportSource, objects: Sequence[int] | None) -> list[int]:
    known = masklets.object_ids
    for obj_id in objects or ():
        if obj_id not in known:
            listed = ", ".join(map(str, known))
            raise InputError(f"there is no object {obj_id} in this result; it has {listed}")
    return sorted(set(known if objects is None else objects))


def _checked(masklets: ExportSource, frames: Sequence[int], most: int) -> list[int]:
    found = sorted(set(frames))
    for frame_idx in found:
        masklets.check_tracked(frame_idx)
    if len(found) > most:
        raise InputError(f"a memory has at most {most} frames of an object, got {len(found)}")
    return found


def _spread(frames: Sequence[int], most: int) -> list[int]:
    return list(frames) if len(frames) <= most else [frames[0], *frames[1 - most :]]


def _read(masklets: ExportSource, by_object: Mapping[int, Sequence[int]]) -> Looks:
    looks: Looks = {}
    with MaskReader(masklets.table) as reader:
        for frame_idx in sorted({frame for frames in by_object.values() for frame in frames}):
            masks = reader.masks(frame_idx)
            for obj_id, frames in by_object.items():
                if frame_idx in frames and obj_id in masks:
                    mask_hw = masks[obj_id]
                    if mask_hw.any():
                        looks.setdefault(frame_idx, {})[obj_id] = mask_hw
    return looks


def _first_frames(masklets: ExportSource, objects: Sequence[int]) -> dict[int, list[int]]:
    """The first frame that shows each object, as far as there is one; a pass over the numbers."""
    found: dict[int, list[int]] = {}
    for columns in read_columns(masklets.table, ("frame", "object_id", "area")):
        for obj_id in objects:
            if obj_id not in found:
                here = (columns["object_id"] == obj_id) & (columns["area"] > 0)
                if here.any():
                    found[obj_id] = [int(columns["frame"][here][0])]
    return found
