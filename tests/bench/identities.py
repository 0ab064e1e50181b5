"""What identities cost and keep: a scripted detector on long scenes, by three ways to use it.

    python tests/bench/identities.py                              # 600 frames, 2 seeds: an hour
    python tests/bench/identities.py --frames 90 --seeds 1        # a look
    python tests/bench/identities.py --write tests/bench/RESULTS.md

Prints Markdown, and with `--write` puts it into that page, in the place of what was there. The
scenes are those of `policies.py`. The detector says what is true, but misses each object on a tenth
of the frames, at random and for four frames at once, and sees things that are not there for one to
six frames. The ways:

- association: `IdentityTracker`, every frame, or every 5th one, detected; the latter also with
  `empty_is_unmatched`, as the tracker loses most of what was never there;
- re-prompting: the tracker begins anew every 60 frames with what is detected on the first of them,
  and ids go on by the IoU (0.5, Hungarian) with the masks of the frame before, as tools do that
  know single chunks only.

HOTA and switches are TrackEval's. J is the mean IoU of a true object with the found one that has
the most of it over the whole video. Time is the process's CPU time on one thread for a frame.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from policies import KINDS, paint, put_into

from samcore.config import TrackSettings
from samcore.detectors.detector import Detection
from samcore.evaluation.identity import IdentityTally
from samcore.evaluation.matching import OverlapTally, assign
from samcore.identities.config import AssociationConfig
from samcore.machine.device import choose_compute
from samcore.masks.rle import Rle, encode_masks, iou_matrix
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.scenes import SceneFrame
from samcore.tracking.identity_tracker import IdentityTracker
from samcore.tracking.tracker import VideoTracker
from samcore.training.clips import TEST_SEEDS

CHUNK = 60
WAYS = {
    "association": AssociationConfig(),
    "association, every 5th": AssociationConfig(detect_every=5),
    "the same, empty is unmatched": AssociationConfig(detect_every=5, empty_is_unmatched=True),
    "re-prompting": None,
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
    config: AssociationConfig,
) -> list[Masks]:
    """The masks of each frame by association."""
    height, width = frames[0].image_rgb_hwc_u8.shape[:2]
    tracker = IdentityTracker(
        model,
        height=height,
        width=width,
        num_frames=len(frames),
        settings=TrackSettings(retire_after=60),
        association=config,
    )
    looked_at = {t: items for t, items in found.items() if t % config.detect_every == 0}
    return [_shown(output.obj_ids, output.masks_nhw) for output in tracker.track(frames, looked_at)]


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
    for kind in args.kinds:
        rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
        for seed in TEST_SEEDS[: args.seeds]:
            frames = paint(kind, seed, num_frames=args.frames, size=args.size, objects=args.objects)
            found = detect(frames, seed)
            for way, config in WAYS.items():
                print(f"{kind}, seed {seed}: {way} ...", file=sys.stderr, flush=True)
                began = time.process_time()
                if config is None:
                    outputs = prompted_anew(model, frames, found)
                else:
                    outputs = associated(model, frames, found, config)
                ms = (time.process_time() - began) * 1000 / len(frames)
                rows[way].append((*score(frames, outputs), ms))
        for way, values in rows.items():
            hota, switches, idf1, j, ids, true, ms = np.mean(values, axis=0)
            lines.append(
                f"| {kind} | {way} | {hota:.3f} | {switches:.1f} | {idf1:.3f} | {j:.3f} | "
                f"{ids:.1f} ({true:.1f}) | {ms:.0f} |"
            )
    text = "\n".join(lines)
    print(text)
    if args.write:
        put_into(args.write, text, "identities.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
