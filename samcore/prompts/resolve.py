"""Prompts held against a video: what the tracker takes."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.limits import DEFAULT_LIMITS, Limits
from samcore.masks.image import MaskImage, read_mask_image
from samcore.masks.rle import Rle, decode_mask, rle_from_coco
from samcore.prompts.file import (
    ManyMasks,
    MaskRle,
    PromptEntry,
    PromptFile,
    shown,
    split_index,
)
from samcore.prompts.prompt import Prompt

EDGE_MARGIN = 0.02
"""How far a box or point may lie outside the picture, as a share of that side: rounding and a
hand's tremor are cut off at the edge. What lies farther out is a mistake, and is refused."""


class VideoSize(Protocol):
    """What has to be known of a video."""

    @property
    def width(self) -> int:
        """Pixels across as displayed."""

    @property
    def height(self) -> int:
        """Pixels down as displayed."""

    @property
    def num_frames(self) -> int:
        """Frames of the whole video."""


@dataclass
class _Draft:
    """What is gathered for one object on one frame."""

    where: str
    box: tuple[float, float, float, float] | None = None
    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    mask_hw: NDArray[np.bool_] | None = None
    from_here: bool | None = None
    """None until an entry has said it."""


def resolve_prompts(
    spec: PromptFile,
    *,
    video: VideoSize,
    frame_at: Callable[[float], int],
    base_dir: Path,
    start: int,
    stop: int,
    allow_any_path: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    begun: Collection[int] = (),
) -> tuple[Prompt, ...]:
    """Turn a request's prompts into the tracker's, by ascending (obj_id, frame_idx).

    Entries for one object on one frame become one prompt, their points in the order given. What
    lies outside the picture by at most `EDGE_MARGIN` of its side is moved to the edge.

    Args:
        spec: The request.
        video: Size and length of the video.
        frame_at: The frame that is shown at a time in seconds.
        base_dir: The folder that mask files are relative to.
        start: First frame to track.
        stop: One past the last frame to track.
        allow_any_path: Take mask files from outside `base_dir`, too. For files that the person
            at the keyboard named, not for requests from elsewhere.
        limits: How many objects there may be, those of a PNG with several included, and how many
            points of an object on one frame, all entries together.
        begun: Objects that are there before their first prompt.

    Raises:
        InputError: One line that names the object, the field and the limit.
    """
    drafts: dict[tuple[int, int], _Draft] = {}
    firsts: dict[int, int] = {}
    for item in spec.objects:
        for index, entry in enumerate(item.prompts):
            name = f"object {item.id}" + (f" ({item.label})" if item.label else "")
            where = f"{name}, prompts[{index}]"
            frame = _frame(entry, where, video=video, frame_at=frame_at, start=start, stop=stop)
            where += f", frame {frame}"
            draft = drafts.setdefault((item.id, frame), _Draft(where=f"{name}, frame {frame}"))
            _add_from_here(draft, entry.from_here, where)
            _add_box(draft, entry, where, video)
            _add_points(draft, entry, where, video)
            limits.check_points(len(draft.points), name=draft.where)
            if isinstance(entry.mask, MaskRle):
                _add_rle(draft, entry.mask, where, video)
            elif entry.mask is not None:
                image = _read_masks(entry.mask, where, video, base_dir, allow_any_path)
                _add_mask(draft, image, item.id, where, index=split_index(entry.mask)[1])
            _check_one_of_both(draft, where)
    for index, many in enumerate(spec.masks):
        where = f"masks[{index}]"
        frame = _frame(many, where, video=video, frame_at=frame_at, start=start, stop=stop)
        image = _read_masks(many.mask, where, video, base_dir, allow_any_path)
        ids = _ids_in(image, where)
        # Before there is memory for a mask of each.
        limits.check_objects(len({obj_id for obj_id, _ in drafts} | set(ids)))
        for obj_id in ids:
            name = f"object {obj_id}, frame {frame}"
            draft = drafts.setdefault((obj_id, frame), _Draft(where=name))
            _add_from_here(draft, False, f"{where}, {name}")
            _add_mask(draft, image, obj_id, f"{where}, {name}")
            _check_one_of_both(draft, f"{where}, {name}")
    for obj_id, frame in sorted(drafts, reverse=True):
        firsts[obj_id] = frame
    for obj_id in firsts.keys() - set(begun):
        drafts[obj_id, firsts[obj_id]].from_here = False  # an object begins there anyway
    return tuple(_finish(drafts[key], *key) for key in sorted(drafts))


