"""What identities cost and keep: detectors on long scenes, by several ways to use them.

    python tests/bench/identities.py                              # 600 frames, 2 seeds: an hour
    python tests/bench/identities.py --rules                      # rules of association instead
    python tests/bench/identities.py --frames 90 --seeds 1        # a look
    python tests/bench/identities.py --write tests/bench/RESULTS.md

Prints Markdown, and with `--write` puts it into that page, in the place of what was there. The
scenes are those of `policies.py`. The scripted detector says what is true, but misses each object
on a tenth of the frames, at random and for four frames at once, and sees things that are not there
for one to six frames. The ways:

- scripted, every N-th: that detector on every N-th frame, as `--detect-every N` has it;
- masks, every N-th: `--detect masks`, which finds whatever has a sharp mask;
- re-prompting: the tracker begins anew every 60 frames with what is detected on the first of them,
  and ids go on by the IoU (0.5, Hungarian) with the masks of the frame before, as tools do that
  know single chunks only.

With `--rules` they are constants of association, each with the scripted detector.

HOTA and switches are TrackEval's. J is the mean IoU of a true object with the found one that has
the most of it over the whole video. Time is the process's CPU time on one thread for a frame.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from policies import KINDS, paint, put_into

from samcore.config import RETIRE_AFTER, TrackSettings
from samcore.detectors.detector import Detection
from samcore.evaluation.identity import IdentityTally
from samcore.evaluation.matching import OverlapTally, assign
from samcore.machine.device import choose_compute
from samcore.machine.meters import StageClock
from samcore.masks.rle import Rle, encode_masks, iou_matrix
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.prompts.automatic import AutomaticPrompts
from samcore.scenes import SceneFrame
from samcore.tracking.detections_ahead import DetectionsAhead
from samcore.tracking.identity_tracker import IdentityTracker
from samcore.tracking.tracker import VideoTracker
from samcore.training.clips import TEST_SEEDS

CHUNK = 60


@dataclass(frozen=True)
class Way:
    """One way to use a detector."""

    every: int | None
    """`detect_every`; None is re-prompting."""
    detector: str = "scripted"
    rules: dict[str, bool] = field(default_factory=dict)
    """`association_options`."""


WAYS = {
    "scripted, every 5th": Way(5),
    "scripted, every 15th": Way(15),
    "masks, every 15th": Way(15, "masks"),
    "re-prompting": Way(None),
}
_RULES = {
    "many to many": {"one_to_one": False, "empty_is_unmatched": False},
    "one to one": {"one_to_one": True, "empty_is_unmatched": False},
    "many to many, empty is unmatched": {"one_to_one": False, "empty_is_unmatched": True},
    "one to one, empty is unmatched": {"one_to_one": True, "empty_is_unmatched": True},
}
RULES = {
    f"every {every}: {name}": Way(every, rules=rules)
    for every in (1, 5)
    for name, rules in _RULES.items()
}
HEADING = (
    "| scenes | way | HOTA | switches | IDF1 | J | objects (true) | ms a frame |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|"
)
_MISSED, _FALSE, _RUN = 0.025, 0.03, 4
_LEAST_AREA = 60

Masks = dict[int, Rle]


def detect(frames: Sequence[SceneFrame], seed: int) -> dict[int, list[Detection]]:
    """What the scripted detector says of each frame."""
    rng = np.random.default_rng(seed)
    height, width = frames[0].image_rgb_hwc_u8.shape[:2]
    found: dict[int, list[Detection]] = {}
    missed_until = np.zeros(len(frames[0].masks_nhw), np.int64)
    ghosts: list[tuple[int, NDArray[np.bool_]]] = []
    for frame in frames:
        now = frame.frame_idx
        missed_until[rng.uniform(size=len(missed_until)) < _MISSED] = now + _RUN
        if rng.uniform() < _FALSE:
            y, x = int(rng.integers(height - 24)), int(rng.integers(width - 24))
            ghost_hw = np.zeros((height, width), np.bool_)
            ghost_hw[y : y + 24, x : x + 24] = True
            ghosts.append((now + int(rng.integers(1, 7)), ghost_hw))
        ghosts = [ghost for ghost in ghosts if ghost[0] > now]
        masks = [
            mask_hw
            for until, mask_hw in zip(missed_until, frame.masks_nhw, strict=True)
            if until <= now and np.count_nonzero(mask_hw) >= _LEAST_AREA
        ]
        masks += [ghost_hw for _, ghost_hw in ghosts]
        found[now] = [
            Detection(
                score=float(rng.uniform(0.7, 0.95)), picture_hw=(height, width), mask_hw=mask_hw
            )
            for mask_hw in masks
        ]
    return found


def associated(
    model: TrackingModel,
    frames: Sequence[SceneFrame],
    found: Mapping[int, list[Detection]],
    way: Way,
) -> list[Masks]:
    """The masks of each frame by association, as `longtake track` has them."""
    height, width = frames[0].image_rgb_hwc_u8.shape[:2]
    options = AutomaticPrompts(
        detect_every=way.every, association_options=way.rules, points_per_side=16
    )
    tracker = IdentityTracker(
        model,
        height=height,
        width=width,
        num_frames=len(frames),
        settings=TrackSettings(retire_after=RETIRE_AFTER),
        association=options.association({}),
    )
    if way.detector == "scripted":
        looked_at = {t: items for t, items in found.items() if t % (way.every or 1) == 0}
        outputs = tracker.track(frames, looked_at)
    else:
        ahead = DetectionsAhead(options, model, read=_no_frames, batch=64, clock=StageClock())
        outputs = tracker.track(ahead.frames(frames), ahead.of)
    return [_shown(output.obj_ids, output.masks_nhw) for output in outputs]


@contextlib.contextmanager
def _no_frames(start: int, stop: int) -> Iterator[list[SceneFrame]]:
    """No detector here must see frames before those that come."""
    yield []


def prompted_anew(
    model: TrackingModel, frames: Sequence[SceneFrame], found: Mapping[int, list[Detection]]
) -> list[Masks]:
    """The masks of each frame where each chunk begins with detections."""
    height, width = frames[0].image_rgb_hwc_u8.shape[:2]
    outputs: list[Masks] = []
    next_id = 1
    for start in range(0, len(frames), CHUNK):
        chunk = frames[start : start + CHUNK]
        items = found[start]
        before = outputs[-1] if outputs else {}
        rles = encode_masks(np.stack([item.mask_hw for item in items])) if items else []
        iou_nb = iou_matrix(rles, list(before.values()))
        known = list(before)
        pairs = assign(np.where(iou_nb >= 0.5, iou_nb, 0.0)) if iou_nb.size else {}
        tracker = VideoTracker(
            model, height=height, width=width, num_frames=len(frames), start_frame=start
        )
        for place, item in enumerate(items):
            column = pairs.get(place)
            if column is not None and iou_nb[place, column] >= 0.5:
                obj_id = known[column]
            else:
                obj_id, next_id = next_id, next_id + 1
            tracker.add_mask(obj_id, start, item.mask_hw)
        outputs += [_shown(o.obj_ids, o.masks_nhw) for o in tracker.track(chunk)]
    return outputs


def _shown(obj_ids: Sequence[int], masks_nhw: NDArray[np.bool_]) -> Masks:
    rles = dict(zip(obj_ids, encode_masks(masks_nhw), strict=True))
    return {obj_id: rle for obj_id, rle in rles.items() if rle.area}


def score(frames: Sequence[SceneFrame], outputs: Sequence[Masks]) -> tuple[float, ...]:
    """HOTA, switches, IDF1, J, found objects and true ones."""
    identity, overlaps = IdentityTally(), OverlapTally()
    truths = [_shown(range(len(frame.masks_nhw)), frame.masks_nhw) for frame in frames]
    for truth, found in zip(truths, outputs, strict=True):
        identity.add(truth, found)
        overlaps.add(truth, found)
    pairs = overlaps.matches()
    js = []
    for number in sorted({number for truth in truths for number in truth}):
        ious = []
        for truth, found in zip(truths, outputs, strict=True):
            one, other = truth.get(number), found.get(pairs.get(number, -1))
            if one is None or other is None:
                ious.append(float(one is other))
            else:
                ious.append(float(iou_matrix([one], [other])[0, 0]))
        js.append(float(np.mean(ious)))
    said = identity.scores()
    ids = {obj_id for found in outputs for obj_id in found}
    return said.hota, said.switches, said.idf1, float(np.mean(js)), len(ids), len(js)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--rules", action="store_true", help="other rules of association instead")
    parser.add_argument("--size", type=int, default=256, help="of the model's input and the scenes")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS)[:3])
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    args = parser.parse_args()
    torch.set_num_threads(1)
    spec = resolve_model(
        "nano", cache_dir=Path.home() / ".cache" / "longtake", image_size=args.size
    )
    model = load_model(spec, choose_compute("cpu", "float32"))
    lines = [
        f"{args.frames} frames, {args.seeds} seed(s), {args.objects} objects, `nano` at "
        f"{args.size} px on one CPU core:\n",
        HEADING,
    ]
    ways = RULES if args.rules else WAYS
    for kind in args.kinds:
        rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
        for seed in TEST_SEEDS[: args.seeds]:
            frames = paint(kind, seed, num_frames=args.frames, size=args.size, objects=args.objects)
            found = detect(frames, seed)
            for name, way in ways.items():
                began = time.process_time()
                if way.every is None:
                    outputs = prompted_anew(model, frames, found)
                else:
                    outputs = associated(model, frames, found, way)
                ms = (time.process_time() - began) * 1000 / len(frames)
                rows[name].append((*score(frames, outputs), ms))
                said = ", ".join(f"{value:.3f}" for value in rows[name][-1])
                print(f"{kind}, seed {seed}: {name}: {said}", file=sys.stderr, flush=True)
        for way, values in rows.items():
            hota, switches, idf1, j, ids, true, ms = np.mean(values, axis=0)
            lines.append(
                f"| {kind} | {way} | {hota:.3f} | {switches:.1f} | {idf1:.3f} | {j:.3f} | "
                f"{ids:.1f} ({true:.1f}) | {ms:.0f} |"
            )
    text = "\n".join(lines)
    print(text)
    if args.write:
        put_into(args.write, text, "identities.py --rules" if args.rules else "identities.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
