"""How well a model tracks scenes whose truth is known."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samcore.errors import InputError
from samcore.models.family import TrackingModel
from samcore.prompts.prompt import Prompt
from samcore.scenes import SyntheticVideo, box_of, make_video
from samcore.tracking.tracker import VideoTracker

EvalPrompt = Literal["box", "point", "points", "mask"]
"""`points` are three clicks."""


@dataclass(frozen=True, slots=True)
class Score:
    """Means over all objects of some scenes, of the frames after each object's prompt."""

    j: float
    """Region IoU over frames that show the object."""
    copy_j: float
    """The same for "copy the first mask", which no tracker should fall below."""
    present_right: float
    """Share of the frames with the object that are told to have it."""
    absent_right: float | None
    """Share of the frames without the object that are told not to; None if there are none."""
    num_objects: int
    """Objects that `j` and `copy_j` are means of."""
    num_present: int
    """Frames that `present_right` is a share of, summed over objects."""
    num_absent: int
    """Frames that `absent_right` is a share of, summed over objects."""
    prompted_iou: float | None = None
    """Region IoU on the prompted frames themselves; None in records that are older than it."""
    num_prompted: int = 0
    """Frames that `prompted_iou` is a mean of."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {k: None if v is None else round(v, 4) for k, v in asdict(self).items()}


def region_iou(a_hw: NDArray[np.bool_], b_hw: NDArray[np.bool_]) -> float:
    """J of two masks; two empty ones are alike."""
    either = int((a_hw | b_hw).sum())
    return int((a_hw & b_hw).sum()) / either if either else 1.0


def scenes(name: str, seeds: Iterable[int], *, num_frames: int, size: int) -> list[SyntheticVideo]:
    """Square scenes of a kind and with a number of objects, by a name such as `easy 3`."""
    kind, _, count = name.partition(" ")
    return [
        make_video(
            kind,
            seed,
            num_frames=num_frames,
            height=size,
            width=size,
            num_objects=int(count),
        )
        for seed in seeds
    ]


def score_kinds(
    model: TrackingModel,
    names: Iterable[str],
    seeds: Sequence[int],
    *,
    num_frames: int,
    size: int,
    prompt: EvalPrompt = "box",
) -> dict[str, Score]:
    """The scores of each kind of scene, by names such as `easy 3`."""
    return {
        name: score_scenes(
            model, scenes(name, seeds, num_frames=num_frames, size=size), prompt=prompt
        )
        for name in names
    }


def score_scenes(
    model: TrackingModel, some: Sequence[SyntheticVideo], *, prompt: EvalPrompt = "box"
) -> Score:
    """Prompt each object once, at the first frame that shows it well, and track to the end.

    An object's mean is taken first, then that of all objects.
    """
    js: list[float] = []
    copies: list[float] = []
    presents: list[float] = []
    absents: list[float] = []
    prompted: list[float] = []
    for scene in some:
        firsts = _first_frames(scene)
        tracker = VideoTracker(
            model, height=scene.height, width=scene.width, num_frames=scene.num_frames
        )
        seeds = {i: scene.masks_nhw(first)[i - 1] for i, first in firsts.items()}
        for obj_id, first in firsts.items():
            tracker.add_prompt(_prompt(prompt, obj_id, first, seeds[obj_id]))
        rows: dict[int, list[tuple[bool, bool, float, float]]] = {i: [] for i in firsts}
        for output in tracker.track(frame.image_rgb_hwc_u8 for frame in scene):
            truth_nhw = scene.masks_nhw(output.frame_idx)
            for k, obj_id in enumerate(output.obj_ids):
                truth = truth_nhw[obj_id - 1]
                if output.frame_idx == firsts[obj_id]:
                    prompted.append(region_iou(output.masks_nhw[k], truth))
                if output.frame_idx <= firsts[obj_id]:
                    continue
                rows[obj_id].append(
                    (
                        bool(truth.any()),
                        bool(output.object_scores_n[k] > 0),
                        region_iou(output.masks_nhw[k], truth),
                        region_iou(seeds[obj_id], truth),
                    )
                )
        for told in rows.values():
            shown = [row for row in told if row[0]]
            if shown:
                js.append(float(np.mean([row[2] for row in shown])))
                copies.append(float(np.mean([row[3] for row in shown])))
                presents += [float(row[1]) for row in shown]
            absents += [float(not row[1]) for row in told if not row[0]]
    return Score(
        j=_mean(js),
        copy_j=_mean(copies),
        present_right=_mean(presents),
        absent_right=_mean(absents) if absents else None,
        num_objects=len(js),
        num_present=len(presents),
        num_absent=len(absents),
        prompted_iou=_mean(prompted),
        num_prompted=len(prompted),
    )


def _first_frames(scene: SyntheticVideo) -> dict[int, int]:
    """Where to prompt each object; one that never comes into the picture is left out."""
    firsts = {}
    for obj_id in scene.obj_ids:
        with suppress(InputError):
            firsts[obj_id] = scene.first_visible(obj_id)
    return firsts


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _prompt(kind: EvalPrompt, obj_id: int, frame_idx: int, mask_hw: NDArray[np.bool_]) -> Prompt:
    if kind == "mask":
        return Prompt(obj_id, frame_idx, mask_hw=mask_hw)
    if kind == "box":
        return Prompt(obj_id, frame_idx, box_xyxy_px=box_of(mask_hw))
    points = (inner_point(mask_hw),) if kind == "point" else three_points(mask_hw)
    return Prompt(obj_id, frame_idx, points_xy_px=points, point_labels=(1,) * len(points))


def inner_point(mask_hw: NDArray[np.bool_]) -> tuple[float, float]:
    """The pixel of the mask that is nearest to its middle: x and y."""
    ys, xs = np.nonzero(mask_hw)
    nearest = int(np.hypot(ys - ys.mean(), xs - xs.mean()).argmin())
    return float(xs[nearest]), float(ys[nearest])


def three_points(mask_hw: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """The mask cut into thirds along its longer side, and each third's inner point; fewer if the
    mask has fewer pixels."""
    ys, xs = np.nonzero(mask_hw)
    order = np.argsort(xs if np.ptp(xs) >= np.ptp(ys) else ys, kind="stable")
    points = []
    for part in np.array_split(order, 3):
        if len(part):
            third_hw = np.zeros_like(mask_hw)
            third_hw[ys[part], xs[part]] = True
            points.append(inner_point(third_hw))
    return tuple(points)
