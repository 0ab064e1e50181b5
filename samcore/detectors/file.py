"""The detector `file:PATH`: detections that were made elsewhere, with any tool.

One of three forms. In all of them boxes are in pixels of the video as displayed.

MOT text, a line a detection, as the MOT challenge has it. Frames count from 1, as there; scores of
-1, or none, count as 1; columns after the seventh are not read:

    frame, id, left, top, width, height[, score, ...]

COCO results, a JSON list. `image_id` is the frame, from 0; a `segmentation` (RLE) comes before the
`bbox`; numbers of categories mean what they mean in COCO:

    [{"image_id": 0, "category_id": 1, "bbox": [left, top, width, height], "score": 0.9}, ...]

Our own JSON. Frames count from 0; `box` is left, top, right, bottom; `mask` is a COCO RLE of the
video's size, in its place; `score` (1) and `label` may be left out:

    {"detections": [{"frame": 0, "box": [10, 20, 60, 90], "score": 0.9, "label": "person"}, ...]}
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from samcore.detectors.coco_labels import COCO_LABELS
from samcore.detectors.detector import Detection, Progress, find_detector
from samcore.disk.digests import file_digest
from samcore.errors import InputError
from samcore.models.family import TrackingModel
from samcore.prompts.automatic import AutomaticPrompts
from samcore.prompts.file import MAX_LABEL_CHARS, MaskRle, shown

_MAX_BYTES = 256 * 1024 * 1024
_MAX_FRAME = 2**31

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Four = Annotated[tuple[_Number, _Number, _Number, _Number], Field(strict=False)]
_Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Frame = Annotated[int, Field(ge=0, lt=_MAX_FRAME)]
_MOT_FORM = "frame,id,left,top,width,height[,score], frames from 1, such as 1,-1,10,20,50,70,0.9"
_FORMS = f"MOT text ({_MOT_FORM}), a JSON list of COCO results, or " + (
    '{"detections": [{"frame": 0, "box": [x1, y1, x2, y2]}]}'
)


@dataclass(frozen=True, slots=True)
class ListedDetection:
    """A detection as the file has it."""

    box_xyxy_px: tuple[float, float, float, float] | None
    mask: MaskRle | None
    score: float
    label: str | None


class _Ours(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    frame: _Frame
    box: _Four | None = None
    mask: MaskRle | None = None
    score: _Score = 1.0
    label: Annotated[str, Field(max_length=MAX_LABEL_CHARS)] | None = None


class _Coco(BaseModel):
    # Other keys are other tools' own.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    image_id: _Frame
    category_id: int | None = None
    bbox: _Four | None = None
    segmentation: MaskRle | None = None
    score: _Score = 1.0


_OURS, _COCO = TypeAdapter(_Ours), TypeAdapter(_Coco)


class DetectionsFile:
    """The file itself, which is read for errors before anything else is done."""

    def check(self, what: str, options: AutomaticPrompts) -> None:
        """Any path will do: the file may lie on another machine."""

    def look_up(self, what: str, options: AutomaticPrompts) -> None:
        listed = read_detections(Path(what))
        if not options.labels:
            return
        known = sorted({one.label for found in listed.values() for one in found if one.label})
        unknown = [label for label in options.labels if label not in known]
        if unknown:
            has = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
            raise InputError(
                f"labels: {what} has no detection labelled {unknown[0]!r}; it has {has or 'none'}"
            )

    def fetch(
        self,
        what: str,
        options: AutomaticPrompts,
        *,
        cache_dir: Path,
        on_progress: Progress | None = None,
    ) -> str:
        self.look_up(what, options)
        return file_digest(Path(what).expanduser(), cache_dir=cache_dir)


class ListedDetections:
    """Gives what a file lists for a frame."""

    def __init__(self, model: TrackingModel, options: AutomaticPrompts, *, batch: int) -> None:
        """Read the file.

        Args:
            model: Not used.
            options: Name the file.
            batch: Not used.

        Raises:
            InputError: The file cannot be read, or has a line that is wrong.
        """
        self._path = Path(find_detector(options.detector)[1])
        self._listed = read_detections(self._path)

    def detect(
        self,
        images_rgb_hwc_u8: Sequence[NDArray[np.uint8]],
        *,
        first_frame: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Detection]]:
        """Give the frames' detections, in the file's order; boxes are cut off at the edge.

        Raises:
            InputError: A mask is not of the video's size.
        """
        found = []
        for done, image_hwc in enumerate(images_rgb_hwc_u8, start=1):
            frame_idx, size = first_frame + done - 1, (image_hwc.shape[0], image_hwc.shape[1])
            made = (self._make(one, size, frame_idx) for one in self._listed.get(frame_idx, ()))
            found.append([one for one in made if one is not None])
            if on_progress is not None:
                on_progress(done, len(images_rgb_hwc_u8))
        return found

    def _make(
        self, listed: ListedDetection, picture_hw: tuple[int, int], frame_idx: int
    ) -> Detection | None:
        height, width = picture_hw
        if listed.mask is not None:
            from samcore.prompts.resolve import decode_given  # late: a request is checked without

            mask_hw = decode_given(listed.mask, picture_hw, f"{self._path}, frame {frame_idx}")
            if not mask_hw.any():
                return None
            return Detection(listed.score, picture_hw, mask_hw, label=listed.label)
        left, top, right, bottom = listed.box_xyxy_px or (0.0, 0.0, 0.0, 0.0)
        box = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
        if not (box[0] < box[2] and box[1] < box[3]):
            return None
        return Detection(listed.score, picture_hw, box_xyxy_px=box, label=listed.label)


def read_detections(path: Path) -> dict[int, list[ListedDetection]]:
    """Read a file of any of the forms: what it lists for each frame, from 0, in its order.

    Raises:
        InputError: It cannot be read, or one line or item is wrong; the message says which.
    """
    path = path.expanduser()
    try:
        if not path.is_file():
            raise InputError(f"there is no file of detections {path}")
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(
                f"{path} has more than {_MAX_BYTES // 2**20} MiB, the most of a file of detections"
            )
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text, at byte {error.start}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    items = _json_items(text, path) if text.lstrip()[:1] in ("[", "{") else _mot_lines(text, path)
    listed: dict[int, list[ListedDetection]] = {}
    for frame_idx, one in items:
        if one.mask is not None:
            from samcore.prompts.resolve import given_runs  # late: files of boxes do without

            given_runs(one.mask, f"{path}, frame {frame_idx}")
        listed.setdefault(frame_idx, []).append(one)
    if not listed:
        raise InputError(f"{path} lists no detections; wanted {_FORMS}")
    return listed


def _mot_lines(text: str, path: Path) -> Iterator[tuple[int, ListedDetection]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = [float(part) for part in line.replace(",", " ").split()]
        except ValueError:
            raise InputError(f"{where}: wanted {_MOT_FORM}, got {shown(line)}") from None
        if len(values) < 6 or not all(math.isfinite(value) for value in values[:7]):
            raise InputError(f"{where}: wanted {_MOT_FORM}, got {shown(line)}")
        frame, _, left, top, width, height = values[:6]
        if not (frame.is_integer() and 1 <= frame <= _MAX_FRAME):
            raise InputError(f"{where}: frame: wanted a whole number from 1, got {frame:.10g}")
        score = values[6] if len(values) > 6 else -1.0
        if score != -1 and not 0 <= score <= 1:
            raise InputError(f"{where}: score: wanted 0 to 1, or -1 for none, got {score:.10g}")
        box = _box((left, top, left + width, top + height), where, "left, top, width, height")
        yield int(frame) - 1, ListedDetection(box, None, 1.0 if score == -1 else score, None)


def _json_items(text: str, path: Path) -> Iterator[tuple[int, ListedDetection]]:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}, column {error.colno}: no valid JSON: {error.msg.lower()}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no valid JSON: {type(error).__name__}") from error
    ours = isinstance(raw, dict)
    items = raw.get("detections") if ours else raw
    if not isinstance(items, list) or (ours and len(raw) > 1):
        raise InputError(f"{path}: wanted {_FORMS}")
    for number, item in enumerate(items):
        # A thousand lines may be one item: the place in the list is what can be found again.
        where = f"{path}, detections[{number}]" if ours else f"{path}, [{number}]"
        yield _from_ours(item, where) if ours else _from_coco(item, where)


def _from_ours(item: object, where: str) -> tuple[int, ListedDetection]:
    one = _validated(_OURS, item, where)
    if (one.box is None) == (one.mask is None):
        raise InputError(f"{where}: wanted a box or a mask, got {'both' if one.box else 'neither'}")
    box = None if one.box is None else _box(one.box, where, "box")
    return one.frame, ListedDetection(box, one.mask, one.score, one.label)


def _from_coco(item: object, where: str) -> tuple[int, ListedDetection]:
    one = _validated(_COCO, item, where)
    box = None
    if one.segmentation is None:
        if one.bbox is None:
            raise InputError(f"{where}: wanted bbox or segmentation, got neither")
        left, top, width, height = one.bbox
        box = _box((left, top, left + width, top + height), where, "bbox")
    label = None
    if one.category_id is not None:
        label = COCO_LABELS.get(one.category_id, f"category {one.category_id}")
    return one.image_id, ListedDetection(box, one.segmentation, one.score, label)


def _validated(adapter: TypeAdapter[Any], item: object, where: str) -> Any:
    try:
        return adapter.validate_python(item)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in detail["loc"])
        said = detail["msg"][:1].lower() + detail["msg"][1:]
        if detail["type"] == "model_type":
            said = "wanted an object in braces, {...}"
        raise InputError(
            f"{where}{': ' + place if place else ''}: {said}, got {shown(detail['input'])}"
        ) from error


def _box(
    box: tuple[float, float, float, float], where: str, what: str
) -> tuple[float, float, float, float]:
    if not (box[0] < box[2] and box[1] < box[3]):
        corners = ", ".join(f"{number:.10g}" for number in box)
        raise InputError(
            f"{where}: {what}: the box is inside out or empty, from left to bottom {corners}"
        )
    return box