def prompts_digest(prompts: Sequence[Prompt]) -> str:
    """SHA-256 (hex) of what the tracker is told, mask pixels included.

    Does not depend on the order of the prompts, nor on how or in which file they were written.
    It does depend on the order of one prompt's clicks, which may move the last bit of a mask.
    """
    digest = hashlib.sha256()
    for prompt in sorted(prompts, key=lambda prompt: (prompt.obj_id, prompt.frame_idx)):
        mask_hw = prompt.mask_hw
        line = {
            "obj_id": int(prompt.obj_id),
            "frame_idx": int(prompt.frame_idx),
            "box": None if prompt.box_xyxy_px is None else _canonical(prompt.box_xyxy_px),
            "points": [_canonical(point) for point in prompt.points_xy_px],
            "labels": [int(label) for label in prompt.point_labels],
            "mask": None if mask_hw is None else list(mask_hw.shape),
        }
        digest.update(json.dumps(line, sort_keys=True).encode() + b"\n")
        if prompt.from_here:
            digest.update(b"from here\n")  # only where it is set: older digests stay
        if mask_hw is not None:
            digest.update(np.packbits(mask_hw).tobytes())
    return digest.hexdigest()


def _canonical(numbers: Sequence[float]) -> list[str]:
    return [(float(number) + 0.0).hex() for number in numbers]  # + 0.0: no negative zero


def _frame(
    entry: PromptEntry | ManyMasks,
    where: str,
    *,
    video: VideoSize,
    frame_at: Callable[[float], int],
    start: int,
    stop: int,
) -> int:
    if entry.frame is not None:
        frame, said = entry.frame, f"frame: wanted {{}}, got {entry.frame}"
    else:
        seconds = float(entry.time or 0.0)
        try:
            frame = frame_at(seconds)
        except InputError as error:
            raise InputError(f"{where}, time: {error}") from error
        said = f"time: wanted {{}}, got {seconds:g} s, which is frame {frame}"
    if not 0 <= frame < video.num_frames:
        limit = f"a frame of the video, at most {video.num_frames - 1}"
        raise InputError(f"{where}, {said.format(limit)}")
    if not start <= frame < stop:
        limit = f"one of the frames to track, {start} to {stop - 1}"
        raise InputError(f"{where}, {said.format(limit)}; change the prompt or the frames to track")
    return frame


def _add_from_here(draft: _Draft, from_here: bool, where: str) -> None:
    if draft.from_here not in (None, from_here):
        raise InputError(
            f"{where}, from_here: what is said of an object on one frame holds either from there "
            "on or for all frames: wanted the same in all of it, got both"
        )
    draft.from_here = from_here


def _add_box(draft: _Draft, entry: PromptEntry, where: str, video: VideoSize) -> None:
    if entry.box is None:
        return
    if draft.box is not None:
        raise InputError(f"{where}, box: this object has a box on this frame already")
    x1, x2 = (_clipped(x, video.width, video.width) for x in entry.box[0::2])
    y1, y2 = (_clipped(y, video.height, video.height) for y in entry.box[1::2])
    if x1 is None or y1 is None or x2 is None or y2 is None or not (x1 < x2 and y1 < y2):
        raise InputError(
            f"{where}, box: wanted a box in the picture, 0 to {video.width} across and 0 to "
            f"{video.height} down, got {_plain(entry.box)}; {_CUT_OFF}"
        )
    draft.box = (x1, y1, x2, y2)


def _add_points(draft: _Draft, entry: PromptEntry, where: str, video: VideoSize) -> None:
    for index, (x, y, label) in enumerate(entry.points):
        inside_x = _clipped(x, video.width, video.width - 1)
        inside_y = _clipped(y, video.height, video.height - 1)
        if inside_x is None or inside_y is None:
            raise InputError(
                f"{where}, points[{index}]: wanted a point in the picture, 0 to "
                f"{video.width - 1} across and 0 to {video.height - 1} down, got {_plain((x, y))}; "
                f"{_CUT_OFF}"
            )
        draft.points.append((inside_x, inside_y))
        draft.labels.append(label)


