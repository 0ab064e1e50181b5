"""Units of work of a run: parts of it that are tracked side by side, each as a run of its own.

    by shards (`memory`)                     by chunks (`match`)

    objects 1 2   000000                     unit 0   000000
                       111111                unit 1        111111
    objects 3 4   000000                     unit 2             222222
                       111111
    unit 0 is the upper series of chunks,    each finds its objects at its start
    unit 1 the lower one

A unit has a record, a folder, a lock, a lease and a mirror like any run; so it is gone on with, or
taken over by another machine, as any run is. When units are done their tables become the chunks of
the run that they belong to: see sharded_chunks.py and matched_chunks.py.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samcore.chunks.handoff import find_handoff
from samcore.chunks.plan import Chunk
from samcore.errors import InputError
from samcore.prompts.prompt import Prompt
from samcore.prompts.resolve import prompts_digest
from samcore.result.records import ObjectRecord, Record, RunRecord
from samcore.run.folder import RunFolder

_SAME = 0.5
"""Share of the smaller of two regions, from which on they show one thing."""


class UnitRecord(Record):
    """`units/00003.json`: a unit is done, and where its work lies."""

    index: int
    """Which one, from 0."""
    work_key: str
    """Of the unit's own run."""
    frames: int
    """Frames that it tracked, overlaps included."""
    seconds: float
    """What its prompt pass and its chunks took in all."""


def unit_indices(record: RunRecord) -> range:
    """The units of a run; none of one that is tracked chunk after chunk."""
    if record.unit is not None:
        return range(0)
    if find_handoff(record.handoff).is_parallel:
        return range(len(record.chunks))
    return range(len(record.shards))


def unit_name(record: RunRecord, index: int) -> str:
    """A unit for a person."""
    if record.shards:
        return f"shard {index}, objects {', '.join(map(str, record.shards[index]))}"
    chunk = record.chunks[index]
    return f"chunk {index}, frames [{chunk.start}, {chunk.stop})"


