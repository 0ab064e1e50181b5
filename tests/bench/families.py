"""Each family of transformers by Longtake and by transformers itself: time, and what is kept.

    python tests/bench/families.py                       # 60 frames, two objects
    python tests/bench/families.py --frames 200 --families edgetam

The models are small and random, so times say how the two loops compare, not how fast a family is.
What is kept are the bytes of all tensors that the next frame may need: ours are bounded, theirs
grow with every frame. They keep the prepared frames, too, which are counted apart.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "samcore" / "models" / "transformers"))

from original import new_session, pixels_of  # the tests' own
from small_models import SIZES, small_net

from samcore.machine.device import choose_compute
from samcore.models.transformers.adapter import EdgeTamModel, TransformersModel
from samcore.prompts.prompt import Prompt
from samcore.scenes import Scene
from samcore.tracking.tracker import VideoTracker

HEIGHT, WIDTH = 96, 128
PROMPTS = (
    Prompt(1, 0, box_xyxy_px=(10, 10, 60, 70)),
    Prompt(2, 0, points_xy_px=((50, 40),), point_labels=(1,)),
)


def tensors(held: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested dictionaries and lists."""
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, dict):
        for value in held.values():
            yield from tensors(value)
    elif isinstance(held, list | tuple):
        for value in held:
            yield from tensors(value)


def kilobytes(held: Any) -> int:
    """What nested tensors take, those that share memory once."""
    return sum({t.data_ptr(): t.nbytes for t in tensors(held)}.values()) // 1024


def ours(model: TransformersModel, frames: np.ndarray, marks: set[int]) -> dict[int, int]:
    """Kilobytes that are kept after some frames."""
    tracker = VideoTracker(model, height=HEIGHT, width=WIDTH, num_frames=len(frames))
    for prompt in PROMPTS:
        tracker.add_prompt(prompt)
    kept = {}
    for output in tracker.track(frames):
        if output.frame_idx + 1 in marks:
            memories = [m for obj in tracker.state().objects for m in obj.memories]
            held = [t for m in memories for t in (m.maskmem, m.obj_ptr_1c) if t is not None]
            kept[output.frame_idx + 1] = sum(t.nbytes for t in held) // 1024
    return kept


def theirs(model: TransformersModel, frames: np.ndarray, marks: set[int]) -> dict[int, int]:
    """The same of transformers' own predictor."""
    net = model._net
    session = new_session(net, pixels_of(model, frames), PROMPTS, (HEIGHT, WIDTH))
    kept = {}
    for output in net.propagate_in_video_iterator(session):
        if output.frame_idx + 1 in marks:
            kept[output.frame_idx + 1] = kilobytes(session.output_dict_per_obj)
    return kept


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--families", nargs="*", default=list(SIZES), choices=list(SIZES))
    asked = parser.parse_args()
    marks = {asked.frames // 2, asked.frames}
    scene = Scene(3, num_frames=asked.frames, height=HEIGHT, width=WIDTH)
    frames = np.stack([scene.frame(i).image_rgb_hwc_u8 for i in range(asked.frames)])
    early, late = sorted(marks)
    print(f"{'':8}  {'':6}  ms a frame  kept after {early:>5}  after {late:>5}")
    for family in asked.families:
        net = small_net(family)
        kind = EdgeTamModel if family == "edgetam" else TransformersModel
        model = kind(
            net,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            compute=choose_compute("cpu", "float32"),
            fingerprint=family,
        )
        for name, run in (("ours", ours), ("theirs", theirs)):
            run(model, frames[:4], set())  # what is made at first use is not counted
            began = time.perf_counter()
            kept = run(model, frames, marks)
            milliseconds = (time.perf_counter() - began) / asked.frames * 1000
            print(
                f"{family:8}  {name:6}  {milliseconds:10.1f}  {kept[early]:12} KiB"
                f"  {kept[late]:6} KiB"
            )
        pixels = pixels_of(model, frames[:1])
        print(
            f"{family:8}  theirs  prepared frames: {pixels.nbytes * asked.frames // 1024} KiB more"
        )


if __name__ == "__main__":
    main()
