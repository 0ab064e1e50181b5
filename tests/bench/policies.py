"""What each memory policy is good for: long scenes of four kinds, tracked by `nano`.

    python tests/bench/policies.py                              # 600 frames, 3 seeds: an hour
    python tests/bench/policies.py --frames 120 --seeds 1       # a look
    python tests/bench/policies.py --write tests/bench/RESULTS.md

Prints Markdown, and with `--write` puts it into that page, in the place of what was there. The
scenes are `samcore.scenes.Scene` with recipes that have one difficulty each:

- occlusion: objects that stay in the picture, and three bars in front of them;
- exit and return: every object leaves now and then, and comes back over another edge;
- look-alikes: strangers with an object's colours and outline cross its way;
- cuts: the scene jumps ahead, and every second time another scene is shown for a while.

J is the mean IoU of an object from the frame after its prompt on; two empty masks count as 1. A
switch is counted where a true object's mask (IoU 0.5) comes from another found object than before.
An absence of 10 frames or more is recovered if one of the 30 frames after it has an IoU of 0.5.
Time is the process's CPU time on one thread, all of a frame but the painting. The state is the file
of all objects after the last frame.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from samcore.config import TrackSettings
from samcore.errors import InputError
from samcore.machine.device import choose_compute
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.scenes import Scene, SceneFrame, box_of
from samcore.scenes.recipes import RECIPES, Recipe
from samcore.tracking.memory.policy import POLICIES
from samcore.tracking.tracker import VideoTracker
from samcore.training.clips import TEST_SEEDS

_CALM = replace(
    RECIPES["medium"], stays=True, exits=0.0, late=0.0, bars=(0, 0), strangers=(0, 0), pan=0.02
)
KINDS: dict[str, Recipe] = {
    "occlusion": replace(_CALM, bars=(3, 3), wander=(0.2, 0.34)),
    "exit and return": replace(_CALM, stays=False, exits=1.0, elsewhere=True),
    "look-alikes": replace(_CALM, strangers=(2, 3), look_alike=1.0, wander=(0.2, 0.34)),
    "cuts": _CALM,
}
_SHOT, _AWAY, _JUMP = 60, 25, 97
"""Frames of a shot, of another scene in between, and frames that a cut leaves out."""
_ABSENT, _SOON, _SAME = 10, 30, 0.5
HEADING = (
    "| scenes | policy | J | switches | recovered | ms a frame | state, kB |\n"
    "|---|---|--:|--:|--:|--:|--:|"
)


@dataclass(slots=True)
class Tally:
    """What one policy came to on scenes of one kind."""

    js: list[float] = field(default_factory=list)
    """Of each object."""
    switches: int = 0
    absences: int = 0
    recovered: int = 0
    ms: list[float] = field(default_factory=list)
    """A frame, of each scene."""
    state_bytes: list[int] = field(default_factory=list)
    """Of each scene."""

    def row(self, kind: str, policy: str) -> str:
        """The table's."""
        recovered = f"{self.recovered} of {self.absences}" if self.absences else "-"
        return (
            f"| {kind} | `{policy}` | {np.mean(self.js):.3f} | {self.switches} | {recovered} | "
            f"{np.mean(self.ms):.1f} | {np.mean(self.state_bytes) / 1000:.0f} |"
        )


def paint(kind: str, seed: int, *, num_frames: int, size: int, objects: int) -> list[SceneFrame]:
    """All frames of a scene."""

    def scene(seed: int, length: int) -> Scene:
        # A scene keeps the recipe that it was drawn by.
        with mock.patch.dict(RECIPES, medium=KINDS[kind]):
            return Scene(
                seed,
                difficulty="medium",
                num_frames=length,
                height=size,
                width=size,
                num_objects=objects,
            )

    if kind != "cuts":
        return list(scene(seed, num_frames))
    return list(_cut(scene(seed, 4 * num_frames), scene(seed + 5000, 4 * num_frames), num_frames))


def _cut(shown: Scene, other: Scene, num_frames: int) -> Iterator[SceneFrame]:
    at, left, away, cuts = 0, _SHOT, False, 0
    for frame_idx in range(num_frames):
        if left == 0:
            cuts += 1
            away = not away and cuts % 3 == 2
            left = _AWAY if away else _SHOT
            at += _JUMP
        frame = (other if away else shown).frame(at)
        masks_nhw = np.zeros_like(frame.masks_nhw) if away else frame.masks_nhw
        yield SceneFrame(frame_idx, frame.image_rgb_hwc_u8, masks_nhw, masks_nhw.any(axis=(1, 2)))
        at, left = at + 1, left - 1