def plan_shards(ids: Sequence[int], count: int, *, batch: int) -> tuple[tuple[int, ...], ...]:
    """Share objects out among `count` workers, neighbours together.

    Shares are cut between batches of objects where there are enough of these: the batches, and so
    the last bits, are then those of one worker. 7 objects, batches of 2:

        one worker    12 34 56 7
        two shards    12 34 | 56 7
        five shards   1 | 2 | 34 | 5 | 67        more shards than batches

    Args:
        ids: The objects, ascending.
        count: How many shares there are to be; there are no empty ones.
        batch: Objects that are tracked at once.
    """
    count = min(count, len(ids))
    size = batch if -(-len(ids) // batch) >= count else 1
    groups = [ids[at : at + size] for at in range(0, len(ids), size)]
    bounds = [len(groups) * place // count for place in range(count + 1)]
    return tuple(
        tuple(one for group in groups[low:high] for one in group)
        for low, high in itertools.pairwise(bounds)
    )


def count_shards(
    asked: int | Literal["auto"] | None, *, objects: int, batch: int, workers: int | None
) -> int:
    """How many shares there are to be.

    Args:
        asked: As a person says; `auto` is one for each worker, and no more than batches.
        objects: How many there are.
        batch: Objects that are tracked at once.
        workers: Units that can be at work at once; None if nobody knows.

    Raises:
        InputError: There are fewer objects.
    """
    if asked is None:
        return 1
    batches = max(1, -(-objects // batch))
    if asked == "auto":
        return batches if workers is None else min(batches, workers)
    if asked > objects:
        raise InputError(
            f"shards: {asked} are more than there are objects, which are {objects}: give at most "
            f"{objects}, or auto"
        )
    return asked


def shard_run(
    record: RunRecord, prompts: Sequence[Prompt], index: int
) -> tuple[RunRecord, tuple[Prompt, ...]]:
    """The run of one share of the objects, and its prompts."""
    ids = set(record.shards[index])
    own = tuple(prompt for prompt in prompts if prompt.obj_id in ids)
    changes = {
        "objects": tuple(item for item in record.objects if item.id in ids),
        "prompts_digest": prompts_digest(own),
        "shards": (),
        "unit": index,
    }
    return record.model_copy(update=changes), own


def chunk_run(
    record: RunRecord, prompts: Sequence[Prompt], index: int, found: Sequence[Prompt]
) -> tuple[RunRecord, tuple[Prompt, ...]]:
    """The run of one chunk that finds its objects by itself, and its prompts.

    Args:
        record: Of the whole run.
        prompts: Of a person, in the whole video.
        index: Which chunk.
        found: What a detector found at the chunk's start, numbered from 1. What a person has
            prompted on the same frame is left out, and the others get numbers that nobody has.
    """
    chunk = record.chunks[index]
    own = [prompt for prompt in prompts if chunk.start <= prompt.frame_idx < chunk.stop]
    free = first_free(record)
    new = [
        _numbered(item, free + place)
        for place, item in enumerate(item for item in found if not _is_there(item, own))
    ]
    entries = {item.id: item for item in record.objects}
    objects = [
        entries[obj_id].model_copy(
            update={"prompted_frames": tuple(p.frame_idx for p in own if p.obj_id == obj_id)}
        )
        for obj_id in sorted({prompt.obj_id for prompt in own})
    ]
    objects += [
        ObjectRecord(
            id=item.obj_id,
            label=item.label,
            prompted_frames=(item.frame_idx,),
            source="automatic",
        )
        for item in new
    ]
    all_prompts = (*own, *new)
    detection = record.detection
    if detection is not None and detection.cuts:
        # A chunk begins like a scene: it knows nothing of what came before.
        cuts = {chunk.start, *(cut for cut in detection.cuts if chunk.start <= cut < chunk.stop)}
        detection = detection.model_copy(update={"cuts": tuple(sorted(cuts))})
    changes = {
        "detection": detection,
        "objects": tuple(objects),
        "prompts_digest": prompts_digest(all_prompts),
        "start": chunk.start,
        "stop": chunk.stop,
        "chunks": (Chunk(0, chunk.start, chunk.stop),),
        "search": None,
        "unit": index,
    }
    return record.model_copy(update=changes), all_prompts


def first_free(record: RunRecord) -> int:
    """The first number that no person gave to an object of the run."""
    return max((item.id for item in record.objects), default=0) + 1


def unit_folder(folder: RunFolder, unit: UnitRecord) -> RunFolder:
    """Where a unit's work lies on this machine: beside that of its run."""
    return RunFolder(
        folder.path.parent / unit.work_key,
        allow_quality_loss=folder.allow_quality_loss,
        credentials=folder.credentials,
    )


def read_unit(folder: RunFolder, index: int) -> UnitRecord | None:
    """What is known of a unit that is done; None if it is not."""
    return folder.read_record(_path(folder, index), UnitRecord)


def write_unit(folder: RunFolder, unit: UnitRecord) -> None:
    """Say that a unit is done."""
    folder.write_record(_path(folder, unit.index), unit)


def _path(folder: RunFolder, index: int) -> Path:
    return folder.path / "units" / f"{index:05d}.json"


def _numbered(prompt: Prompt, obj_id: int) -> Prompt:
    return Prompt(
        obj_id=obj_id,
        frame_idx=prompt.frame_idx,
        box_xyxy_px=prompt.box_xyxy_px,
        mask_hw=prompt.mask_hw,
        label=prompt.label,
    )


def _is_there(found: Prompt, prompts: Sequence[Prompt]) -> bool:
    """Whether a person has prompted what was found, on that very frame."""
    return any(_same(found, one) for one in prompts if one.frame_idx == found.frame_idx)


def _same(found: Prompt, given: Prompt) -> bool:
    size_hw = _size(found, given)
    found_hw = _region(found, size_hw)
    inside = [
        bool(found_hw[min(int(y), size_hw[0] - 1), min(int(x), size_hw[1] - 1)])
        for (x, y), label in zip(given.points_xy_px, given.point_labels, strict=True)
        if label
    ]
    if given.mask_hw is None and given.box_xyxy_px is None:
        return any(inside)
    given_hw = _region(given, size_hw)
    common = np.count_nonzero(found_hw & given_hw)
    smaller = min(np.count_nonzero(found_hw), np.count_nonzero(given_hw))
    return bool(common > _SAME * smaller)


def _size(*prompts: Prompt) -> tuple[int, int]:
    """Of a picture that holds all that the prompts name."""
    for prompt in prompts:
        if prompt.mask_hw is not None:
            return prompt.mask_hw.shape[0], prompt.mask_hw.shape[1]
    corners = [p.box_xyxy_px[2:] for p in prompts if p.box_xyxy_px is not None]
    places = [*corners, *(place for p in prompts for place in p.points_xy_px)]
    width, height = (max(values) for values in zip(*places, strict=True))
    return int(height) + 2, int(width) + 2


def _region(prompt: Prompt, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    if prompt.mask_hw is not None:
        return prompt.mask_hw
    region_hw = np.zeros(size_hw, np.bool_)
    if prompt.box_xyxy_px is not None:
        left, top, right, bottom = prompt.box_xyxy_px
        region_hw[round(top) : round(bottom), round(left) : round(right)] = True
    return region_hw
