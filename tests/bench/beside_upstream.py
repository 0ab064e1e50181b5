"""Seconds a frame, beside the sam2 package's own predictor, on the same frames and weights.

    python tests/bench/beside_upstream.py --image-size 256 --objects 1 3

Runs alternate (ours, theirs, ours, ...), so that a machine that drifts slows both; prints medians
and the median of the ratios. Frames are decoded beforehand, and only frames with full memory count.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import sam2.sam2_video_predictor
import torch
from numpy.typing import NDArray
from sam2.build_sam import build_sam2_video_predictor

from samcore.machine.device import choose_compute
from samcore.models.sam2.adapter import Sam2Model, build_model
from samcore.scenes import Scene
from samcore.tracking.tracker import VideoTracker

WARM_UP = 17
"""Frames until the memory is full."""


@dataclass(frozen=True)
class Frame:
    frame_idx: int
    image_rgb_hwc_u8: NDArray[np.uint8]


def boxes(num_objects: int, height: int, width: int) -> list[tuple[float, float, float, float]]:
    return [
        (10.0 + 5 * i, 10.0 + 3 * i, width * 0.5 + 5 * i, height * 0.6 + 3 * i)
        for i in range(num_objects)
    ]


def seconds_a_frame(outputs: Iterable[object], synchronise: Callable[[], None]) -> float:
    """Time of the frames after the warm-up."""
    count, started = 0, 0.0
    for i, _ in enumerate(outputs):
        if i + 1 == WARM_UP:
            synchronise()
            started = time.perf_counter()
        count = i + 1
    synchronise()
    return (time.perf_counter() - started) / (count - WARM_UP)


def ours(model: Sam2Model, frames: list[Frame], num_objects: int) -> Iterable[object]:
    height, width = frames[0].image_rgb_hwc_u8.shape[:2]
    tracker = VideoTracker(model, height=height, width=width, num_frames=len(frames))
    for obj_id, box in enumerate(boxes(num_objects, height, width)):
        tracker.add_box(obj_id, 0, box)
    return tracker.track(frames)


def theirs(predictor: object, model: Sam2Model, frames: list[Frame], n: int) -> Iterable[object]:
    height, width = frames[0].image_rgb_hwc_u8.shape[:2]
    images = torch.cat([model.preprocess(f.image_rgb_hwc_u8[None]) for f in frames])
    sam2.sam2_video_predictor.load_video_frames = lambda **_: (images, height, width)
    with torch.inference_mode(), model.compute.autocast():
        state = predictor.init_state("frames")
        for obj_id, box in enumerate(boxes(n, height, width)):
            predictor.add_new_points_or_box(state, 0, obj_id, box=box)
        for _, _, masks in predictor.propagate_in_video(state):
            # Masks on the host are what a user of either gets.
            yield (masks > 0).cpu()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/sam2.1/sam2.1_hiera_t.yaml")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    compute = choose_compute("auto", "auto")
    model = build_model(
        args.config, None, seed=0, image_size=args.image_size, fingerprint="bench", compute=compute
    )
    predictor = build_sam2_video_predictor(
        args.config,
        None,
        device=str(compute.device),
        hydra_overrides_extra=[f"++model.image_size={args.image_size}"],
    )
    predictor.load_state_dict(model._net.state_dict())
    predictor.fill_hole_area = 0
    scene = Scene(1, num_frames=args.frames, height=360, width=640)
    frames = [Frame(i, scene.frame(i).image_rgb_hwc_u8) for i in range(args.frames)]
    cuda = compute.device.type == "cuda"
    synchronise = torch.cuda.synchronize if cuda else lambda: None
    print(f"{args.config} at {args.image_size} px, {compute.describe()}, {args.runs} runs each")
    for num_objects in args.objects:
        pairs = []
        for _ in range(args.runs):
            mine = seconds_a_frame(ours(model, frames, num_objects), synchronise)
            other = seconds_a_frame(theirs(predictor, model, frames, num_objects), synchronise)
            pairs.append((mine, other))
        mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(
            f"{num_objects:>3} objects: Longtake {mine * 1e3:.1f} ms a frame, "
            f"sam2 {other * 1e3:.1f} ms, {ratio:.2f}x as fast"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