def measure(model: TrackingModel, frames: Sequence[SceneFrame], policy: str, tally: Tally) -> None:
    """Track one scene by boxes on the first frame that shows an object well, and compare."""
    first = frames[0]
    height, width = first.image_rgb_hwc_u8.shape[:2]
    tracker = VideoTracker(
        model,
        height=height,
        width=width,
        num_frames=len(frames),
        settings=TrackSettings(memory_policy=policy),
    )
    begins: dict[int, int] = {}
    for row in range(len(first.masks_nhw)):
        areas = [int(frame.masks_nhw[row].sum()) for frame in frames]
        large = np.flatnonzero(np.array(areas) > 0.6 * np.median([a for a in areas if a] or [0]))
        if not any(areas):
            continue
        begins[row] = int(large[0])
        box = box_of(frames[begins[row]].masks_nhw[row])
        tracker.add_box(row + 1, begins[row], box)
    if not begins:
        raise InputError("no object of this scene is ever seen: take another seed")
    images = [frame.image_rgb_hwc_u8 for frame in frames]
    began = time.process_time()
    found: list[dict[int, NDArray[np.bool_]]] = [
        dict(zip(output.obj_ids, output.masks_nhw, strict=True)) for output in tracker.track(images)
    ]
    tally.ms.append((time.process_time() - began) * 1000 / len(frames))
    with tempfile.TemporaryDirectory() as folder:
        tracker.state().save(Path(folder, "state"))
        tally.state_bytes.append(Path(folder, "state").stat().st_size)
    for row, start in begins.items():
        _compare(frames, found, row, start, tally)


def _compare(
    frames: Sequence[SceneFrame],
    found: Sequence[dict[int, NDArray[np.bool_]]],
    row: int,
    start: int,
    tally: Tally,
) -> None:
    """Score one object over all frames after its prompt."""
    ious: list[float] = []
    present: list[bool] = []
    owner = row + 1
    for frame, masks in zip(frames[start + 1 :], found[start + 1 :], strict=True):
        truth_hw = frame.masks_nhw[row]
        by_id = {obj_id: _iou(truth_hw, mask_hw) for obj_id, mask_hw in masks.items()}
        ious.append(by_id[row + 1])
        present.append(bool(truth_hw.any()))
        if present[-1]:
            best = max(by_id, key=lambda obj_id: by_id[obj_id])
            if by_id[best] >= _SAME and best != owner:
                tally.switches += 1
                owner = best
    tally.js.append(float(np.mean(ious)))
    absent_for = 0
    for place, here in enumerate(present):
        if here and absent_for >= _ABSENT:
            tally.absences += 1
            tally.recovered += any(
                iou >= _SAME and there
                for iou, there in zip(
                    ious[place : place + _SOON], present[place : place + _SOON], strict=True
                )
            )
        absent_for = 0 if here else absent_for + 1


def _iou(a_hw: NDArray[np.bool_], b_hw: NDArray[np.bool_]) -> float:
    union = np.count_nonzero(a_hw | b_hw)
    return np.count_nonzero(a_hw & b_hw) / union if union else 1.0


def put_into(page: Path, text: str, script: str) -> None:
    """Put a script's table between its marks on a page; without marks at the end."""
    begin, end = f"<!-- {script} -->", f"<!-- end of {script} -->"
    old = page.read_text() if page.exists() else "# Results\n\n"
    before, mark, rest = old.partition(begin)
    after = rest.partition(end)[2] if mark else "\n"
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--policies", nargs="+", choices=POLICIES.names, default=POLICIES.names)
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    args = parser.parse_args()
    torch.set_num_threads(1)
    spec = resolve_model("nano", cache_dir=Path.home() / ".cache" / "longtake")
    model = load_model(spec, choose_compute("cpu", "float32"))
    lines = [
        f"{args.frames} frames, {args.seeds} seed(s), {args.objects} objects, `nano` at "
        f"{spec.image_size} px on one CPU core:\n",
        HEADING,
    ]
    for kind in args.kinds:
        tallies = {policy: Tally() for policy in args.policies}
        for seed in TEST_SEEDS[: args.seeds]:
            frames = paint(
                kind, seed, num_frames=args.frames, size=spec.image_size, objects=args.objects
            )
            for policy, tally in tallies.items():
                print(f"{kind}, seed {seed}: {policy} ...", file=sys.stderr, flush=True)
                measure(model, frames, policy, tally)
        lines += [tally.row(kind, policy) for policy, tally in tallies.items()]
    text = "\n".join(lines)
    print(text)
    if args.write:
        put_into(args.write, text, "policies.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
