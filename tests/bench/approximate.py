"""What the approximate options gain and cost: time a frame, and J beside exact tracking.

    python tests/bench/approximate.py                                   # minutes
    python tests/bench/approximate.py --frames 40 --seeds 1 --sizes     # a look, nano alone
    python tests/bench/approximate.py --write tests/bench/RESULTS.md

Quality is that of `nano` on two kinds of scenes of `policies.py`: the mean IoU of an object's masks
with those of exact tracking, and with the truth. Two empty masks count as 1. SAM 2.1 tiny has
random weights, whose masks are noise: of it there is the speed alone, with one object and full
memory. Time is the process's CPU time on one thread. The ways take turns; of each the median
counts. Prints Markdown.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from policies import paint, put_into  # a script beside this one

from samcore.config import TrackSettings
from samcore.machine.device import choose_compute
from samcore.models.family import TrackingModel
from samcore.models.loader import load_model
from samcore.models.registry import resolve_model
from samcore.scenes import SceneFrame, box_of
from samcore.tracking.tracker import VideoTracker
from samcore.training.clips import TEST_SEEDS

CACHE = Path.home() / ".cache" / "longtake"
WARM_UP = 17
"""Frames until the memory is full."""
KINDS = ("occlusion", "look-alikes")
WAYS = {
    "exact": TrackSettings(),
    "`--encode-every 2`": TrackSettings(encode_every=2),
    "`--encode-every 4`": TrackSettings(encode_every=4),
    "`--memory-pool 2`": TrackSettings(memory_pool=2),
    "`--encode-every 2 --memory-pool 2`": TrackSettings(encode_every=2, memory_pool=2),
}
HEADING = (
    "| model | scenes | way | ms a frame | beside exact | J with exact | J with the truth |\n"
    "|---|---|---|--:|--:|--:|--:|"
)


@dataclass
class Tally:
    """What one way came to."""

    ms: list[float] = field(default_factory=list)
    """A frame, of each run."""
    with_exact: list[float] = field(default_factory=list)
    with_truth: list[float] = field(default_factory=list)


def track(
    model: TrackingModel, frames: Sequence[SceneFrame], settings: TrackSettings, *, objects: int
) -> tuple[float, NDArray[np.bool_]]:
    """Track the objects of the first frame: ms a frame, and masks, frames x objects x H x W."""
    first = frames[0]
    height, width = first.image_rgb_hwc_u8.shape[:2]
    tracker = VideoTracker(
        model, height=height, width=width, num_frames=len(frames), settings=settings
    )
    rows = [row for row in range(len(first.masks_nhw)) if first.masks_nhw[row].any()][:objects]
    for row in rows:
        tracker.add_box(row, 0, box_of(first.masks_nhw[row]))
    masks, began = [], 0.0
    for output in tracker.track(frame.image_rgb_hwc_u8 for frame in frames):
        masks.append(output.masks_nhw)
        if output.frame_idx == WARM_UP - 1:
            began = time.process_time()
    ms = (time.process_time() - began) * 1000 / (len(frames) - WARM_UP)
    return ms, np.stack(masks)


def mean_iou(a_tnhw: NDArray[np.bool_], b_tnhw: NDArray[np.bool_]) -> float:
    """From the frame after the prompt on."""
    union = (a_tnhw | b_tnhw)[1:].sum(axis=(2, 3))
    shared = (a_tnhw & b_tnhw)[1:].sum(axis=(2, 3))
    return float(np.where(union > 0, shared / np.maximum(union, 1), 1.0).mean())


def compare(
    model: TrackingModel, scenes: Sequence[Sequence[SceneFrame]], *, objects: int, runs: int
) -> dict[str, Tally]:
    """All ways on these scenes, by turns."""
    tallies = {way: Tally() for way in WAYS}
    for frames in scenes:
        for run in range(runs):
            exact = None
            for way, tally in tallies.items():
                ms, masks = track(model, frames, WAYS[way], objects=objects)
                tally.ms.append(ms)
                exact = masks if exact is None else exact
                if run == 0:
                    truth = np.stack([frame.masks_nhw for frame in frames])
                    rows = [row for row in range(truth.shape[1]) if truth[0, row].any()][:objects]
                    tally.with_exact.append(mean_iou(masks, exact))
                    tally.with_truth.append(mean_iou(masks, truth[:, rows]))
    return tallies


def rows(model: str, scenes: str, tallies: dict[str, Tally], *, quality: bool) -> list[str]:
    """The table's."""
    exact = tallies["exact"].ms
    lines = []
    for way, tally in tallies.items():
        faster = statistics.median(a / b for a, b in zip(exact, tally.ms, strict=True))
        js = "- | -"
        if quality:
            js = f"{np.mean(tally.with_exact):.3f} | {np.mean(tally.with_truth):.3f}"
        lines.append(
            f"| {model} | {scenes} | {way} | {statistics.median(tally.ms):.1f} | {faster:.2f}x "
            f"| {js} |"
        )
    return lines


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=150, help=f"above {WARM_UP}")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 512], help="of SAM 2.1 tiny")
    parser.add_argument("--runs", type=int, default=3, help="of SAM 2.1 tiny")
    parser.add_argument("--write", type=Path, help="the page to put the table into")
    args = parser.parse_args()
    if args.frames <= WARM_UP:
        parser.error(f"--frames must be above {WARM_UP}: memory is full from there on")
    torch.set_num_threads(1)
    compute = choose_compute("cpu", "float32")
    lines = [
        f"`nano` at 128 px, {args.objects} objects, {args.frames} frames, {args.seeds} scenes a "
        f"kind; SAM 2.1 tiny with random weights, one object, {args.runs} runs; one CPU core:\n",
        HEADING,
    ]

    def tell(more: Sequence[str]) -> None:
        print("\n".join(more), flush=True)
        lines.extend(more)
        if args.write:  # at once: the rest may take long
            put_into(args.write, "\n".join(lines), "approximate.py")

    print("\n".join(lines), flush=True)
    model = load_model(resolve_model("nano", cache_dir=CACHE), compute)
    for kind in KINDS:
        scenes = [
            paint(kind, seed, num_frames=args.frames, size=128, objects=args.objects)
            for seed in TEST_SEEDS[: args.seeds]
        ]
        print(f"nano, {kind} ...", file=sys.stderr, flush=True)
        tallies = compare(model, scenes, objects=args.objects, runs=1)
        tell(rows("`nano`", kind, tallies, quality=True))
    for size in args.sizes:
        model = load_model(resolve_model("random-tiny", image_size=size, cache_dir=CACHE), compute)
        scene = paint(KINDS[0], TEST_SEEDS[0], num_frames=WARM_UP + 8, size=size, objects=1)
        print(f"tiny at {size} px ...", file=sys.stderr, flush=True)
        tallies = compare(model, [scene], objects=1, runs=args.runs)
        tell(rows(f"tiny, {size} px", "-", tallies, quality=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