def _clipped(place: float, side: int, last: int) -> float | None:
    """The place, or `last` or 0 if it lies outside by a little; None if by more.

    Args:
        place: In pixels.
        side: Of the picture; what is within it stays as it is.
        last: Where what lies beyond the far edge goes.
    """
    margin = EDGE_MARGIN * side
    if not -margin <= place <= side + margin:
        return None
    if place < 0:
        return 0.0
    return float(last) if place >= side else place


_CUT_OFF = f"only what is outside by at most {EDGE_MARGIN:.0%} of the side is cut off"


def _read_masks(
    mask: str, where: str, video: VideoSize, base_dir: Path, allow_any_path: bool
) -> MaskImage:
    name = split_index(mask)[0]
    try:
        path = base_dir / name
        # Links count as what they lead to.
        if not (allow_any_path or path.resolve().is_relative_to(base_dir.resolve())):
            raise InputError(f"wanted a file in {base_dir}, got {shown(name)}, which lies outside")
        return read_mask_image(path, height=video.height, width=video.width)
    except InputError as error:
        raise InputError(f"{where}, mask: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        # A NUL in the name, a name too long, a loop of links.
        raise InputError(f"{where}, mask: {shown(name)} cannot be a file's name") from error


def _add_mask(
    draft: _Draft, image: MaskImage, obj_id: int, where: str, *, index: int | None = None
) -> None:
    if draft.mask_hw is not None:
        raise InputError(f"{where}, mask: this object has a mask on this frame already")
    try:
        draft.mask_hw = image.of_object(obj_id) if index is None else image.at(index)
    except InputError as error:
        raise InputError(f"{where}, mask: {error}") from error


def _add_rle(draft: _Draft, mask: MaskRle, where: str, video: VideoSize) -> None:
    if draft.mask_hw is not None:
        raise InputError(f"{where}, mask: this object has a mask on this frame already")
    mask_hw = decode_given(mask, (video.height, video.width), where)
    if not mask_hw.any():
        raise InputError(f"{where}, mask: it is empty: wanted at least one pixel of the object")
    draft.mask_hw = mask_hw


def decode_given(mask: MaskRle, size_hw: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The pixels of a mask that somebody wrote, held against the video's rows and columns.

    Raises:
        InputError: It has another size, or is no mask at all; one line that begins with `where`.
    """
    height, width = mask.size
    if (height, width) != size_hw:
        raise InputError(
            f"{where}, mask: size: wanted the video's {list(size_hw)}, rows and columns, got "
            f"{[height, width]}"
        )
    return decode_mask(given_runs(mask, where))


def given_runs(mask: MaskRle, where: str) -> Rle:
    """The run lengths of a mask that somebody wrote, whose pixels are not made.

    Raises:
        InputError: It is no mask; one line that begins with `where`.
    """
    height, width = mask.size
    try:
        # Before pycocotools, which takes any numbers for runs.
        if not isinstance(mask.counts, str) and sum(mask.counts) != height * width:
            raise ValueError(f"its runs cover {sum(mask.counts)} pixels of {height} x {width}")
        return rle_from_coco(mask.as_coco(), height=height, width=width)
    except ValueError as error:
        raise InputError(f"{where}, mask: counts are no COCO run lengths: {error}") from error


def _ids_in(image: MaskImage, where: str) -> tuple[int, ...]:
    try:
        return image.every_object()
    except InputError as error:
        raise InputError(f"{where}, mask: {error}") from error


def _check_one_of_both(draft: _Draft, where: str) -> None:
    if draft.box is not None and draft.mask_hw is not None:
        raise InputError(f"{where}: box and mask: wanted one of them, got both")


def _finish(draft: _Draft, obj_id: int, frame_idx: int) -> Prompt:
    if draft.box is None and draft.mask_hw is None and 1 not in draft.labels:
        raise InputError(
            f"{draft.where}, points: wanted at least one point on the object (label 1), or a box "
            "or mask, got only points off it"
        )
    return Prompt(
        obj_id=obj_id,
        frame_idx=frame_idx,
        box_xyxy_px=draft.box,
        points_xy_px=tuple(draft.points),
        point_labels=tuple(draft.labels),
        mask_hw=draft.mask_hw,
        from_here=bool(draft.from_here),
    )


def _plain(numbers: Sequence[float]) -> str:
    """Numbers as a person writes them: 12, not 12.0."""
    return "[" + ", ".join(f"{number:.10g}" for number in numbers) + "]"
